//! One graph computes the same on plain luminal with our operators, decomposed into luminal's primitives (as they are
//! and through luminal's CPU compiler), on the IR interpreter, and as a region compiled for the CPU backend.

use crossloom_cpu::CpuDevice;
use crossloom_graph::{DeviceRegions, decompose};

use crate::common::{assert_close, interpreted, outputs, transformer};

#[test]
fn all_ways_of_running_agree() {
    let mut graph = transformer();
    let func = graph.lift().unwrap();
    let reference = interpreted(&func);
    assert!(reference.iter().flatten().all(|x| x.is_finite()));
    assert!(reference.iter().flatten().any(|x| x.abs() > 0.1));

    assert_close("plain luminal", &outputs(&mut graph), &reference);

    let mut primitives = decompose(&func).unwrap();
    assert_close("decomposed", &outputs(&mut primitives), &reference);
    primitives.compile_luminal_cpu().unwrap();
    assert_close("luminal's CPU compiler", &outputs(&mut primitives), &reference);

    graph.compile_region(&DeviceRegions(CpuDevice::shared())).unwrap();
    assert_close("compiled region", &outputs(&mut graph), &reference);
}

#[test]
fn the_decomposed_graph_lifts_back_to_the_same_function() {
    let func = transformer().lift().unwrap();
    let mut primitives = decompose(&func).unwrap();
    let lifted = primitives.lift().unwrap();
    let signature = |func: &crossloom_ir::Func| -> Vec<_> {
        func.params().iter().map(|p| (p.name.clone(), p.role, func.ty(p.value).clone())).collect()
    };
    assert_eq!(signature(&lifted), signature(&func));
    assert_close("lifted primitives", &interpreted(&lifted), &interpreted(&func));
    primitives.compile_region(&DeviceRegions(CpuDevice::shared())).unwrap();
    assert_close("compiled primitives", &outputs(&mut primitives), &interpreted(&func));
}

#[test]
fn luminals_matmul_rewrite_fires_on_decomposed_linear_layers() {
    use crossloom_graph::GraphBuilder;
    use crossloom_ir::{Role, TensorType};
    let mut b = GraphBuilder::new("batched");
    let x = b.param("x", Role::Input, TensorType::f32([2, 3, 4]));
    let w = b.param("w", Role::Weight, TensorType::f32([5, 4]));
    let full = [2, 3, 5, 4];
    let (x, w) = (b.broadcast(x, &full, &[0, 1, 3]).unwrap(), b.broadcast(w, &full, &[2, 3]).unwrap());
    let products = b.mul(x, w).unwrap();
    let y = b.reduce_sum(products, &[3]).unwrap();
    b.result("y", y);
    let func = b.finish().lift().unwrap();
    let mut primitives = decompose(&func).unwrap();
    primitives.compile_luminal_cpu().unwrap();
    assert!(primitives.to_text().contains("BatchedMatMul2D"), "{}", primitives.to_text());
    assert_close("matmul rewrite", &outputs(&mut primitives), &interpreted(&func));
}
