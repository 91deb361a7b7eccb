//! The recipe that a run's folder keeps: every variant with all its settings, one after the other.

use std::io::ErrorKind;
use std::path::Path;

use crossloom_recipe::{LoadOptions, LoadedRecipe, Provenance, Variant, load_text};
use crossloom_train::run_dir::{RECIPE_FILE, RunDir};
use indexmap::IndexMap;

use crate::start::weighed;
use crate::{ExperimentError, settled};

/// Begins each variant.
const HEADING: &str = "# variant ";
/// Stands below the heading of the variant with which the others are compared.
const BASELINE: &str = "# baseline";
/// Stands below the heading, before what a variant is.
const DESCRIPTION: &str = "# is ";

/// All variants of a recipe, resolved. The folder of its data is absolute there, as those of its weights are in a settled recipe:
/// what a path of the recipe is relative to is not where the text lies.
///
/// # Errors
/// There is no current folder for a recipe whose own path is relative.
pub(crate) fn text(loaded: &LoadedRecipe) -> Result<String, ExperimentError> {
    let mut text = String::new();
    for variant in &loaded.variants {
        let mut variant = variant.clone();
        let recipe = &mut variant.recipe;
        let stages = recipe.stages.iter_mut().map(|stage| &mut stage.data);
        for cache in stages.chain([&mut recipe.data]).filter_map(|data| data.cache.as_mut()) {
            let folder = loaded.path.parent().unwrap_or(Path::new("."));
            let path = folder.join(&*cache);
            let absolute = std::path::absolute(&path)
                .map_err(|error| ExperimentError::File { path, message: error.to_string() })?;
            *cache = absolute.display().to_string();
        }
        text += &format!("{HEADING}{}\n", variant.name);
        if variant.baseline {
            text += &format!("{BASELINE}\n");
        }
        if !variant.description.is_empty() {
            text += &format!("{DESCRIPTION}{}\n", variant.description.replace(['\n', '\r'], " "));
        }
        text += &format!("{}\n", variant.resolved_toml_with_provenance());
    }
    Ok(text)
}

/// The recipe of a run, with settings overridden as `--set` does: only such that change nothing of what was trained.
///
/// # Errors
/// A folder without its recipe, one that this version cannot read, or a setting that would make it another run; weights, a tokenizer or
/// files of samples that are not there any more, or are others.
pub fn load(run: &RunDir, sets: &[String]) -> Result<LoadedRecipe, ExperimentError> {
    settled(with(run, sets)?)
}

/// The same for a run that is only asked: it keeps its tokenizer, its chat template and its image processor, so that neither those of a
/// pretrained model nor files of samples are looked for. Pretrained weights are: what of them is not trained is read where it lies.
///
/// # Errors
/// As [`load`], but for tokenizers and files of samples.
pub fn to_ask(run: &RunDir, sets: &[String]) -> Result<LoadedRecipe, ExperimentError> {
    weighed(with(run, sets)?)
}

fn with(run: &RunDir, sets: &[String]) -> Result<LoadedRecipe, ExperimentError> {
    let as_it_was = kept(run)?;
    if sets.is_empty() {
        return Ok(as_it_was);
    }
    let (path, text) = (run.recipe_path(), written(run)?);
    let changed = read(&path, &text, sets)?;
    if changed.training_hash() != as_it_was.training_hash() {
        return Err(ExperimentError::request(
            format!("with {} it would be another run than {}", sets.join(", "), run.path().display()),
            "only settings for logging, checkpoints and scoring may differ; give the recipe to train with others",
        ));
    }
    Ok(changed)
}

/// The recipe of a run as its folder keeps it, whatever lies now where it points.
///
/// # Errors
/// A folder without its recipe, or one that this version cannot read.
pub(crate) fn kept(run: &RunDir) -> Result<LoadedRecipe, ExperimentError> {
    let (path, hash) = (run.recipe_path(), run.read_record()?.recipe_hash);
    let as_it_was = read(&path, &written(run)?, &[]).map_err(|error| foreign(run, &error.to_string()))?;
    if as_it_was.training_hash() != hash {
        return Err(foreign(run, &format!("{RECIPE_FILE} is not the recipe that run.json names")));
    }
    Ok(as_it_was)
}

fn written(run: &RunDir) -> Result<String, ExperimentError> {
    let path = run.recipe_path();
    std::fs::read_to_string(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => foreign(run, &format!("it holds no {RECIPE_FILE}")),
        _ => ExperimentError::File { path, message: error.to_string() },
    })
}

fn foreign(run: &RunDir, why: &str) -> ExperimentError {
    let record = run.read_record().ok();
    let version = record.as_ref().and_then(|record| record.versions.get("crossloom"));
    ExperimentError::request(
        format!(
            "{} is the run of another crossloom (version {}; this is {}), or was changed: {why}",
            run.path().display(),
            version.map_or("unknown", String::as_str),
            env!("CARGO_PKG_VERSION")
        ),
        "run its recipe again with this version",
    )
}

/// The recipe of such a text.
pub(crate) fn read(path: &Path, text: &str, sets: &[String]) -> Result<LoadedRecipe, ExperimentError> {
    let damaged = |message: String| ExperimentError::File { path: path.to_owned(), message };
    let mut sections: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix(HEADING), sections.last_mut()) {
            (Some(name), _) => sections.push((name, String::new())),
            (None, Some((_, section))) => {
                section.push_str(line);
                section.push('\n');
            }
            (None, None) => {}
        }
    }
    let mut variants = Vec::with_capacity(sections.len());
    for (name, section) in sections {
        let options = LoadOptions { sets: sets.to_vec() };
        let loaded = load_text(path, &section, &options)
            .map_err(|problems| damaged(format!("variant `{name}` cannot be read:\n{problems}")))?;
        let head = || section.lines().take_while(|line| line.starts_with('#'));
        variants.push(Variant {
            name: name.to_owned(),
            description: head()
                .find_map(|line| line.strip_prefix(DESCRIPTION))
                .unwrap_or_default()
                .to_owned(),
            baseline: head().any(|line| line == BASELINE),
            axes: IndexMap::new(),
            recipe: loaded.base,
            provenance: loaded.provenance,
        });
    }
    let Some(first) = variants.first() else { return Err(damaged("holds no variant".to_owned())) };
    Ok(LoadedRecipe {
        path: path.to_owned(),
        files: vec![path.to_owned()],
        base: first.recipe.clone(),
        provenance: Provenance::default(),
        variants,
        warnings: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_folder_of_the_data_is_where_it_was_wherever_the_text_lies() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
        let sets = ["data.cache='elsewhere/data'", "variants.cli.data.cache='/a/b'"];
        let options = LoadOptions { sets: sets.map(str::to_owned).to_vec() };
        let loaded = crossloom_recipe::load(&folder.join("quickstart.toml"), &options).unwrap();
        let kept = read(Path::new("/some/run/kept"), &text(&loaded).unwrap(), &[]).unwrap();
        let cache = |name: &str| kept.variant(name).unwrap().recipe.data.cache.clone().unwrap();
        assert_eq!(Path::new(&cache("projector")), folder.join("elsewhere/data"));
        assert_eq!(cache("cli"), "/a/b");
        assert_eq!(kept.training_hash(), loaded.training_hash());
    }

    #[test]
    fn a_recipe_that_a_run_kept_is_the_one_that_was_run() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/quickstart.toml");
        let loaded = crossloom_recipe::load(&path, &LoadOptions::default()).unwrap();
        let kept = read(Path::new("kept"), &text(&loaded).unwrap(), &[]).unwrap();
        assert_eq!(kept.content_hash(), loaded.content_hash());
        assert_eq!(kept.base.name, loaded.base.name);
        for (kept, variant) in kept.variants.iter().zip(&loaded.variants) {
            assert_eq!((&kept.description, kept.baseline), (&variant.description, variant.baseline));
        }
    }
}
