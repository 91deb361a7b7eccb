//! luminal's own compilers, on the graph of luminal's primitives.

use std::collections::BTreeMap;

use crossloom_graph::{LuminalGraph, decompose};
use crossloom_ir::DType;

use super::{Failure, Ready};
use crate::function::{Function, Values};

/// A graph with its results' names and types.
pub(crate) struct Graph {
    graph: LuminalGraph,
    results: Vec<(String, DType)>,
}

/// On the processor: slow, as luminal evaluates expressions of indices for every element.
pub(super) fn on_cpu(function: &Function) -> Result<Graph, Failure> {
    Graph::new(function, LuminalGraph::compile_luminal_cpu)
}

/// On the first NVIDIA GPU. luminal's backend panics where there is none, so crossloom's probe looks first.
#[cfg(feature = "luminal-cuda")]
pub(super) fn on_cuda(function: &Function) -> Result<Graph, Failure> {
    let obstacles = crossloom_run::backends::CudaFindings::of_machine().obstacles();
    if !obstacles.is_empty() {
        return Err(Failure::NoDevice(obstacles.join("; ")));
    }
    Graph::new(function, |graph| graph.compile(<luminal_cuda::CudaCompiler<f32>>::default()))
}

/// This program was built without it.
#[cfg(not(feature = "luminal-cuda"))]
pub(super) fn on_cuda(_: &Function) -> Result<Graph, Failure> {
    Err(Failure::NoDevice(
        "this program was built without the feature `luminal-cuda`, see link.sh".to_owned(),
    ))
}

impl Graph {
    fn new(
        function: &Function,
        compile: impl FnOnce(&mut LuminalGraph) -> Result<(), crossloom_graph::GraphError>,
    ) -> Result<Self, Failure> {
        let mut graph = decompose(&function.func).map_err(Failure::of)?;
        compile(&mut graph).map_err(Failure::of)?;
        // As its users do it: weights go to the device once.
        graph.keep_copies();
        for (name, values) in &function.weights {
            graph.set(name, values).map_err(Failure::of)?;
        }
        let results = graph.results().map(|result| (result.name.clone(), result.ty.dtype)).collect();
        Ok(Self { graph, results })
    }
}

impl Ready for Graph {
    fn run(&mut self, inputs: &BTreeMap<String, Values>) -> Result<Vec<Values>, Failure> {
        for (name, values) in inputs {
            match values {
                Values::Floats(values) => self.graph.set(name, values),
                Values::Ids(ids) => self.graph.set_ids(name, ids),
            }
            .map_err(Failure::of)?;
        }
        self.graph.execute().map_err(Failure::of)?;
        let read = |(name, dtype): &(String, DType)| match dtype {
            DType::I32 => self.graph.get_ids(name).map(Values::Ids),
            _ => self.graph.get(name).map(Values::Floats),
        };
        self.results.iter().map(|result| read(result).map_err(Failure::of)).collect()
    }
}
