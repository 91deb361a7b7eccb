use serde_json::Value;

use crate::support::crossloom;

const RECIPE: [&str; 2] = ["explain", "recipes/synthetic.toml"];

fn explained(more: &[&str]) -> Value {
    crossloom(&[&RECIPE, more, &["--json"]].concat()).exits(0).json()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn memory_adds_up_and_the_injection_costs_something() {
    let document = explained(&[]);
    let variants = document["variants"].as_array().unwrap();
    let names: Vec<&str> = variants.iter().map(|variant| variant["variant"].as_str().unwrap()).collect();
    assert_eq!(names, ["projector", "cli", "question_only"]);
    for variant in variants {
        for mode in ["train", "prefill", "decode"] {
            let memory = variant[mode]["memory"].as_object().unwrap();
            let parts: u64 =
                memory.iter().filter(|(name, _)| *name != "peak").map(|(_, bytes)| number(bytes)).sum();
            assert_eq!(parts, number(&memory["peak"]), "{mode}");
        }
        let weights: u64 =
            (variant["parameters"].as_object().unwrap().values()).map(|part| number(&part["total"])).sum();
        assert_eq!(4 * weights, number(&variant["train"]["memory"]["weights"]));
        assert_eq!(
            2 * 4 * weights,
            number(&variant["train"]["memory"]["optimizer"]),
            "AdamW keeps two moments"
        );
        let scopes: u64 =
            (variant["by_scope"].as_object().unwrap().values()).map(|scope| number(&scope["flops"])).sum();
        assert_eq!(scopes, number(&variant["train"]["flops"]));
        let calls: u64 = variant["kernels"].as_object().unwrap().values().map(number).sum();
        assert_eq!(calls, number(&variant["train"]["kernel_calls"]));
    }
    let (projector, cli) = (&variants[0], &variants[1]);
    assert!(projector["overhead"].is_null());
    let parameters = &cli["overhead"]["parameters"];
    let total = |variant: &Value| -> u64 {
        variant["parameters"].as_object().unwrap().values().map(|part| number(&part["total"])).sum()
    };
    assert_eq!(number(&parameters["without"]), total(projector), "without its injection it is `projector`");
    assert_eq!(number(&parameters["with"]), total(cli));
    for figure in ["train_flops", "prefill_flops", "train_bytes_moved", "train_peak"] {
        let ratio = cli["overhead"][figure]["ratio"].as_f64().unwrap();
        assert!((1.0..10.0).contains(&ratio), "{figure}: {ratio}");
    }
}

#[test]
fn frozen_parts_have_no_optimizer_state() {
    let frozen = ["--variant", "projector", "--set", "train.parts.vision.trainable=false"];
    let (all, some) = (explained(&frozen[..2]), explained(&frozen));
    let (all, some) = (&all["variants"][0], &some["variants"][0]);
    let vision = &some["parameters"]["vision"];
    assert_eq!(
        (number(&vision["trained"]), number(&vision["total"])),
        (0, number(&all["parameters"]["vision"]["total"]))
    );
    let optimizer = |variant: &Value| number(&variant["train"]["memory"]["optimizer"]);
    assert_eq!(optimizer(all) - optimizer(some), 8 * number(&vision["total"]));
    assert!(number(&some["train"]["flops"]) < number(&all["train"]["flops"]));
}

#[test]
fn what_low_rank_pairs_save_is_told_against_the_same_training_in_full() {
    let lora = "train.parts.language.lora={ rank = 4, targets = ['q_proj', 'v_proj'] }";
    let vision = "train.parts.vision.trainable=false";
    let adapted = explained(&["--variant", "projector", "--set", vision, "--set", lora]);
    let full = explained(&["--variant", "projector", "--set", vision]);
    let (adapted, full) = (&adapted["variants"][0], &full["variants"][0]);
    assert!(full["lora"].is_null());
    let language = &adapted["parameters"]["language"];
    let pairs = number(&language["total"]) - number(&full["parameters"]["language"]["total"]);
    assert_eq!(number(&language["trained"]), pairs);
    let saved = &adapted["lora"];
    assert_eq!(saved["optimizer"]["without"], full["train"]["memory"]["optimizer"]);
    assert_eq!(saved["optimizer"]["with"], adapted["train"]["memory"]["optimizer"]);
    assert_eq!(saved["train_flops"]["without"], full["train"]["flops"]);
    for figure in ["trained", "optimizer", "train_flops"] {
        let ratio = saved[figure]["ratio"].as_f64().unwrap();
        assert!((0.0..1.0).contains(&ratio), "{figure}: {ratio}");
    }
}

#[test]
fn accumulation_repeats_all_but_the_optimizer() {
    let once = explained(&["--variant", "cli"]);
    let four = explained(&["--variant", "cli", "--set", "train.accumulate=4"]);
    let (once, four) = (&once["variants"][0], &four["variants"][0]);
    let ratio = number(&four["train"]["flops"]) as f64 / number(&once["train"]["flops"]) as f64;
    assert!((3.5..4.5).contains(&ratio), "{ratio}");
    assert!(number(&four["train"]["memory"]["optimizer"]) > number(&once["train"]["memory"]["optimizer"]));
}

#[test]
fn passes_are_listed_and_depth_splits_scopes() {
    let shallow = explained(&["--variant", "cli"]);
    let shallow = &shallow["variants"][0];
    let passes: Vec<&str> =
        (shallow["passes"].as_array().unwrap().iter()).map(|pass| pass["name"].as_str().unwrap()).collect();
    assert!(passes.contains(&"amp_batching") && passes.contains(&"agf_fusion"), "{passes:?}");
    let scopes: Vec<&String> = shallow["by_scope"].as_object().unwrap().keys().collect();
    assert!(
        scopes.iter().any(|scope| *scope == "vision") && scopes.iter().any(|scope| *scope == "inject"),
        "{scopes:?}"
    );
    let deep = explained(&["--variant", "cli", "--depth", "3"]);
    let scopes = deep["variants"][0]["by_scope"].as_object().unwrap();
    assert!(scopes.contains_key("vision.block.2") && scopes.contains_key("inject.layer.1"), "{scopes:?}");
}

#[test]
fn the_text_shows_all_tables_and_never_changes() {
    let arguments = [&RECIPE[..], &["--variant", "cli"]].concat();
    let said = crossloom(&arguments).exits(0);
    for heading in [
        "variant cli: ",
        "part  ",
        "cost ",
        "a run holds at once ",
        "edge (forward pass)",
        "scope (training step)",
        "pass ",
        "kernel ",
        "the injection's share",
    ] {
        assert!(said.out.contains(heading), "`{heading}` is not in:\n{}", said.out);
    }
    assert_eq!(said.out, crossloom(&arguments).exits(0).out);
}

#[test]
fn an_edge_is_traced_to_the_nodes_that_compute_it() {
    let document = explained(&["--why", "block.2->layer.1"]);
    let variants = document["variants"].as_object().unwrap();
    assert_eq!(variants.keys().collect::<Vec<_>>(), ["cli"], "only one variant has the edge");
    let trace = &variants["cli"];
    assert_eq!((&trace["tap"], &trace["point"]), (&"vision.block.2".into(), &"inject.layer.1".into()));
    let nodes = trace["nodes"].as_array().unwrap();
    let of = |scope: &str| nodes.iter().filter(|node| node["scope"] == scope).count();
    assert!(of("inject.adapter") > 0 && of("inject.layer.1") > 0, "{nodes:?}");
    assert_eq!(of("inject.layer.2"), 0, "another point is no part of the edge: {nodes:?}");
    let update = nodes.iter().find(|node| node["op"].as_str().unwrap().starts_with("agf_inject")).unwrap();
    assert_eq!(update["edges"], 4, "the four edges of the point are one update");
    let parameters = trace["parameters"].as_array().unwrap();
    assert!(
        parameters.iter().any(|name| name.as_str().unwrap().contains("block.2.lora_A")),
        "{parameters:?}"
    );

    // Its own branch and gate and the shared projector; not those of other taps and points.
    let named: Vec<&str> = parameters.iter().map(|name| name.as_str().unwrap()).collect();
    for own in ["block.2.lora_A.weight", "block.2.lora_B.weight", "gate.layer.1.", "projector"] {
        assert!(named.iter().any(|name| name.contains(own)), "{own}: {named:?}");
    }
    for other in ["block.1.", "block.3.", "block.4.", "gate.layer.0", "gate.layer.2"] {
        assert!(!named.iter().any(|name| name.contains(other)), "{other}: {named:?}");
    }

    let said = crossloom(&[&RECIPE[..], &["--why", "block.2->layer.1"]].concat()).exits(0);
    assert!(said.out.contains("reads the state that `vision.block.2` computes, writes in `inject.layer.1`"));
    let input = explained(&["--variant", "projector", "--why", "post_norm->input"]);
    let nodes = input["variants"]["projector"]["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["scope"] == "projector"), "{nodes:?}");
}

#[test]
fn every_weight_of_an_injection_belongs_to_an_edge() {
    // Two taps into two layers: every weight is of a tap, of a point, of an edge or of all.
    let few = [
        "variants.cli.topology.taps=['block.1', 'block.3']",
        "variants.cli.topology.points=['before layer.0', 'before layer.1']",
    ]
    .map(|set| ["--set", set]);
    let few = few.as_flattened();
    let cli = ["recipes/synthetic.toml", "--variant", "cli"];
    let topology = crossloom(&[&["graph", "--format", "json"][..], &cli, few].concat()).json();
    for sets in [
        &[][..],
        &["variants.cli.topology.adapter.attach='per_linear'"],
        &["variants.cli.topology.adapter='per_tap'", "variants.cli.topology.gate={kind='static'}"],
        &[
            "variants.cli.topology.gate={kind='agf', attention='separate', granularity='channel', pool='image'}",
        ],
        &[
            "variants.cli.topology.adapter.tap_norm='layer'",
            "variants.cli.topology.fusion.order='sequential'",
        ],
    ] {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).chain(few.iter().copied()).collect();
        let mut found = std::collections::BTreeSet::new();
        for edge in topology["variants"]["cli"]["edges"].as_array().unwrap() {
            let why = ["--variant", "cli", "--why", edge["name"].as_str().unwrap()];
            let document = explained(&[&why[..], &sets].concat());
            for name in document["variants"]["cli"]["parameters"].as_array().unwrap() {
                found.insert(name.as_str().unwrap().to_owned());
            }
        }
        let ir = crossloom(&[&["graph", "--stage", "ir"][..], &cli, &sets].concat()).exits(0).out;
        let weights = ir.lines().filter(|line| line.trim_start().starts_with("weight "));
        let of_injection: Vec<&str> = (weights.map(|line| line.split('"').nth(1).unwrap()))
            .filter(|name| name.starts_with("injection.") || name.starts_with("multi_modal_projector."))
            .collect();
        assert!(of_injection.len() > 10, "{of_injection:?}");
        let missing: Vec<&&str> = of_injection.iter().filter(|name| !found.contains(**name)).collect();
        assert!(missing.is_empty(), "{sets:?}: {missing:?}");
    }
}

#[test]
fn an_unknown_edge_is_an_error_that_lists_the_edges() {
    crossloom(&[&RECIPE[..], &["--variant", "cli", "--why", "block.9->layer.0"]].concat())
        .exits(2)
        .complains(&["no edge `block.9->layer.0`", "`block.4->layer.2`"]);
}

#[test]
fn compile_shows_time_per_pass_and_the_plan() {
    let said = crossloom(&["compile", "recipes/synthetic.toml", "--variant", "cli"]).exits(0);
    for part in ["variant cli: compiled in ", "agf_fusion", "arena ", "kernel calls "] {
        assert!(said.out.contains(part), "`{part}` is not in:\n{}", said.out);
    }
    let document =
        crossloom(&["compile", "recipes/synthetic.toml", "--json", "--mode", "forward"]).exits(0).json();
    let variants = document["variants"].as_array().unwrap();
    assert_eq!(variants.len(), 3);
    for variant in variants {
        let passes = variant["passes"].as_array().unwrap();
        let sum: f64 = passes.iter().map(|pass| pass["seconds"].as_f64().unwrap()).sum();
        assert!(passes.len() >= 6 && sum <= variant["seconds"].as_f64().unwrap(), "{variant}");
        assert!(
            number(&variant["plans"][0]["arena_bytes"]) >= number(&variant["plans"][0]["lower_bound_bytes"])
        );
    }
}

#[test]
fn a_budget_is_kept_and_what_it_costs_is_told() {
    let large = ["--variant", "cli", "--set", "train.batch_size=64"];
    let total = |variant: &Value| -> u64 { variant["run"].as_object().unwrap().values().map(number).sum() };
    let whole = explained(&large);
    let whole = &whole["variants"][0];
    assert_eq!(number(&whole["train"]["recomputed_flops"]), 0);
    let budget = total(whole) * 3 / 4;
    let asked = budget.to_string();
    let less = explained(&[&large[..], &["--budget", &asked]].concat());
    let less = &less["variants"][0];
    assert!(total(less) <= budget, "{} of {budget}", total(less));
    let again = number(&less["train"]["recomputed_flops"]);
    let scope = &less["by_scope"]["recompute"];
    assert_eq!(again, number(&scope["flops"]));
    assert_eq!(number(&less["train"]["flops"]) - again, number(&whole["train"]["flops"]));
    assert!(again > 0 && number(&scope["calls"]) > 0);
    let said = crossloom(&[&RECIPE, &large[..], &["--budget", &asked]].concat()).exits(0);
    assert!(said.out.contains("of these, computed again"), "{}", said.out);
    crossloom(&[&RECIPE, &large[..], &["--budget", "1KiB"]].concat())
        .exits(0)
        .complains(&["variant `cli` needs", "the memory budget that was given"]);
    crossloom(&[&RECIPE, &large[..], &["--budget", "much"]].concat()).exits(2).complains(&["--budget"]);
}

#[test]
fn types_of_an_accumulating_step_count_the_state_of_both_its_parts() {
    let variants = explained(&["--variant", "cli", "--set", "train.accumulate=3"]);
    let cli = &variants["variants"][0];
    let sum = |kind: &str| -> u64 {
        cli["types"].as_object().unwrap().values().map(|held| number(&held[kind])).sum()
    };
    let memory = &cli["train"]["memory"];
    assert_eq!(sum("weights"), number(&memory["weights"]));
    assert_eq!(sum("state"), number(&memory["optimizer"]) + number(&memory["copies"]));
}

#[test]
fn parts_add_up_to_the_whole_in_every_phase() {
    for variant in explained(&[])["variants"].as_array().unwrap() {
        let parts: Vec<&Value> = variant["parts"].as_object().unwrap().values().collect();
        for (phase, bytes) in [("train", "bytes"), ("prefill", "bytes"), ("decode", "bytes")] {
            let sum = |figure: &str| -> u64 { parts.iter().map(|part| number(&part[phase][figure])).sum() };
            assert_eq!(sum("flops"), number(&variant[phase]["flops"]), "{phase}");
            assert_eq!(sum(bytes), number(&variant[phase]["bytes_moved"]), "{phase}");
            assert_eq!(sum("calls"), number(&variant[phase]["kernel_calls"]), "{phase}");
        }
        // A token reads no picture, so nothing of a picture's way is computed for it.
        let decode = &variant["parts"]["vision"]["decode"];
        assert_eq!(number(&decode["flops"]), 0, "{decode}");
        assert!(number(&variant["decode"]["flops"]) > 0);
        assert!(number(&variant["prefill"]["flops"]) < number(&variant["train"]["flops"]));
    }
}

#[test]
fn memory_in_both_types_is_that_of_the_recipe_in_either() {
    let total = |need: &Value| -> u64 { need.as_object().unwrap().values().map(number).sum() };
    let wide = explained(&["--variant", "cli"]);
    let narrow = explained(&["--variant", "cli", "--set", "train.precision='bf16'"]);
    let (wide, narrow) = (&wide["variants"][0], &narrow["variants"][0]);
    assert_eq!((&wide["run"], &narrow["run"]), (&wide["run_in"]["f32"], &wide["run_in"]["bf16"]));
    assert_eq!(wide["run_in"], narrow["run_in"]);
    assert!(total(&narrow["run"]) < total(&wide["run"]));
}

#[test]
fn shares_of_edges_add_up_to_what_lies_between_taps_and_points() {
    let document = explained(&["--variant", "cli"]);
    let cli = &document["variants"][0];
    let edges = cli["edges"].as_object().unwrap();
    assert_eq!(edges.len(), 13);
    let sum = |figure: &str| -> u64 { edges.values().map(|cost| number(&cost[figure])).sum() };
    // Every weight of the connector and the adapter lies on some edge; a share is rounded down.
    let weights = ["projector", "adapter", "gate"].map(|part| number(&cli["parameters"][part]["total"]));
    let all: u64 = weights.iter().sum();
    assert!(sum("parameters") <= all && sum("parameters") + 13 * 40 > all, "{} of {all}", sum("parameters"));
    let parts = ["projector", "adapter", "gate and fusion"];
    let connecting = parts.map(|part| number(&cli["parts"][part]["prefill"]["flops"]));
    let connecting: u64 = connecting.iter().sum();
    assert!(
        sum("flops") > connecting / 2 && sum("flops") <= connecting * 11 / 10,
        "{} {connecting}",
        sum("flops")
    );
    // Alone at its point, an edge shares neither gate nor adapter.
    let sets = ["wiring='diagonal'", "taps={ count = 3 }", "adapter='per_tap'"];
    let sets: Vec<String> =
        sets.iter().flat_map(|set| ["--set".to_owned(), format!("variants.cli.topology.{set}")]).collect();
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let alone = explained(&[&["--variant", "cli"][..], &sets].concat());
    let own = &alone["variants"][0]["edges"]["block.1->layer.0"]["own"];
    assert!(number(own) > 0, "{}", alone["variants"][0]["edges"]);
}

#[test]
fn against_another_variant_every_figure_stands_beside_its_own() {
    let document = explained(&["--variant", "cli", "--against", "projector"]);
    let alone = explained(&["--variant", "projector"]);
    assert_eq!(document["against"], alone["variants"][0]);
    let cli = &document["variants"][0];
    let figures = cli["against"].as_array().unwrap();
    let flops = figures.iter().find(|figure| figure["name"] == "FLOPs, training step").unwrap();
    assert_eq!(
        (&flops["first"], &flops["second"]),
        (&alone["variants"][0]["train"]["flops"], &cli["train"]["flops"])
    );
    let said = crossloom(&[&RECIPE[..], &["--variant", "cli", "--against", "projector"]].concat()).exits(0);
    assert!(said.out.contains("first: projector; second: cli"), "{}", said.out);
    let other = [&RECIPE[..], &["--variant", "cli", "--against", "recipes/quickstart.toml"]].concat();
    crossloom(&other).exits(2).complains(&["has 3 variants", "recipes/quickstart.toml/projector"]);
}

#[test]
fn what_would_fit_a_budget_is_tried_and_what_is_told_is_so() {
    let base = ["--variant", "cli", "--set", "train.batch_size=64"];
    let total = |variant: &Value| -> u64 { variant["run"].as_object().unwrap().values().map(number).sum() };
    let whole = total(&explained(&base)["variants"][0]);
    let ask = |bytes: u64| {
        let budget = bytes.to_string();
        explained(&[&base[..], &["--budget", &budget]].concat())["variants"][0]["budget"].clone()
    };
    let enough = ask(whole);
    assert_eq!((&enough["fits"], enough["tried"].as_array().unwrap().len()), (&Value::Bool(true), 0));
    for budget in [whole * 3 / 4, whole / 2] {
        let found = ask(budget);
        assert_eq!((number(&found["need"]), &found["fits"]), (whole, &Value::Bool(false)));
        let tried = found["tried"].as_array().unwrap();
        let knobs: Vec<&str> = tried.iter().map(|tried| tried["knob"].as_str().unwrap()).collect();
        for knob in [
            "values computed again",
            "bf16",
            "smaller batches",
            "shorter sequences",
            "LoRA in language",
            "vision frozen",
        ] {
            assert!(knobs.iter().any(|known| known.starts_with(knob)), "{knob}: {knobs:?}");
        }
        let fitting = tried.iter().find(|tried| tried["fits"] == true).unwrap_or_else(|| panic!("{found}"));
        // The recipe with these settings holds what was said of it.
        let sets: Vec<String> = (fitting["sets"].as_array().unwrap().iter())
            .flat_map(|set| ["--set".to_owned(), format!("variants.cli.{}", set.as_str().unwrap())])
            .collect();
        let (sets, budget) = (sets.iter().map(String::as_str).collect::<Vec<_>>(), budget.to_string());
        let then = explained(&[&base[..], &sets, &["--budget", &budget]].concat());
        assert_eq!(total(&then["variants"][0]), number(&fitting["need"]), "{fitting}");
    }
}
