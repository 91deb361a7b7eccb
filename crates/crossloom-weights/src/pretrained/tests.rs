#![allow(clippy::unwrap_used)]

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::*;

/// A LLaVA of two blocks and two layers, small enough to be written for every test.
fn config() -> Value {
    json!({
        "model_type": "llava", "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
        "text_config": {
            "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 12, "vocab_size": 20
        },
        "vision_config": {
            "model_type": "clip_vision_model", "hidden_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 10, "image_size": 4, "patch_size": 2
        }
    })
}

/// Its tensors, by our names.
fn tensors() -> BTreeMap<String, Vec<usize>> {
    let tower = "vision_tower.vision_model";
    let mut all = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| drop(all.insert(name, shape.to_vec()));
    add(format!("{tower}.embeddings.class_embedding"), &[6]);
    add(format!("{tower}.embeddings.patch_embedding.weight"), &[6, 3, 2, 2]);
    add(format!("{tower}.embeddings.position_embedding.weight"), &[5, 6]);
    for layer in 0..2 {
        add(format!("{tower}.encoder.layers.{layer}.mlp.fc1.weight"), &[10, 6]);
        add(format!("{tower}.encoder.layers.{layer}.self_attn.q_proj.weight"), &[6, 6]);
        let layer = format!("language_model.model.layers.{layer}");
        add(format!("{layer}.self_attn.q_proj.weight"), &[8, 8]);
        add(format!("{layer}.self_attn.k_proj.weight"), &[4, 8]);
        add(format!("{layer}.mlp.gate_proj.weight"), &[12, 8]);
    }
    add("multi_modal_projector.linear_1.weight".to_owned(), &[8, 6]);
    add("multi_modal_projector.linear_2.weight".to_owned(), &[8, 8]);
    add("language_model.model.embed_tokens.weight".to_owned(), &[24, 8]);
    add("language_model.model.norm.weight".to_owned(), &[8]);
    add("language_model.lm_head.weight".to_owned(), &[24, 8]);
    all
}

fn write_file(path: &Path, tensors: &BTreeMap<String, Vec<usize>>) {
    let bytes: Vec<Vec<u8>> =
        tensors.values().map(|shape| vec![0; 2 * shape.iter().product::<usize>()]).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (name.clone(), TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// A folder whose tensors have the names of a layout.
fn folder(layout: &Layout, config: &Value, tensors: &BTreeMap<String, Vec<usize>>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let named =
        tensors.iter().map(|(ours, shape)| (layout.to_file(ours).unwrap_or(ours.clone()), shape.clone()));
    write_file(&folder.path().join("model.safetensors"), &named.collect());
    folder
}

#[test]
fn a_model_is_the_same_under_every_name_it_is_kept_by() {
    // Those of Qwen3-VL and Granite Vision are of no LLaVA, and its encoder is not DINOv2.
    let has = |layout: &Layout, name: &String| layout.to_file(name).is_some();
    let of_llava =
        |layout: &&Layout| layout.whole && !layout.dinov2 && tensors().keys().all(|name| has(layout, name));
    for layout in LAYOUTS.iter().filter(of_llava) {
        let folder = folder(layout, &config(), &tensors());
        let model = Pretrained::open(folder.path()).unwrap_or_else(|e| panic!("{}: {e}", layout.name));
        assert_eq!(model.layout().name, layout.name);
        assert!(model.names().eq(tensors().keys().map(String::as_str)), "{}", layout.name);
        for (name, shape) in tensors() {
            let (ty, bytes) = model.tensor(&name).unwrap();
            assert_eq!(
                (ty.shape, bytes.as_ref().len()),
                (shape.clone(), 2 * shape.iter().product::<usize>())
            );
        }
        assert_eq!(model.architecture().language.as_ref().unwrap().vocab_size, Some(24), "rows of the file");
        let held = model.held();
        assert_eq!(
            held[&(Part::Projector, "bf16".to_owned())],
            Held { tensors: 2, parameters: 112, bytes: 224 }
        );
    }
}

#[test]
fn an_encoder_alone_has_names_of_its_own_and_leaves_out_what_is_no_weight() {
    let mut config = config()["vision_config"].clone();
    config["model_type"] = json!("clip_vision_model");
    let mut vision: BTreeMap<String, Vec<usize>> =
        tensors().into_iter().filter(|(name, _)| name.starts_with("vision_tower.")).collect();
    vision.insert("vision_tower.vision_model.embeddings.position_ids".to_owned(), vec![1, 5]);
    let folder = folder(&LAYOUTS[3], &config, &vision);
    let model = Pretrained::open(folder.path()).unwrap();
    assert_eq!(model.layout().name, "one part alone");
    assert_eq!(model.left_out(), ["vision_model.embeddings.position_ids"]);
    assert_eq!(model.names().count(), vision.len() - 1);
}

#[test]
fn what_does_not_fit_the_configuration_is_told_at_once() {
    let mut tensors = tensors();
    tensors.insert("language_model.model.layers.1.mlp.gate_proj.weight".to_owned(), vec![8, 12]);
    tensors.insert("language_model.model.layers.2.mlp.gate_proj.weight".to_owned(), vec![12, 8]);
    tensors.remove("multi_modal_projector.linear_2.weight");
    tensors.insert("gate.weight".to_owned(), vec![1]);
    let folder = folder(&LAYOUTS[0], &config(), &tensors);
    let error = Pretrained::open(folder.path()).unwrap_err();
    for part in [
        "layers.1.mlp.gate_proj.weight` of shape [8, 12]; by its configuration that is [12, 8]",
        "there are 2 layers",
        "holds no `multi_modal_projector.linear_2.weight`",
        "`gate.weight`, which is no tensor of such a model",
    ] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert_eq!(error.problems.len(), 4, "{error}");
}

/// The same model in two files, with what an index says of them.
fn sharded(change: impl FnOnce(&mut Value)) -> (tempfile::TempDir, Result<Pretrained, WeightsError>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config().to_string()).unwrap();
    let (mut map, files) = (serde_json::Map::new(), ["a.safetensors", "b.safetensors"]);
    for (number, file) in files.iter().enumerate() {
        let half =
            tensors().into_iter().enumerate().filter(|(i, _)| i % 2 == number).map(|(_, tensor)| tensor);
        let half: BTreeMap<String, Vec<usize>> = half.collect();
        map.extend(half.keys().map(|name| (name.clone(), json!(file))));
        write_file(&folder.path().join(file), &half);
    }
    let mut index = json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    change(&mut index);
    std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let opened = Pretrained::open(folder.path());
    (folder, opened)
}

#[test]
fn shards_are_read_by_their_index_and_the_index_must_be_true() {
    let (_folder, model) = sharded(|_| ());
    let model = model.unwrap();
    assert!(model.names().eq(tensors().keys().map(String::as_str)));
    let norm = "language_model.model.norm.weight";
    let (_folder, absent) = sharded(|index| index["weight_map"][norm] = json!("c.safetensors"));
    assert!(absent.unwrap_err().to_string().contains("c.safetensors"));
    let (_folder, outside) = sharded(|index| index["weight_map"][norm] = json!("../a.safetensors"));
    assert!(outside.unwrap_err().to_string().contains("not one of this folder"));
    let (_folder, strange) = sharded(|index| index["weight_map"]["x"] = json!("a.safetensors"));
    assert!(strange.unwrap_err().to_string().contains("does not hold it"));
    let (_folder, silent) = sharded(|index| {
        index["weight_map"].as_object_mut().unwrap().remove(norm);
    });
    assert!(silent.unwrap_err().to_string().contains("does not say"));
}

#[test]
fn damaged_folders_are_errors() {
    let whole = || folder(&LAYOUTS[0], &config(), &tensors());
    let cut = whole();
    let path = cut.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(
            Pretrained::open(cut.path()).unwrap_err().to_string().contains("model.safetensors"),
            "{length}"
        );
    }
    // A header that claims 200 MB.
    let mut long = bytes.clone();
    long[..8].copy_from_slice(&200_000_000_u64.to_le_bytes());
    std::fs::write(&path, &long).unwrap();
    Pretrained::open(cut.path()).unwrap_err();
    let folder = whole();
    std::fs::write(folder.path().join("config.json"), "[]").unwrap();
    assert!(Pretrained::open(folder.path()).unwrap_err().to_string().contains("holds no table"));
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    assert!(Pretrained::open(folder.path()).unwrap_err().to_string().contains("config.json"));
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("config.json"), config().to_string()).unwrap();
    assert!(Pretrained::open(empty.path()).unwrap_err().to_string().contains("holds neither"));
}

#[test]
fn a_sentence_encoder_is_the_same_alone_and_within_a_model_that_guesses_words() {
    let config = json!({
        "model_type": "bert", "hidden_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 10,
        "max_position_embeddings": 8, "vocab_size": 12
    });
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| drop(tensors.insert(name, shape.to_vec()));
    for (table, rows) in [("word", 12), ("position", 8), ("token_type", 2)] {
        add(format!("text_encoder.embeddings.{table}_embeddings.weight"), &[rows, 6]);
    }
    for layer in 0..2 {
        add(format!("text_encoder.encoder.layer.{layer}.attention.self.query.weight"), &[6, 6]);
        add(format!("text_encoder.encoder.layer.{layer}.intermediate.dense.weight"), &[10, 6]);
    }
    for (name, unread) in [
        ("BERT", &["pooler.dense.weight", "embeddings.position_ids"][..]),
        ("BERT within another model", &["bert.pooler.dense.weight", "cls.predictions.bias"]),
    ] {
        let layout = LAYOUTS.iter().find(|layout| layout.name == name).unwrap();
        let mut all = tensors.clone();
        all.extend(unread.iter().map(|name| ((*name).to_owned(), vec![2])));
        let folder = folder(layout, &config, &all);
        let model = Pretrained::open(folder.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(model.layout().name, name);
        assert!(model.names().eq(tensors.keys().map(String::as_str)), "{name}");
        assert_eq!(model.left_out().len(), 2, "{name}");
    }
    tensors.insert("text_encoder.encoder.layer.2.intermediate.dense.weight".to_owned(), vec![10, 6]);
    tensors.insert("text_encoder.embeddings.position_embeddings.weight".to_owned(), vec![9, 6]);
    let layout = LAYOUTS.iter().find(|layout| layout.name == "BERT").unwrap();
    let error = Pretrained::open(folder(layout, &config, &tensors).path()).unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
}
