//! A function as JSON.

use crossloom_ir::attrs::Attr;
use crossloom_ir::{Func, Value};
use serde_json::{Map, Value as Json, json};

/// Parameters, instructions and results. Values are numbered densely, as in the text form.
pub fn func_json(func: &Func) -> Json {
    let mut numbers = vec![None; func.value_count()];
    let defined = func.params().iter().map(|param| param.value);
    let defined = defined.chain(func.insts().iter().flat_map(|inst| inst.outputs.iter().copied()));
    for (number, value) in defined.enumerate() {
        if let Some(slot) = numbers.get_mut(value.index()) {
            *slot = Some(number);
        }
    }
    let number = |value: Value| numbers.get(value.index()).copied().flatten();
    let params: Vec<Json> = (func.params().iter())
        .map(|param| {
            json!({
                "id": number(param.value),
                "name": param.name,
                "role": param.role.name(),
                "type": func.ty(param.value).to_string(),
            })
        })
        .collect();
    let insts: Vec<Json> = (func.insts().iter())
        .map(|inst| {
            let attrs: Map<String, Json> = (inst.op.attrs().entries().iter())
                .map(|(name, attr)| (name.clone(), attr_json(attr)))
                .collect();
            let outputs: Vec<Json> = (inst.outputs.iter())
                .map(|&value| json!({ "id": number(value), "type": func.ty(value).to_string() }))
                .collect();
            json!({
                "op": inst.op.mnemonic(),
                "attrs": attrs,
                "inputs": inst.inputs.iter().map(|&value| number(value)).collect::<Vec<_>>(),
                "outputs": outputs,
                "scope": inst.scope.as_str(),
            })
        })
        .collect();
    let results: Vec<Json> = (func.results().iter())
        .map(|result| {
            let updates = result.updates.and_then(|index| func.params().get(index)).map(|param| &param.name);
            json!({ "name": result.name, "value": number(result.value), "updates": updates })
        })
        .collect();
    json!({ "name": func.name, "params": params, "insts": insts, "results": results })
}

fn attr_json(attr: &Attr) -> Json {
    match attr {
        Attr::Int(value) => json!(value),
        Attr::Float(value) => json!(value),
        Attr::Bool(value) => json!(value),
        Attr::Word(value) => json!(value),
        Attr::List(items) => Json::Array(items.iter().map(attr_json).collect()),
    }
}
