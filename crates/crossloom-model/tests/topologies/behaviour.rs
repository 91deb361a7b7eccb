//! What an injection does to the hidden state, by the reference interpreter in f64.

use crossloom_ir::interp::{run, run_all};
use crossloom_ir::{Func, Tensor, Value};

use crate::support::{SHAPE, arguments, farthest, graph, logits, small};

fn as_is(_: &str, values: Vec<f32>) -> Vec<f32> {
    values
}

#[test]
fn at_step_0_amp_is_the_shared_projector() {
    let (amp, shared) = (small("cli", &[]), small("agf-only", &[]));
    let start = logits(&amp, as_is);
    assert!(farthest(&start, &logits(&shared, as_is)) < 1e-12);
    let moved = logits(
        &amp,
        |name, values| if name.ends_with("lora_B.weight") { vec![0.1; values.len()] } else { values },
    );
    assert!(farthest(&start, &moved) > 1e-6, "the branches are connected");
}

#[test]
fn a_closed_gate_is_no_injection_and_an_open_one_is() {
    let with =
        |value: &str| logits(&small("constant-gate", &[&format!("topology.gate.value={value}")]), as_is);
    let none = logits(&small("projector", &[]), as_is);
    assert_eq!(with("0.0"), none);
    assert!(farthest(&with("1.0"), &none) > 1e-3);
}

#[test]
fn an_unconditional_sum_is_a_gate_of_one() {
    let add = logits(&small("sli", &[]), as_is);
    let one = logits(
        &small("sli", &["topology.gate={kind='constant', value=1.0}", "topology.fusion=gated_add"]),
        as_is,
    );
    assert!(farthest(&add, &one) < 1e-12);
}

/// The tokens of every sample of `[.., N, D]` in another order.
fn permuted(x: &Tensor<f64>, order: &[usize]) -> Tensor<f64> {
    let (n, d) = (order.len(), x.last());
    Tensor::from_fn(x.shape.clone(), |i| {
        let (sample, token, c) = (i / (n * d), i / d % n, i % d);
        x.data[(sample * n + order[token]) * d + c]
    })
}

fn find(func: &Func, mnemonic: &str) -> usize {
    func.insts().iter().position(|inst| inst.op.mnemonic() == mnemonic).unwrap()
}

#[test]
fn permuting_a_taps_tokens_permutes_the_update_and_nothing_else() {
    for sets in [&[][..], &["topology.gate.granularity=channel"], &["topology.adapter.attach=per_linear"]] {
        let model = graph(&small("cli", sets), SHAPE);
        let func = model.graph.lift().unwrap();
        let busy =
            |name: &str, v: Vec<f32>| if name.ends_with("lora_B.weight") { vec![0.1; v.len()] } else { v };
        let args = arguments(&model, &func, busy);
        let mut values: Vec<Option<Tensor<f64>>> = run_all(&func, &args).unwrap();
        let [amp, gate, inject] = ["amp_project", "agf_gate", "agf_inject"].map(|name| find(&func, name));
        let (hidden, after): (Value, Value) =
            (func.insts()[inject].inputs[0], func.insts()[inject].outputs[0]);
        let state = values[hidden.index()].clone().unwrap();
        let update = |values: &[Option<Tensor<f64>>]| -> Vec<f64> {
            values[after.index()].as_ref().unwrap().data.iter().zip(&state.data).map(|(a, h)| a - h).collect()
        };
        let (before, gates) =
            (update(&values), values[func.insts()[gate].outputs[0].index()].clone().unwrap());

        let order: Vec<usize> = (0..16).map(|n| (5 * n + 3) % 16).collect();
        for &tap in &func.insts()[amp].inputs[..4] {
            values[tap.index()] = values[tap.index()].as_ref().map(|tap| permuted(tap, &order));
        }
        for index in [amp, gate, inject] {
            let inst = &func.insts()[index];
            let operands: Vec<&Tensor<f64>> =
                inst.inputs.iter().map(|v| values[v.index()].as_ref().unwrap()).collect();
            let outputs = inst.op.eval(&operands).unwrap();
            for (value, tensor) in inst.outputs.iter().zip(outputs) {
                values[value.index()] = Some(tensor);
            }
        }
        let gates_after = values[func.insts()[gate].outputs[0].index()].as_ref().unwrap();
        assert!(farthest(&gates.data, &gates_after.data) < 1e-12, "gates see no order");
        let moved = update(&values);
        let (tokens, d) = (SHAPE.tokens, 32);
        let row = |x: &[f64], sample: usize, t: usize| x[(sample * tokens + t) * d..][..d].to_vec();
        for sample in 0..SHAPE.batch {
            for (n, &from) in order.iter().enumerate() {
                // Visual token n stands at position n.
                assert!(farthest(&row(&moved, sample, n), &row(&before, sample, from)) < 1e-12);
                assert!(row(&before, sample, n).iter().any(|x| x.abs() > 1e-6));
            }
            for t in 16..tokens {
                assert!(row(&moved, sample, t).iter().chain(&row(&before, sample, t)).all(|x| *x == 0.0));
            }
        }
    }
}

#[test]
fn every_edge_of_a_gated_method_reports_its_gate() {
    for (method, sets) in [
        ("cli", &[][..]),
        ("diagonal-agf", &[]),
        ("static-gate", &[]),
        ("cli", &["topology.fusion.order=sequential"]),
    ] {
        let recipe = small(method, sets);
        let model = graph(&recipe, SHAPE);
        let func = model.graph.lift().unwrap();
        let results = run(&func, &arguments(&model, &func, as_is)).unwrap();
        let edges: usize = model.gates.iter().map(|(_, taps)| taps.len()).sum();
        let expected = crossloom_recipe::Topology::new(&recipe).unwrap().injections().count();
        assert_eq!(edges, expected, "{method}");
        for (point, taps) in &model.gates {
            let name = format!("{}{}", crossloom_model::GATE_RESULT, point.name());
            let at = func.results().iter().position(|result| result.name == name).unwrap();
            assert_eq!(results[at].shape, [SHAPE.batch, taps.len()], "{method}, {name}");
            // The gate starts almost closed.
            assert!(
                results[at].data.iter().all(|w| (0.001..0.2).contains(w)),
                "{method}: {:?}",
                results[at].data
            );
        }
    }
}
