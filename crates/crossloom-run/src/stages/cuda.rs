//! Plans as CUDA C.

use serde_json::{Map, Value, json};

use super::Program;
use crate::ExperimentError;
use crate::backends::{CudaArgument, CudaSource};

/// The kernels of a program that was compiled for CUDA.
pub(super) fn source(program: &Program) -> Result<CudaSource, ExperimentError> {
    CudaSource::of(program.plans())
        .map_err(|message| ExperimentError::Request { message, help: "choose an earlier stage".to_owned() })
}

/// The launches of every step, and the source of every kernel.
pub(super) fn source_json(program: &Program) -> Result<Value, ExperimentError> {
    let source = source(program)?;
    let functions: Vec<Value> = (program.plans().zip(&source.plans))
        .map(|(plan, steps)| {
            let steps = plan.steps.iter().zip(steps).map(|(step, lowered)| {
                let scope = plan.func.inst(step.inst).scope.as_str();
                let launches: Vec<Value> = (lowered.launches())
                    .map(|launch| {
                        let geometry = launch.geometry;
                        json!({
                            "kernel": launch.kernel,
                            "grid": geometry.grid,
                            "block": geometry.block,
                            "shared_bytes": geometry.shared,
                            "arguments": launch.arguments.iter().map(argument).collect::<Vec<_>>(),
                            "table": launch.table.iter().map(argument).collect::<Vec<_>>(),
                        })
                    })
                    .collect();
                json!({ "step": step.kernel, "scope": scope, "launches": launches })
            });
            json!({ "name": plan.func.name, "steps": steps.collect::<Vec<_>>() })
        })
        .collect();
    let kernels: Map<String, Value> = (source.kernels().into_iter())
        .map(|(name, (launch, count))| {
            (name.to_owned(), json!({ "launches": count, "source": launch.source }))
        })
        .collect();
    Ok(json!({ "functions": functions, "kernels": kernels }))
}

fn argument(argument: &CudaArgument) -> String {
    match argument {
        CudaArgument::Input(i) => format!("operand {i}"),
        CudaArgument::Output(o) => format!("result {o}"),
        CudaArgument::InputFrom(i, offset) => format!("operand {i} + {offset}"),
        CudaArgument::OutputFrom(o, offset) => format!("result {o} + {offset}"),
        CudaArgument::Scratch(offset) => format!("scratch + {offset}"),
        CudaArgument::Table => "table".to_owned(),
        CudaArgument::Fault => "fault".to_owned(),
        CudaArgument::Stop => "stop".to_owned(),
    }
}
