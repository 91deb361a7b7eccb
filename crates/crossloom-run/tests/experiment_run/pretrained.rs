//! Runs that start from pretrained weights: what is frozen stays in its file, what is trained starts from it, and what does not
//! fit is told before anything is written.

use std::collections::BTreeMap;
use std::path::Path;

use crossloom_ir::DType;
use crossloom_model::{ParamSpec, initial_value};
use crossloom_recipe::{LoadOptions, LoadedRecipe, Part, Recipe, load_with};
use crossloom_run::backends::Resources;
use crossloom_run::start::architecture;
use crossloom_run::{Experiment, Model, Start, Trained, resolved, settled};
use crossloom_runtime::Home;
use crossloom_train::checkpoint::Checkpoints;
use half::bf16;
use pmetal_gguf::{GgmlType, GgufBuilder, quantize};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::models::{data, model};
use crate::support::{Entry, finish, interrupt, recipe, try_run};

/// The encoder of `recipes/synthetic.toml`, as a SigLIP configuration says it.
const ENCODER: &str = r#"{"model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8, "hidden_size": 32,
    "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}"#;
/// Its language model, with a vocabulary of its own.
pub(crate) const DECODER: &str = r#"{"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 64, "vocab_size": 90, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": true}"#;

pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Other start values than a run has, for the parameters of a part, by the names that files have for them.
pub(crate) fn tensors(part: Part) -> Tensors {
    let recipe = recipe(&["model.language.vocab_size=90"]);
    let cli = &recipe.variant("cli").unwrap().recipe;
    let (_, plan) = data(cli);
    let named = |param: &ParamSpec| {
        let values = initial_value(param.init, param.shape.iter().product(), 77, &param.name);
        let name = param.name.trim_start_matches("vision_tower.").trim_start_matches("language_model.");
        (name.to_owned(), (param.shape.clone(), values.iter().map(|value| value + 0.125).collect()))
    };
    model(cli, &plan).params.iter().filter(|param| param.part == part).map(named).collect()
}

/// Writes a model's folder.
pub(crate) fn write(folder: &Path, config: &str, tensors: &Tensors, dtype: Dtype) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), config).unwrap();
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| {
            let bytes = match dtype {
                Dtype::BF16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
                _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            };
            (name, bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, (shape, _))| (name, TensorView::new(dtype, shape.clone(), &bytes[name]).unwrap()));
    let file = folder.join("model.safetensors");
    std::fs::write(&file, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// `recipes/synthetic.toml` in small, with more settings, its weights found.
pub(crate) fn with(sets: &[&str]) -> Result<LoadedRecipe, String> {
    let small = recipe(&[]);
    let base = small.path.clone();
    let options = LoadOptions { sets: crate::support::sets(sets) };
    let loaded = load_with(&base, &options, &architecture).map_err(|e| e.to_string())?;
    settled(loaded).map_err(|e| e.to_string())
}

fn cli(loaded: &LoadedRecipe) -> &Recipe {
    &loaded.variant("cli").unwrap().recipe
}

fn encoder_at(folder: &Path) -> String {
    format!("model.vision.weights='{}'", folder.display())
}

/// A run's model, before it is trained.
fn started(loaded: &LoadedRecipe) -> Model {
    let (_, plan) = data(cli(loaded));
    model(cli(loaded), &plan)
}

const PATCHES: &str = "vision_tower.vision_model.embeddings.patch_embedding.weight";

#[test]
fn frozen_weights_stay_in_their_file_and_out_of_checkpoints_and_a_copied_run_finds_them() {
    let place = tempfile::tempdir().unwrap();
    let encoder = place.path().join("encoder");
    write(&encoder, ENCODER, &tensors(Part::Vision), Dtype::F32);
    let loaded = with(&[&encoder_at(&encoder), "train.parts.vision.trainable=false"]).unwrap();
    let model = started(&loaded);
    for param in model.params.iter().filter(|param| param.part == Part::Vision) {
        let info = model.store.info(&param.name).unwrap();
        assert!(matches!(info.home, Home::Mapped(_)) && !info.resident, "{}", param.name);
    }
    let before = std::fs::read(encoder.join("model.safetensors")).unwrap();

    // Whole, and stopped and resumed, it is the same run; its checkpoints hold no tensor of the file.
    let whole = finish(&loaded, &["cli"], &place.path().join("whole"), Entry::New);
    let out = place.path().join("stopped");
    interrupt(&loaded, &["cli"], &out, Entry::New, 3);
    let resumed = finish(&loaded, &["cli"], &out, Entry::Resume);
    let newest = |run: &Path| run.join("cli/checkpoints/step-6/model.safetensors");
    let bytes = std::fs::read(newest(whole.dir.path())).unwrap();
    assert_eq!(bytes, std::fs::read(newest(resumed.dir.path())).unwrap());
    let kept = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert!(kept.names().iter().any(|name| name.starts_with("language_model.")));
    assert!(kept.names().iter().all(|name| !name.starts_with("vision_tower.")));
    assert_eq!(std::fs::read(encoder.join("model.safetensors")).unwrap(), before);

    // The run's folder knows where the weights lie and what they are.
    let copy = place.path().join("copy");
    std::fs::rename(whole.dir.path(), &copy).unwrap();
    let run = crossloom_train::run_dir::RunDir::open(&copy).unwrap();
    let kept = resolved::load(&run, &[]).unwrap();
    let weights = cli(&kept).model.vision.weights.as_ref().unwrap();
    assert_eq!(
        (weights.path.as_str(), weights.hash.as_ref().unwrap().len()),
        (encoder.to_str().unwrap(), 64)
    );
    let variant = run.variant("cli").unwrap();
    Trained::load(&variant, cli(&kept), Resources::default()).unwrap();

    // Elsewhere they are found if it is said where; others are not taken for them.
    let moved = place.path().join("moved");
    std::fs::rename(&encoder, &moved).unwrap();
    let lost = resolved::load(&run, &[]).unwrap_err().to_string();
    assert!(lost.contains("encoder"), "{lost}");
    let elsewhere = format!("model.vision.weights.path={}", moved.display());
    resolved::load(&run, std::slice::from_ref(&elsewhere)).unwrap();
    let mut other = tensors(Part::Vision);
    other.values_mut().next().unwrap().1[0] += 1.0;
    write(&moved, ENCODER, &other, Dtype::F32);
    let changed = resolved::load(&run, &[elsewhere]).unwrap_err().to_string();
    assert!(changed.contains("have the hash"), "{changed}");
}

#[test]
fn weights_of_another_type_are_kept_in_the_type_that_the_recipe_says() {
    let place = tempfile::tempdir().unwrap();
    let tensors = tensors(Part::Vision);
    write(place.path(), ENCODER, &tensors, Dtype::BF16);
    let name = PATCHES.trim_start_matches("vision_tower.");
    let rounded: Vec<bf16> = tensors[name].1.iter().map(|&value| bf16::from_f32(value)).collect();
    let frozen = [encoder_at(place.path()), "train.parts.vision.trainable=false".to_owned()];
    let with_dtype =
        |dtype: &str| with(&[&frozen[0], &frozen[1], &format!("train.parts.vision.dtype={dtype}")]);
    // As in the file: where it lies.
    let model = started(&with_dtype("bf16").unwrap());
    assert!(matches!(model.store.info(PATCHES).unwrap().home, Home::Mapped(_)));
    assert_eq!(model.store.read::<bf16>(PATCHES).unwrap(), rounded);
    // Wider: the same values, in memory.
    let model = started(&with_dtype("f32").unwrap());
    assert!(matches!(model.store.info(PATCHES).unwrap().home, Home::Lent));
    let widened: Vec<f32> = rounded.iter().map(|value| value.to_f32()).collect();
    assert_eq!(model.store.read::<f32>(PATCHES).unwrap(), widened);
}

/// The language model as a GGUF file, its matrices in blocks.
fn write_gguf(path: &Path) {
    let mut builder = GgufBuilder::with_model("llama", "tiny");
    for (key, value) in [
        ("block_count", 3),
        ("context_length", 256),
        ("embedding_length", 32),
        ("feed_forward_length", 64),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ] {
        builder.add_u32(format!("llama.{key}"), value);
    }
    builder.add_f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    let names = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    for (name, (shape, values)) in tensors(Part::Language) {
        let name = names.iter().fold(name, |name, (ours, theirs)| name.replace(ours, theirs));
        let kind = match shape.len() {
            1 => GgmlType::F32,
            _ if name.contains("ffn") => GgmlType::Q4_1,
            _ => GgmlType::Q8_0,
        };
        let bytes = quantize::quantize_tensor(&values, kind, *shape.last().unwrap(), None).unwrap();
        let shape = shape.iter().map(|&extent| extent as u64).collect();
        builder.add_raw_tensor(name, shape, kind, bytes);
    }
    std::fs::write(path, builder.build_to_bytes().unwrap()).unwrap();
}

#[test]
fn a_frozen_part_stays_quantized_in_its_file_and_what_is_trained_learns_as_from_its_numbers() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("tiny.gguf");
    write_gguf(&file);
    let before = std::fs::read(&file).unwrap();
    let named = format!("model.language.weights={{ path = '{}' }}", file.display());
    let kept_in = |dtype: &str| {
        let dtype = format!("train.parts.language={{ trainable = false, dtype = '{dtype}' }}");
        with(&[&named, &dtype]).unwrap()
    };
    let loaded = kept_in("file");
    let model = started(&loaded);
    let layer = |what: &str| format!("language_model.model.layers.1.{what}.weight");
    for (name, dtype, is_mapped) in [
        ("language_model.model.embed_tokens.weight".to_owned(), DType::Q8_0, true),
        (layer("mlp.down_proj"), DType::Q4_1, true),
        (layer("input_layernorm"), DType::F32, true),
        // Its rows are in another order than in the file.
        (layer("self_attn.q_proj"), DType::Q8_0, false),
    ] {
        let info = model.store.info(&name).unwrap();
        assert_eq!(info.ty.dtype, dtype, "{name}");
        assert_eq!(matches!(info.home, Home::Mapped(_)), is_mapped, "{name}");
    }
    // All that is trained has the bits that it has beside the same numbers in `f32`.
    let trained = |loaded: &LoadedRecipe, out: &str| {
        let finished = finish(loaded, &["cli"], &place.path().join(out), Entry::New);
        std::fs::read(finished.dir.path().join("cli/checkpoints/step-6/model.safetensors")).unwrap()
    };
    let quantized = trained(&loaded, "file");
    assert_eq!(quantized, trained(&kept_in("f32"), "f32"));
    let kept = safetensors::SafeTensors::deserialize(&quantized).unwrap();
    assert!(kept.names().iter().any(|name| name.starts_with("multi_modal_projector.")));
    assert!(kept.names().iter().all(|name| !name.starts_with("language_model.")));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn what_is_trained_starts_from_its_weights_and_all_else_from_its_seed() {
    let place = tempfile::tempdir().unwrap();
    let (encoder, decoder) = (place.path().join("encoder"), place.path().join("decoder"));
    let (vision, language) = (tensors(Part::Vision), tensors(Part::Language));
    write(&encoder, ENCODER, &vision, Dtype::F32);
    write(&decoder, DECODER, &language, Dtype::F32);
    let processor = r#"{"image_processor_type": "PixtralImageProcessor"}"#;
    std::fs::write(encoder.join("preprocessor_config.json"), processor).unwrap();
    let named = format!("model.language.weights={{ path = '{}' }}", decoder.display());
    let loaded = with(&[&encoder_at(&encoder), &named]).unwrap();
    assert_eq!(cli(&loaded).model.language.vocab_size, Some(90));
    let (model, without) = (started(&loaded), started(&recipe(&[])));
    let mut from_seeds = 0;
    for param in &model.params {
        let values = model.store.read::<f32>(&param.name).unwrap();
        let name = param.name.trim_start_matches("vision_tower.").trim_start_matches("language_model.");
        match vision.get(name).or(language.get(name)) {
            Some((_, given)) => assert_eq!(values, *given, "{name}"),
            None => {
                from_seeds += 1;
                assert_eq!(values, without.store.read::<f32>(&param.name).unwrap(), "{name}");
            }
        }
    }
    assert!(from_seeds > 0 && from_seeds < model.params.len());
    let finished = finish(&loaded, &["cli"], &place.path().join("runs"), Entry::New);
    let steps = Checkpoints::new(finished.dir.path().join("cli/checkpoints"), 0).steps().unwrap();
    assert_eq!(steps, [6]);
    let notes = finished.dir.read_record().unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("numbered anew")), "{notes:?}");
    assert!(
        notes
            .iter()
            .any(|note| note.contains("(PixtralImageProcessor) is not built: pictures are stretched")),
        "{notes:?}"
    );
}

/// What a run says of an encoder with other tensors, and that it has written nothing.
fn refused(tensors: &Tensors, sets: &[&str]) -> String {
    let place = tempfile::tempdir().unwrap();
    let encoder = place.path().join("encoder");
    write(&encoder, ENCODER, tensors, Dtype::F32);
    let at = format!("model.vision.weights.path='{}'", encoder.display());
    let loaded = match with(&[&[at.as_str()], sets].concat()) {
        Ok(loaded) => loaded,
        Err(told) => return told,
    };
    let out = place.path().join("runs");
    let Err(error) = try_run(&loaded, &["cli"], &out, Entry::New) else { return "ran".to_owned() };
    error.to_string()
}

#[test]
fn tensors_that_do_not_fit_are_all_told_and_pass_by_name_only() {
    let good = tensors(Part::Vision);
    assert_eq!(refused(&good, &[]), "ran");
    let mut bad = good.clone();
    let block = "vision_model.encoder.layers.2";
    let moved = bad.remove(&format!("{block}.mlp.fc2.weight")).unwrap();
    bad.insert(format!("{block}.mlp.fc3.weight"), moved);
    let wide = bad.get_mut(&format!("{block}.layer_norm1.weight")).unwrap();
    *wide = (vec![33], vec![1.0; 33]);
    let told = refused(&bad, &[]);
    for line in [
        "missing     vision_tower.vision_model.encoder.layers.2.mlp.fc2.weight [32, 64]",
        "unexpected  vision_tower.vision_model.encoder.layers.2.mlp.fc3.weight [32, 64]",
        "misshaped   vision_tower.vision_model.encoder.layers.2.layer_norm1.weight is [33] there, [32] in the model",
    ] {
        assert!(told.contains(line), "{told}");
    }
    bad.insert(format!("{block}.layer_norm1.weight"), good[&format!("{block}.layer_norm1.weight")].clone());
    let missing = "model.vision.weights.missing=['*.2.mlp.fc2.weight']";
    let unexpected = "model.vision.weights.unexpected=['*.fc3.weight']";
    assert_eq!(refused(&bad, &[missing, unexpected]), "ran");
    let told = refused(&good, &[missing]);
    assert!(told.contains("`*.2.mlp.fc2.weight` matches nothing"), "{told}");
}

#[test]
fn a_value_that_is_not_finite_is_told_with_its_tensor() {
    for frozen in ["true", "false"] {
        let mut bad = tensors(Part::Vision);
        bad.get_mut("vision_model.post_layernorm.bias").unwrap().1[5] = f32::NAN;
        let told = refused(&bad, &[&format!("train.parts.vision.trainable={frozen}")]);
        assert!(told.contains("post_layernorm.bias") && told.contains("no finite value at 5"), "{told}");
    }
}

#[test]
fn a_recipe_whose_weights_were_not_looked_for_is_not_run() {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), ENCODER, &tensors(Part::Vision), Dtype::F32);
    let loaded = load_with(
        &recipe(&[]).path,
        &LoadOptions { sets: crate::support::sets(&[&encoder_at(place.path())]) },
        &architecture,
    );
    let loaded = loaded.unwrap();
    let out = place.path().join("runs");
    let experiment: Experiment<'_> = crate::support::request(&loaded, &["cli"], &out, Entry::New);
    let error = experiment.run(&mut crossloom_run::Unheard, &std::sync::atomic::AtomicBool::new(false));
    assert!(error.is_err_and(|error| error.to_string().contains("settled")));
    assert!(!out.exists());
    assert!(Start::new(cli(&loaded), &[]).is_err(), "weights of which the model has nothing");
}

/// Three stages: the encoder is frozen, trained, and frozen again.
fn three(again: &str) -> String {
    format!(
        "stage=[{{ name = 'kept', train = {{ parts = {{ vision = {{ trainable = false }} }} }} }}, \
         {{ name = 'trained' }}, \
         {{ name = 'again', train = {{ parts = {{ vision = {{ trainable = false, {again} }} }} }} }}]"
    )
}

#[test]
fn what_any_stage_trains_is_carried_on_and_what_none_has_trained_stays_in_its_file() {
    let place = tempfile::tempdir().unwrap();
    let encoder = place.path().join("encoder");
    let start = tensors(Part::Vision);
    write(&encoder, ENCODER, &start, Dtype::F32);
    let held = |run: &Path, stage: &str| -> BTreeMap<String, (Dtype, Vec<u8>)> {
        let file = format!("cli/stages/{stage}/checkpoints/step-6/model.safetensors");
        let bytes = std::fs::read(run.join(file)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let own = |name: &String| name.starts_with("vision_tower.");
        let tensors = file.tensors().into_iter().filter(|(name, _)| own(name));
        tensors.map(|(name, tensor)| (name, (tensor.dtype(), tensor.data().to_vec()))).collect()
    };
    for (again, dtype) in [("dtype = 'f32'", Dtype::F32), ("dtype = 'bf16'", Dtype::BF16)] {
        let loaded = with(&[&encoder_at(&encoder), &three(again)]).unwrap();
        let out = tempfile::tempdir().unwrap();
        let run = finish(&loaded, &["cli"], out.path(), Entry::New);
        let [kept, trained, frozen] = ["kept", "trained", "again"].map(|stage| held(run.dir.path(), stage));
        assert!(kept.is_empty(), "a frozen encoder lies in its file");
        assert!(trained.len() > 10 && trained.keys().eq(frozen.keys()));
        let mut near = 0;
        for (name, (_, bytes)) in &trained {
            let now: Vec<f32> =
                bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect();
            let (_, before) = &start[name.trim_start_matches("vision_tower.")];
            // Some steps do not lead far from where the file starts, and seeds start elsewhere.
            near += usize::from(
                now.iter().zip(before).all(|(now, before)| (now - before).abs() < 0.05) && now != *before,
            );
            let expected: Vec<u8> = match dtype {
                Dtype::BF16 => now.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
                _ => bytes.clone(),
            };
            assert!(frozen[name] == (dtype, expected), "{name} is what the stage before left, in {dtype}");
        }
        assert!(near > 10, "{near}");
        // It is asked with what it trained, not with what the file has.
        let variant = run.dir.variant("cli").unwrap();
        let kept = resolved::load(&run.dir, &[]).unwrap();
        assert_eq!(Trained::load(&variant, cli(&kept), Resources::default()).unwrap().stage(), Some("again"));
    }
}

#[test]
fn what_a_stage_has_trained_is_not_kept_as_its_file_has_it() {
    let place = tempfile::tempdir().unwrap();
    let encoder = place.path().join("encoder");
    write(&encoder, ENCODER, &tensors(Part::Vision), Dtype::F32);
    let error = with(&[&encoder_at(&encoder), &three("dtype = 'file'")]).unwrap_err();
    assert!(
        error.contains(
            "the stage `again` keeps the part `vision` as its file has it, but `trained` trains it"
        ),
        "{error}"
    );
    // Where only some of a part was trained, the model tells.
    let some = three("dtype = 'file'").replace("name = 'trained'",
        "name = 'trained', train = { parts = { vision = { trainable = false, tensors = [{ match = '*layers.0.*' }] } } }");
    let loaded = with(&[&encoder_at(&encoder), &some]).unwrap();
    let out = place.path().join("runs");
    let Err(error) = try_run(&loaded, &["cli"], &out, Entry::New) else { panic!("it runs") };
    for part in
        ["the stage `again` keeps", "layers.0.", "an earlier stage trains it", "train.parts.vision.dtype"]
    {
        assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
    }
    assert!(!out.exists(), "nothing is written");
}
