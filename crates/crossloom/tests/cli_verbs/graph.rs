use crossloom_ir::text;

use crate::support::crossloom;

const CLI: [&str; 4] = ["graph", "recipes/synthetic.toml", "--variant", "cli"];

fn graph(more: &[&str]) -> String {
    crossloom(&[&CLI, more].concat()).exits(0).out
}

#[test]
fn the_topology_is_a_matrix_of_taps_and_points() {
    insta::assert_snapshot!(graph(&[]));
}

#[test]
fn without_a_variant_text_shows_all_and_pictures_ask_for_one() {
    let said = crossloom(&["graph", "recipes/synthetic.toml"]).exits(0);
    let heads: Vec<&str> = said.out.lines().filter(|line| line.starts_with("; variant ")).collect();
    assert_eq!(heads, ["; variant projector", "; variant cli", "; variant question_only"]);
    crossloom(&["graph", "recipes/synthetic.toml", "--format", "svg"])
        .exits(2)
        .complains(&["has 3 variants", "--variant: `projector`, `cli`, `question_only`"]);
    crossloom(&["graph", "recipes/synthetic.toml", "--variant", "clip"])
        .exits(2)
        .complains(&["no variant `clip`", "`cli`"]);
}

#[test]
fn every_stage_has_every_form() {
    let begins = [
        ("topology", ["topology ", "flowchart LR\n", "digraph ", "<svg "]),
        ("luminal", ["graph ", "flowchart TD\n", "digraph ", "<svg "]),
        ("ir", ["func @", "flowchart TD\n", "digraph ", "<svg "]),
        ("fused", ["func @", "flowchart TD\n", "digraph ", "<svg "]),
        ("plan", ["kernel calls ", "flowchart TD\n", "digraph ", "<svg "]),
        ("cuda", ["// ", "flowchart TD\n", "digraph ", "<svg "]),
    ];
    for (stage, begins) in begins {
        for (format, begin) in ["text", "mermaid", "dot", "svg"].into_iter().zip(begins) {
            let shown = graph(&["--stage", stage, "--format", format]);
            assert!(shown.starts_with(begin), "{stage} as {format}: {}", &shown[..shown.len().min(80)]);
        }
        let said = crossloom(&[&CLI[..], &["--stage", stage, "--format", "json"]].concat()).exits(0);
        assert!(said.json()["variants"]["cli"].is_object(), "{stage}");
    }
}

#[test]
fn every_kernel_that_a_gpu_would_launch_has_a_source() {
    for mode in ["train", "prefill", "decode"] {
        let text = graph(&["--stage", "cuda", "--mode", mode]);
        let json = crossloom(&[&CLI[..], &["--stage", "cuda", "--mode", mode, "--format", "json"]].concat());
        let document = json.exits(0).json();
        let variant = &document["variants"]["cli"];
        let (functions, kernels) = (variant["functions"].as_array().unwrap(), &variant["kernels"]);
        let steps = functions.iter().flat_map(|function| function["steps"].as_array().unwrap());
        let launches: Vec<_> = steps.flat_map(|step| step["launches"].as_array().unwrap()).collect();
        assert!(launches.len() > 50, "{mode}: {}", launches.len());
        for launch in launches {
            let name = launch["kernel"].as_str().unwrap();
            let source = kernels[name]["source"].as_str().unwrap_or_else(|| panic!("{mode}: {name}"));
            assert!(source.contains(&format!(" {name}(")) && !source.contains("#include"), "{source}");
            assert_eq!(text.matches(&format!(" {name}(")).count(), 1, "{mode}: {name}");
        }
    }
}

#[test]
fn every_phase_of_an_answer_is_shown_by_itself() {
    let parts = ["vision.", "inject.adapter", "language.", "inject.layer"];
    for (mode, held) in [
        ("encode", [true, false, false, false]),
        ("connect", [false, true, false, false]),
        ("prefill", [false, false, true, true]),
        ("decode", [false, false, true, false]),
        ("forward", [true; 4]),
    ] {
        let json =
            crossloom(&[&CLI[..], &["--stage", "luminal", "--format", "json", "--mode", mode]].concat());
        let document = json.exits(0).json();
        let nodes = document["variants"]["cli"]["nodes"].as_array().unwrap().clone();
        let scopes: Vec<&str> = nodes.iter().filter_map(|node| node["scope"].as_str()).collect();
        let found = parts.map(|part| scopes.iter().any(|scope| scope.starts_with(part)));
        assert_eq!(found, held, "{mode}: {scopes:?}");
        for stage in ["ir", "fused", "plan"] {
            assert!(graph(&["--stage", stage, "--mode", mode]).len() > 200, "{mode}, {stage}");
        }
    }
}

#[test]
fn a_picture_has_as_many_boxes_as_its_depth_tells_apart() {
    let boxes = |depth: &str| {
        let shown = graph(&["--stage", "fused", "--mode", "forward", "--format", "dot", "--depth", depth]);
        shown.lines().filter(|line| line.contains("[label=") && !line.contains("->")).count()
    };
    let counts = ["1", "3", "4", "all"].map(boxes);
    assert!(counts.is_sorted_by(|few, many| few < many), "{counts:?}");
    // Inputs, results, and the parts of the model; by default a box for each layer.
    assert!(counts[0] <= 8 && (12..30).contains(&counts[1]) && counts[3] > 100, "{counts:?}");
    let default = graph(&["--stage", "fused", "--mode", "forward", "--format", "dot"]);
    let three = graph(&["--stage", "fused", "--mode", "forward", "--format", "dot", "--depth", "3"]);
    assert_eq!(default, three);
    for wrong in ["0", "17", "some"] {
        crossloom(&[&CLI[..], &["--depth", wrong]].concat())
            .exits(2)
            .complains(&["a number from 1 to 16, or `all`"]);
    }
}

#[test]
fn a_plan_is_drawn_with_its_kernels_and_bytes() {
    let shown = graph(&["--stage", "plan", "--mode", "forward", "--format", "mermaid"]);
    assert!(shown.contains("writes ") && shown.contains(" KiB"), "{shown}");
    assert!(shown.contains("× gemm") && !shown.contains("reshape"), "{shown}");
}

#[test]
fn verifying_changes_nothing() {
    let plain = graph(&["--stage", "plan"]);
    assert_eq!(graph(&["--stage", "plan", "--verify"]), plain);
    let compiled = ["compile", "recipes/synthetic.toml", "--variant", "cli", "--verify"];
    crossloom(&compiled).exits(0);
}

#[test]
fn the_luminal_graph_has_amp_and_agf_as_single_operators() {
    let shown = graph(&["--stage", "luminal"]);
    let count = |op: &str| shown.lines().filter(|line| line.contains(&format!("= {op} "))).count();
    assert_eq!((count("amp_project"), count("agf_gate"), count("agf_inject")), (1, 3, 3));
}

#[test]
fn the_fused_ir_has_amp_as_one_batched_projection_and_the_gates_fused() {
    let shown = graph(&["--stage", "fused", "--mode", "forward"]);
    assert!(!shown.contains("amp_project") && !shown.contains("agf_gate"), "{shown}");
    // Both layers of the shared projector are read twice: for the input, and for all taps at once, 4 taps of 16 pictures
    // of 16 patches.
    for layer in ["linear_1", "linear_2"] {
        let name = format!("\"multi_modal_projector.{layer}.weight\"");
        let declared = shown.lines().find(|line| line.contains(&name)).unwrap();
        let value = declared.split_whitespace().find(|word| word.starts_with('%')).unwrap();
        let reads =
            |line: &&str| line.contains(" = linear") && line.split([' ', ',']).any(|word| word == value);
        let readers: Vec<&str> = shown.lines().filter(reads).collect();
        assert_eq!(readers.len(), 2, "{layer}: {readers:#?}");
        assert_eq!(readers.iter().filter(|line| line.contains("[1024, 32]")).count(), 1, "{readers:#?}");
    }
    assert_eq!(shown.matches("= agf_inject ").count(), 3);
}

#[test]
fn ir_and_fused_ir_read_back_to_the_same_text() {
    for arguments in [["ir", "train"], ["ir", "forward"], ["fused", "train"], ["fused", "forward"]] {
        let shown = graph(&["--stage", arguments[0], "--mode", arguments[1]]);
        let func = text::parse(&shown).unwrap_or_else(|errors| panic!("{arguments:?}: {errors}"));
        assert_eq!(text::print(&func), shown, "{arguments:?}");
    }
}

#[test]
fn training_has_an_optimizer_and_prediction_has_none() {
    let train = graph(&["--stage", "fused", "--mode", "train"]);
    assert!(train.contains("adamw") && train.contains("return \"loss\""), "{train}");
    let forward = graph(&["--stage", "fused", "--mode", "forward"]);
    assert!(!forward.contains("adamw") && forward.contains("return \"predictions\""), "{forward}");
}

#[test]
fn every_stage_is_the_same_at_every_call() {
    for stage in ["luminal", "fused", "plan"] {
        let arguments = ["--stage", stage, "--mode", "train"];
        assert_eq!(graph(&arguments), graph(&arguments), "{stage}");
    }
}

#[test]
fn gradient_accumulation_makes_two_functions() {
    let said = graph(&["--stage", "plan", "--format", "json", "--set", "train.accumulate=2"]);
    let document: serde_json::Value = serde_json::from_str(&said).unwrap();
    let functions = document["variants"]["cli"]["functions"].as_array().unwrap();
    assert_eq!(functions.len(), 2);
    assert!(functions[0]["kernel_calls"].as_u64() > functions[1]["kernel_calls"].as_u64());
}

#[test]
fn sizes_are_those_of_a_run_unless_others_are_given() {
    let shown = graph(&["--stage", "ir"]);
    assert!(shown.contains("\"pixels\": f32[16, 3, 32, 32]"), "{shown}");
    let shown = graph(&["--stage", "ir", "--tokens", "40", "--vocab", "50"]);
    assert!(shown.contains("\"tokens\": i32[16, 40]"), "{shown}");
    assert!(shown.contains("embed_tokens.weight\": f32[50, 32]"), "{shown}");
    crossloom(&[&CLI[..], &["--stage", "ir", "--tokens", "5"]].concat())
        .exits(2)
        .complains(&["5 positions does not fit", "needs 17"]);
    crossloom(&[&CLI[..], &["--stage", "ir", "--set", "model.language.max_positions=32"]].concat())
        .exits(2)
        .complains(&["model.language.max_positions"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::io::Read as _;
    use std::process::Stdio;
    let mut command = crate::support::program(&crate::support::workspace());
    command.args(["graph", "recipes/synthetic.toml", "--stage", "plan", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}
