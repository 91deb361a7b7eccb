//! Runs whose low-rank pairs start from an adapter as PEFT writes it.

use std::path::{Path, PathBuf};

use crossloom_recipe::{KeptIn, LoadedRecipe, Part};
use crossloom_run::Start;
use crossloom_run::export::{Export, export};
use crossloom_weights::export::Scope;

use crate::export::{Run, finished, logits, quoted};
use crate::models::{data, model};
use crate::pretrained::with;

/// Language models that a base is made of.
struct Place(tempfile::TempDir);

impl Place {
    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A language model of its own, as a folder.
    fn base(&self, name: &str, more: &[&str]) {
        let run = finished(&with(more).unwrap(), "projector");
        export(&run.dir, &run.recipe, Export::Merged(Scope::Language, KeptIn::F32), &self.at(name)).unwrap();
    }

    /// A recipe that trains pairs beside a base and nothing else.
    fn recipe(&self, base: &str, lora: &str, more: &[&str]) -> Result<LoadedRecipe, String> {
        let language = format!("model.language.weights={}", quoted(&self.at(base)));
        let pairs = format!("train.parts.language.lora={lora}");
        let mut sets = vec![
            language.as_str(),
            pairs.as_str(),
            "train.lr=0.02",
            "train.parts.vision.trainable=false",
            "train.parts.projector.trainable=false",
        ];
        sets.extend(more);
        with(&sets)
    }

    /// A run with pairs beside the base, and its adapter.
    fn adapted(&self, lora: &str) -> Run {
        let run = finished(&self.recipe("base", lora, &[]).unwrap(), "projector");
        export(&run.dir, &run.recipe, Export::Adapter(Scope::Language), &self.at("adapter")).unwrap();
        run
    }

    fn lora(&self) -> String {
        format!("{{ weights = {} }}", quoted(&self.at("adapter")))
    }

    /// Why a model does not start.
    fn refused(&self, base: &str, lora: &str) -> String {
        let loaded = match self.recipe(base, lora, &[]) {
            Ok(loaded) => loaded,
            Err(told) => return told,
        };
        let recipe = &loaded.variant("projector").unwrap().recipe;
        let (_, plan) = data(recipe);
        let shape = crossloom_model::BatchShape {
            batch: 1,
            tokens: plan.sequence_len,
            targets: plan.targets,
            views: None,
        };
        match crossloom_run::graph::training_func(recipe, shape, plan.vocab_size) {
            Ok((graph, _)) => Start::new(recipe, &graph.params).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    }
}

fn place() -> Place {
    Place(tempfile::tempdir().unwrap())
}

#[test]
fn a_run_goes_on_from_the_pairs_of_an_adapter() {
    let place = place();
    place.base("base", &[]);
    let before = place.adapted("{ rank = 3, alpha = 6, targets = ['q_proj', 'down_proj'] }");
    let loaded = place.recipe("base", &place.lora(), &[]).unwrap();
    let recipe = &loaded.variant("projector").unwrap().recipe;
    let lora = recipe.train.parts.get(Part::Language).lora.as_ref().unwrap();
    assert_eq!((lora.rank, lora.alpha, lora.targets.len()), (3, 6.0, 6));
    assert!(lora.weights.as_ref().unwrap().hash.is_some());
    let (_, plan) = data(recipe);
    let started = model(recipe, &plan);
    assert_eq!(logits(&started, recipe), logits(&before.model, &before.recipe), "bit for bit");
    // And is trained from there.
    let after = finished(&loaded, "projector");
    assert_ne!(logits(&after.model, recipe), logits(&started, recipe));
    export(&after.dir, &after.recipe, Export::Adapter(Scope::Language), &place.at("again")).unwrap();

    // Another adapter in the place of the first is another run.
    std::fs::rename(place.at("adapter"), place.at("first")).unwrap();
    std::fs::rename(place.at("again"), place.at("adapter")).unwrap();
    let other = place.recipe("base", &place.lora(), &[]).unwrap();
    assert_ne!(other.training_hash(), loaded.training_hash());
    let hash = lora.weights.as_ref().unwrap().hash.clone().unwrap();
    let pinned =
        |name: &str| format!("{{ weights = {{ path = {}, hash = '{hash}' }} }}", quoted(&place.at(name)));
    let told = place.recipe("base", &pinned("adapter"), &[]).unwrap_err();
    assert!(told.contains("not") && told.contains(&hash), "{told}");
    assert_eq!(place.recipe("base", &pinned("first"), &[]).unwrap().training_hash(), loaded.training_hash());
}

#[test]
fn an_adapter_of_another_base_is_told_pair_by_pair() {
    let place = place();
    place.base("base", &[]);
    place.base("thin", &["model.language.mlp=48"]);
    place.base("short", &["model.language.layers=2"]);
    drop(place.adapted("{ rank = 3, targets = ['q_proj', 'down_proj'] }"));
    let lora = place.lora();
    let told = place.refused("thin", &lora);
    let pair = "language_model.model.layers.0.mlp.down_proj.lora_A.weight";
    assert!(told.contains(&format!("misshaped   {pair} is [3, 64] there, [3, 48] in the model")), "{told}");
    assert_eq!(told.matches("misshaped").count(), 3, "{told}");
    let told = place.refused("short", &lora);
    assert!(told.contains("layers.2.self_attn.q_proj` is no linear layer of the part"), "{told}");

    // Names as PEFT has them say that all layers of the name have a pair; here only some do.
    let config = place.at("adapter/adapter_config.json");
    rename(&config, "\"target_modules\": [", "\"target_modules\": [\"q_proj\", \"down_proj\",");
    let told = place.refused("short", &lora);
    assert!(told.contains("unexpected  language_model.model.layers.2.mlp.down_proj.lora_A.weight"), "{told}");
    assert_eq!(told.matches("unexpected").count(), 4 + 1, "four halves and the hint: {told}");
    assert!(told.contains("listed in train.parts.language.lora.weights"), "{told}");
    let allowed = format!(
        "{{ weights = {{ path = {}, unexpected = ['*.layers.2.*'] }} }}",
        quoted(&place.at("adapter"))
    );
    finished(&place.recipe("short", &allowed, &[]).unwrap(), "projector");

    let told = place.refused("base", &format!("{{ rank = 4, weights = {} }}", quoted(&place.at("adapter"))));
    assert!(told.contains("is 4, but the weights") && told.contains("have 3"), "{told}");
    rename(&config, "\"r\": 3", "\"r\": 2");
    let told = place.refused("base", &lora);
    assert!(told.contains("by its configuration the rank is 2"), "{told}");
}

fn rename(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}
