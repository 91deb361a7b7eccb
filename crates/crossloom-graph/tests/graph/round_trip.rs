//! A built graph lifts to the function that the IR builder gives for the same calls.

use crossloom_graph::GraphBuilder;
use crossloom_ir::op::{Activation, Linear};
use crossloom_ir::{Func, Role, Scope, TensorType};

use crate::common::transformer;

#[test]
fn lifting_gives_back_what_was_built() {
    let (x_ty, w_ty, s_ty) = (TensorType::f32([2, 3]), TensorType::f32([4, 3]), TensorType::f32([2, 4]));

    let mut b = GraphBuilder::new("f");
    let x = b.param("x", Role::Input, x_ty.clone());
    let w = b.param("w", Role::Weight, w_ty.clone());
    let both = b
        .scoped("vision", |b| {
            b.scoped("block.7", |b| {
                b.push(Linear { act: Some(Activation::Silu), ..Linear::default() }, &[x, w])
            })
        })
        .unwrap();
    let state = b.param("s", Role::State, s_ty.clone());
    let z = b.add(both[1], state).unwrap();
    let z = b.mul(z, both[0]).unwrap();
    b.result("z", z);
    b.update(state, z);
    b.result("same z", z);
    let lifted = b.finish().lift().unwrap();

    let mut func = Func::new("f");
    let x = func.add_param("x", Role::Input, x_ty);
    let w = func.add_param("w", Role::Weight, w_ty);
    let op = Linear { act: Some(Activation::Silu), ..Linear::default() };
    let both = func.push(op, &[x, w], &Scope::new("vision.block.7")).unwrap();
    let state = func.add_param("s", Role::State, s_ty);
    let mut b = func.builder();
    let z = b.add(both[1], state).unwrap();
    let z = b.mul(z, both[0]).unwrap();
    func.add_result("z", z);
    func.add_update(state, z).unwrap();
    func.add_result("same z", z);
    assert_eq!(lifted, func);
}

#[test]
fn lifting_is_deterministic() {
    let func = transformer().lift().unwrap();
    assert_eq!(transformer().lift().unwrap(), func);
    let graph = transformer();
    assert_eq!(graph.lift().unwrap(), graph.lift().unwrap());
}

#[test]
fn names_and_shapes_are_kept() {
    let graph = transformer();
    let func = graph.lift().unwrap();
    let built: Vec<_> = graph.params().map(|p| (p.name.clone(), p.role, p.ty.clone())).collect();
    let lifted: Vec<_> =
        func.params().iter().map(|p| (p.name.clone(), p.role, func.ty(p.value).clone())).collect();
    assert_eq!(built, lifted);
    let results: Vec<_> = func.results().iter().map(|r| r.name.as_str()).collect();
    assert_eq!(results, ["hidden", "logits"]);
    assert!(func.insts().iter().any(|inst| inst.scope.as_str() == "block.0.attn"));
}
