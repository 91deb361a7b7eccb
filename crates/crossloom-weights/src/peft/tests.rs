#![allow(clippy::unwrap_used)]

use crossloom_recipe::Part;
use crossloom_runtime::MappedFile;

use super::*;
use crate::shards::table;

fn values(shape: [usize; 2], start: f32) -> Values {
    let values = (0..shape[0] * shape[1]).map(|i| start + i as f32).collect();
    Values { shape: shape.to_vec(), values }
}

fn pair(linear: &str, out: usize, fan_in: usize, rank: usize, alpha: f64) -> Pair {
    Pair { linear: linear.to_owned(), a: values([rank, fan_in], 0.5), b: values([out, rank], -1.0), alpha }
}

fn base(scope: Scope) -> Base<'static> {
    Base { scope, tower: Tower::Clip, path: None }
}

fn pairs() -> Vec<Pair> {
    vec![
        pair("language_model.model.layers.0.self_attn.q_proj", 8, 6, 2, 4.0),
        pair("language_model.model.layers.1.self_attn.q_proj", 8, 6, 2, 4.0),
    ]
}

fn shapes(pairs: &[Pair]) -> impl Fn(&str) -> Option<Vec<usize>> + use<> {
    let shape = |pair: &Pair| (format!("{}.weight", pair.linear), vec![pair.b.shape[0], pair.a.shape[1]]);
    let known: BTreeMap<String, Vec<usize>> = pairs.iter().map(shape).collect();
    move |name| known.get(name).cloned()
}

#[test]
fn an_adapter_is_read_as_it_was_written_for_every_base() {
    let mut all = pairs();
    all.push(pair("vision_tower.vision_model.encoder.layers.0.mlp.fc1", 10, 6, 3, 3.0));
    all.push(pair("multi_modal_projector.linear_2", 8, 8, 1, 0.5));
    for (scope, own) in [(Scope::Language, &all[..2]), (Scope::Vision, &all[2..3]), (Scope::Whole, &all[..])]
    {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("adapter");
        write(&folder, Base { path: Some("somewhere"), ..base(scope) }, own).unwrap();
        let mut read = read(&folder, scope, &Dims::default(), shapes(own)).unwrap();
        read.sort_by_key(|pair| own.iter().position(|other| other.linear == pair.linear));
        assert_eq!(read, own, "{scope:?}");
    }
}

#[test]
fn names_and_settings_are_those_that_peft_writes() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("adapter");
    write(&folder, base(Scope::Language), &pairs()).unwrap();
    let names: Vec<String> =
        MappedFile::open(&folder.join(MODEL)).unwrap().header().keys().cloned().collect();
    assert!(
        names.contains(&"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight".to_owned()),
        "{names:?}"
    );
    let config = table(&folder.join(CONFIG)).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(2), &json!(4.0)));
    let targets = json!(["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]);
    assert_eq!(config["target_modules"], targets);
}

#[test]
fn names_of_earlier_versions_are_known_too() {
    for module in ["model.language_model.layers.3.mlp.up_proj", "language_model.model.layers.3.mlp.up_proj"] {
        let ours = "language_model.model.layers.3.mlp.up_proj";
        assert_eq!(to_linear(Scope::Whole, module).as_deref(), Some(ours), "{module}");
    }
    for module in ["model.vision_tower.encoder.x", "model.vision_tower.vision_model.encoder.x"] {
        let ours = "vision_tower.vision_model.encoder.x";
        assert_eq!(to_linear(Scope::Whole, module).as_deref(), Some(ours), "{module}");
    }
}

#[test]
fn modules_of_dinov2_have_names_of_their_own() {
    let ours = "vision_tower.vision_model.encoder.layers.3.self_attn.q_proj";
    for (scope, before) in [(Scope::Vision, ""), (Scope::Whole, "model.vision_tower.")] {
        let module = format!("{before}encoder.layer.3.attention.q_proj");
        assert_eq!(Base { tower: Tower::Dinov2, ..base(scope) }.module(ours).as_ref(), Some(&module));
        for module in [module, format!("{before}encoder.layer.3.attention.attention.query")] {
            assert_eq!(to_linear(scope, &module).as_deref(), Some(ours));
        }
        assert_eq!(to_linear(scope, &format!("{before}encoder.layer.3.attention.x")), None);
    }
    let language = "language_model.model.layers.0.mlp.up_proj";
    let module = Base { tower: Tower::Dinov2, ..base(Scope::Whole) }.module(language);
    assert_eq!(module.as_deref(), Some("model.language_model.layers.0.mlp.up_proj"));
}

#[test]
fn modules_of_qwen3_vl_have_names_of_their_own_and_one_is_three_layers_of_ours() {
    let dims = Dims { adapters: vec!["block.6".to_owned(), "block.12".to_owned()], ..Dims::default() };
    let whole = Base { tower: Tower::Qwen3Vl, ..base(Scope::Whole) };
    let block = "vision_tower.vision_model.encoder.layers.2";
    for (module, ours) in [
        ("model.visual.blocks.2.mlp.linear_fc1", format!("{block}.mlp.fc1")),
        ("model.visual.blocks.2.attn.proj", format!("{block}.self_attn.out_proj")),
        ("model.visual.merger.linear_fc2", "multi_modal_projector.linear_2".to_owned()),
        ("model.language_model.layers.2.mlp.up_proj", "language_model.model.layers.2.mlp.up_proj".to_owned()),
    ] {
        assert_eq!(whole.module(&ours).as_deref(), Some(module));
        assert_eq!(to_linears(Scope::Whole, module, &dims), [ours]);
    }
    // What a model injects has adapters that only its wiring names.
    let merger = "model.visual.deepstack_merger_list.1.linear_fc1";
    assert_eq!(to_linears(Scope::Whole, merger, &dims), ["injection.adapter.block.12.projector.linear_1"]);
    assert!(to_linears(Scope::Whole, merger, &Dims::default()).is_empty());
    // One layer that is three: each has its rows of the second half, and the first.
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("adapter");
    write(&folder, whole, &[pair(&format!("{block}.mlp.fc1"), 6, 4, 2, 3.0)]).unwrap();
    let name = |letter: &str| format!("{PREFIX}model.visual.blocks.2.attn.qkv.lora_{letter}.weight");
    let fused = Tensors::from([(name("A"), values([2, 4], 0.0)), (name("B"), values([9, 2], 0.0))]);
    save(&folder.join(MODEL), &as_they_are(&fused)).unwrap();
    let read = Adapter::open(&folder).unwrap();
    let found: Vec<_> = read.pairs().map(|pair| (pair.linear.as_str(), &pair.a, &pair.b)).collect();
    let [q, k, v] = ["q", "k", "v"].map(|letter| format!("{block}.self_attn.{letter}_proj"));
    let a = &values([2, 4], 0.0);
    let b = [0.0, 6.0, 12.0].map(|start| values([3, 2], start));
    assert_eq!(found, [(&q[..], a, &b[0]), (&k[..], a, &b[1]), (&v[..], a, &b[2])]);
    let cut = Tensors::from([(name("A"), values([2, 4], 0.0)), (name("B"), values([8, 2], 0.0))]);
    save(&folder.join(MODEL), &as_they_are(&cut)).unwrap();
    assert!(Adapter::open(&folder).unwrap_err().to_string().contains("8 rows, which are no 3 layers"));
    // Back again they would need a rank for each.
    let error = write(&parent.path().join("none"), whole, &[pair(&q, 6, 4, 2, 3.0)]).unwrap_err();
    assert!(error.to_string().contains("queries, keys and values as one"), "{error}");
}

#[test]
fn an_adapter_of_another_base_is_refused_layer_by_layer() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("adapter");
    write(&folder, base(Scope::Language), &pairs()).unwrap();
    let wider = |name: &str| name.contains(".0.").then(|| vec![8, 7]);
    let error = read(&folder, Scope::Language, &Dims::default(), wider).unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
    assert!(error.problems[0].contains("the base has [8, 7] there"), "{error}");
    assert!(error.problems[1].contains("which the language does not have"), "{error}");
    let error = read(&folder, Scope::Vision, &Dims::default(), shapes(&pairs())).unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
}

#[test]
fn settings_that_compute_something_else_and_damaged_files_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("adapter");
    write(&folder, base(Scope::Language), &pairs()).unwrap();
    let config = std::fs::read_to_string(folder.join(CONFIG)).unwrap();
    let shapes = shapes(&pairs());
    for (from, to) in [
        ("\"LORA\"", "\"LOHA\""),
        ("\"use_dora\": false", "\"use_dora\": true"),
        ("\"r\": 2", "\"r\": 0"),
        ("\"r\": 2", "\"r\": 3"),
        ("\"bias\": \"none\"", "\"bias\": \"all\""),
        ("\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]"),
    ] {
        assert!(config.contains(from), "{from}");
        std::fs::write(folder.join(CONFIG), config.replace(from, to)).unwrap();
        assert!(read(&folder, Scope::Language, &Dims::default(), &shapes).is_err(), "{to}");
    }
    std::fs::write(folder.join(CONFIG), &config).unwrap();
    assert!(read(&folder, Scope::Language, &Dims::default(), &shapes).is_ok());
    let bytes = std::fs::read(folder.join(MODEL)).unwrap();
    std::fs::write(folder.join(MODEL), &bytes[..bytes.len() - 4]).unwrap();
    assert!(read(&folder, Scope::Language, &Dims::default(), &shapes).is_err());
}

#[test]
fn a_merged_weight_has_the_product_added() {
    let pair = pair("l", 2, 3, 2, 4.0);
    let mut weight = values([2, 3], 0.0);
    pair.merge(&mut weight).unwrap();
    // B = [[-1, 0], [1, 2]], A = [[.5, 1.5, 2.5], [3.5, 4.5, 5.5]], twice their product.
    assert_eq!(weight.values, [-1.0, -2.0, -3.0, 18.0, 25.0, 32.0]);
    assert!(pair.merge(&mut values([3, 2], 0.0)).is_err());
}

#[test]
fn an_adapter_says_rank_factor_and_targets_of_each_part() {
    let mut all = pairs();
    all.push(pair("vision_tower.vision_model.encoder.layers.0.mlp.fc1", 10, 6, 3, 3.0));
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("adapter");
    write(&folder, base(Scope::Whole), &all).unwrap();
    assert!(is_adapter(&folder) && !is_adapter(parent.path()));
    let first = Adapter::open(&folder).unwrap();
    let parts = first.parts().unwrap();
    assert_eq!(parts.keys().copied().collect::<Vec<_>>(), [Part::Vision, Part::Language]);
    let language = &parts[&Part::Language];
    let linears: Vec<&str> = all[..2].iter().map(|pair| pair.linear.as_str()).collect();
    assert_eq!((language.rank, language.alpha), (2, 4.0));
    assert_eq!(language.targets, linears);
    // As PEFT names them: every layer of that name.
    let path = folder.join(CONFIG);
    let config = std::fs::read_to_string(&path).unwrap();
    let mut named: Value = serde_json::from_str(&config).unwrap();
    named["target_modules"] = json!(["fc1", "q_proj"]);
    std::fs::write(&path, named.to_string()).unwrap();
    let second = Adapter::open(&folder).unwrap();
    assert_eq!(second.parts().unwrap()[&Part::Language].targets, ["q_proj"]);
    assert_eq!(second.content_hash(), first.content_hash(), "the same pairs");
    // But not where it says that some layers have none.
    named["layers_to_transform"] = json!([0, 1]);
    named["use_rslora"] = json!(true);
    std::fs::write(&path, named.to_string()).unwrap();
    let third = Adapter::open(&folder).unwrap();
    assert_eq!(third.parts().unwrap()[&Part::Language].targets, linears);
    assert!((third.parts().unwrap()[&Part::Language].alpha - 4.0 * 2_f64.sqrt()).abs() < 1e-12);
    assert_ne!(third.content_hash(), first.content_hash(), "another factor");
    named["alpha_pattern"] = json!({ "model.language_model.layers.1.self_attn.q_proj": 1.0 });
    std::fs::write(&path, named.to_string()).unwrap();
    let told = Adapter::open(&folder).unwrap().parts().unwrap_err().to_string();
    assert!(told.contains("different ranks or factors beside layers of `language`"), "{told}");
}
