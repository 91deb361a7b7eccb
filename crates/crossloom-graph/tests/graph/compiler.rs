//! The compiler as luminal sees it: ids and marks follow, errors leave the graph alone.

use std::error::Error;

use crossloom_graph::luminal::prelude::*;
use crossloom_graph::{
    BoxError, CrossloomCompiler, Data, DataRef, GraphError, Interpreter, Region, RegionCompiler,
};
use crossloom_ir::Func;

use crate::common::{outputs, transformer};

fn two_results(cx: &mut Graph) -> (GraphTensor<R1<3>>, GraphTensor<R1<3>>, GraphTensor<R1<3>>) {
    let a = cx.tensor::<R1<3>>().set(vec![1.0, 2.0, 3.0]);
    let b = (a + 1.0).keep();
    let c = (b * b).retrieve();
    (a, b, c)
}

#[test]
fn ids_and_marks_follow_to_the_new_nodes() {
    let mut cx = Graph::new();
    let (mut a, mut b, mut c) = two_results(&mut cx);
    let old = (a.id, b.id, c.id);
    cx.compile(CrossloomCompiler::new(Interpreter), (&mut a, &mut b, &mut c));
    assert_eq!(a.id, old.0, "inputs stay");
    assert!(b.id != old.1 && c.id != old.2 && b.id != c.id);
    assert!(!cx.graph.contains_node(old.1) && !cx.graph.contains_node(old.2));
    assert!(cx.no_delete.contains(&b.id) && !cx.to_retrieve.contains(&b.id), "kept, not retrieved");
    assert!(cx.no_delete.contains(&c.id) && cx.to_retrieve.contains(&c.id));
    assert!(!cx.no_delete.contains(&old.1) && !cx.to_retrieve.contains(&old.2));
    assert_eq!(cx.graph.node_count(), 4, "an input, the region, two results");
    cx.execute();
    assert_eq!(b.data(), [2.0, 3.0, 4.0]);
    assert_eq!(c.data(), [4.0, 9.0, 16.0]);
}

#[test]
fn a_list_of_ids_follows_too() {
    let mut cx = Graph::new();
    let (_, b, c) = two_results(&mut cx);
    let mut ids = [b.id, c.id, c.id];
    let remap: Vec<&mut NodeIndex> = ids.iter_mut().collect();
    CrossloomCompiler::new(Interpreter).try_compile(&mut cx, remap).unwrap();
    assert!(ids.iter().all(|id| cx.graph.contains_node(*id)));
    assert_eq!(ids[1], ids[2]);
}

#[test]
fn it_composes_with_luminals_compilers() {
    let mut cx = Graph::new();
    let (_, mut b, mut c) = two_results(&mut cx);
    let ours = CrossloomCompiler::new(Interpreter);
    cx.compile((GenericCompiler::default(), ours.clone()), (&mut b, &mut c));
    assert!(ours.last_error().is_none(), "{:?}", ours.last_error());
    assert_eq!(ours.last_region().unwrap().func().results().len(), 2);
    cx.execute();
    assert_eq!(c.data(), [4.0, 9.0, 16.0]);
}

/// Fails where it is told to.
#[derive(Clone, Copy, PartialEq)]
enum Fails {
    Compile,
    Panic,
    Set,
    Run,
    WrongResults,
}

impl RegionCompiler for Fails {
    fn compile(&self, _: &Func) -> Result<Box<dyn Region>, BoxError> {
        match self {
            Self::Compile => Err("no kernel for sin".into()),
            Self::Panic => panic!("index out of bounds"),
            _ => Ok(Box::new(*self)),
        }
    }
}

impl Region for Fails {
    fn set(&mut self, _: &str, _: DataRef<'_>) -> Result<(), BoxError> {
        if *self == Self::Set { Err("out of memory".into()) } else { Ok(()) }
    }

    fn get(&self, _: &str) -> Option<Data> {
        None
    }

    fn run(&mut self, _: &[DataRef<'_>]) -> Result<Vec<Data>, BoxError> {
        if *self == Self::WrongResults { Ok(Vec::new()) } else { Err("device lost".into()) }
    }
}

#[test]
fn a_failing_backend_leaves_the_graph_untouched_and_the_error_retrievable() {
    for (backend, message) in [
        (Fails::Compile, "no kernel for sin"),
        (Fails::Panic, "index out of bounds"),
        (Fails::Set, "out of memory"),
    ] {
        let mut cx = Graph::new();
        let x = cx.tensor::<R1<3>>().set(vec![1.0, 2.0, 3.0]);
        let w = cx.tensor::<R1<3>>().set(vec![1.0, 0.5, 2.0]).keep();
        let mut y = (x * w).sin().retrieve();
        let (id, nodes) = (y.id, cx.graph.node_indices().collect::<Vec<_>>());
        let compiler = CrossloomCompiler::new(backend);
        cx.compile(&compiler, &mut y);
        let error = compiler.last_error().expect("the error is kept");
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(error.to_string().contains(message) || source.contains(message), "{error}");
        assert!(compiler.last_region().is_none());
        assert_eq!((y.id, cx.graph.node_indices().collect::<Vec<_>>()), (id, nodes), "{message}");
        cx.execute();
        assert_eq!(y.data(), [1.0_f32.sin(), 1.0_f32.sin(), 6.0_f32.sin()]);
    }
}

#[test]
fn a_failing_run_gives_nan_and_an_error() {
    for (backend, message) in [(Fails::Run, "device lost"), (Fails::WrongResults, "results of other types")] {
        let mut cx = Graph::new();
        let (_, mut b, mut c) = two_results(&mut cx);
        let region = CrossloomCompiler::new(backend).try_compile(&mut cx, (&mut b, &mut c)).unwrap();
        cx.execute();
        assert!(c.data().iter().all(|x| x.is_nan()), "never a plausible number");
        let error = region.take_error().unwrap();
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(error.to_string().contains(message) || source.contains(message), "{error}");
        assert!(region.take_error().is_none(), "taken");

        let mut graph = transformer();
        crate::common::fill(&mut graph);
        graph.compile_region(&backend).unwrap();
        assert!(graph.execute().is_err());
        assert!(matches!(graph.get("logits"), Err(GraphError::NotComputed { .. })));
    }
}

#[test]
fn a_graph_that_retrieves_an_input_and_computes_nothing_is_told_so() {
    let mut cx = Graph::new();
    let mut x = cx.named_tensor::<R1<3>>("x").set(vec![1.0, 2.0, 3.0]).retrieve();
    let error = CrossloomCompiler::new(Interpreter).try_compile(&mut cx, &mut x).unwrap_err().to_string();
    assert!(error.contains("nothing is computed") && error.contains("x Load (node 0)"), "{error}");
    cx.execute();
    assert_eq!(x.data(), [1.0, 2.0, 3.0], "the graph is as it was");
}

#[test]
fn weights_without_a_value_and_graphs_without_results_are_refused() {
    let mut cx = Graph::new();
    let x = cx.named_tensor::<R1<3>>("x").set(vec![1.0, 2.0, 3.0]);
    let w = cx.named_tensor::<R1<3>>("w").keep();
    let mut y = x * w;
    let compiler = CrossloomCompiler::new(Interpreter);
    let error = compiler.try_compile(&mut cx, &mut y).unwrap_err().to_string();
    assert!(error.contains("no result"), "{error}");
    let mut y = y.retrieve();
    let error = compiler.try_compile(&mut cx, &mut y).unwrap_err().to_string();
    assert!(error.contains("loading the weight `w`"), "{error}");
    w.set(vec![2.0; 3]);
    compiler.try_compile(&mut cx, &mut y).unwrap();
    cx.execute();
    assert_eq!(y.data(), [2.0, 4.0, 6.0]);
}

#[test]
fn a_graph_is_compiled_once() {
    let mut graph = transformer();
    graph.compile_region(&Interpreter).unwrap();
    assert!(graph.compile_region(&Interpreter).unwrap_err().to_string().contains("already"));
    let before = outputs(&mut graph);
    let compiler = CrossloomCompiler::new(Interpreter);
    graph.compile(&compiler).unwrap();
    assert!(compiler.last_error().unwrap().to_string().contains("compiled once"));
    assert_eq!(outputs(&mut graph), before);
}

#[test]
fn a_compiled_graph_still_tells_its_function() {
    let func = transformer().lift().unwrap();
    let mut graph = transformer();
    graph.compile_region(&Interpreter).unwrap();
    assert_eq!(graph.lift().unwrap(), func);
    let names: Vec<_> = graph.params().map(|param| param.name.clone()).collect();
    assert_eq!(names, func.params().iter().map(|param| param.name.clone()).collect::<Vec<_>>());
}

#[test]
fn our_graph_compiled_through_luminals_trait_keeps_names_and_values() {
    let mut plain = transformer();
    let expected = outputs(&mut plain);
    for direct in [false, true] {
        let mut graph = transformer();
        crate::common::fill(&mut graph);
        let compiler = CrossloomCompiler::new(Interpreter);
        if direct {
            graph.luminal_mut().compile(&compiler, ());
        } else {
            graph.compile(&compiler).unwrap();
        }
        let region = compiler.last_region().unwrap();
        let results: Vec<_> = region.func().results().iter().map(|result| result.name.clone()).collect();
        assert_eq!(results, ["hidden", "logits"]);
        graph.execute().unwrap();
        crate::common::assert_close("values moved in", &crate::common::read(&graph), &expected);
        let weights = graph.get("head.weight").unwrap();
        graph.set("head.weight", &vec![0.0; weights.len()]).unwrap();
        graph.set("head.bias", &[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        graph.execute().unwrap();
        assert_eq!(graph.get("logits").unwrap()[..5], [1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
