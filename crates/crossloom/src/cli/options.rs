//! Arguments that several verbs share.

use std::path::{Path, PathBuf};

use crossloom_recipe::{LoadOptions, LoadedRecipe, Variant, load_with};
use crossloom_run::backends::Backend;
use crossloom_run::located;
use crossloom_run::start::architecture;

use super::{CliError, Terminal, choice};
use crate::commands::recipe::built_in;

/// A recipe and its overrides.
#[derive(Debug, Clone, clap::Args)]
pub struct RecipeArgs {
    /// The recipe, a TOML file; `eval`, `generate`, `chat` and `serve` take the folder of a run as well, and the last three that of a model
    /// as it was published, or as `model export --bundle` wrote it.
    #[arg(value_name = "RECIPE", value_hint = clap::ValueHint::FilePath)]
    pub recipe: PathBuf,
    /// Override a setting, as in `--set train.steps=100`; may be given several times.
    ///
    /// The value is read as TOML, and as a string if it is none. `variants.NAME.a.b=value` overrides in one variant only.
    /// An unknown setting is an error.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

impl RecipeArgs {
    /// Reads and checks the recipe; says its warnings.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self, terminal: &Terminal) -> Result<LoadedRecipe, CliError> {
        let options = LoadOptions { sets: self.sets.clone() };
        let loaded = load_with(&self.recipe, &options, &architecture).map_err(|diagnostics| {
            let name = self.recipe.to_string_lossy();
            match built_in(&name) {
                Some(known) if !self.recipe.exists() => CliError::usage(
                    format!("there is no file `{name}`"),
                    format!(
                        "`{}` comes with crossloom: `crossloom recipe copy {}` writes it here",
                        known.name, known.name
                    ),
                ),
                _ => CliError::Recipe { path: self.recipe.display().to_string(), diagnostics },
            }
        })?;
        for warning in &loaded.warnings {
            terminal.note(&warning.to_string());
        }
        Ok(located(loaded)?)
    }

    /// The folder that the recipe's relative paths start at.
    pub fn folder(&self) -> &Path {
        match self.recipe.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }
}

/// Whether the compiler checks itself.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct VerifyArgs {
    /// Run the verifier after every pass of the compiler, as debug builds always do.
    #[arg(long)]
    pub verify: bool,
}

/// What a recipe is compiled for.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct BackendArgs {
    /// What the recipe is compiled for and run on.
    #[arg(long, value_parser = choice(&Backend::ALL, Backend::name, Backend::about), default_value = "auto")]
    pub backend: Backend,
}

/// Which variant of a recipe is meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct VariantArgs {
    /// Only this variant of the recipe.
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
}

impl VariantArgs {
    /// The variant that was named, or all of them.
    ///
    /// # Errors
    /// The recipe has no variant of that name.
    pub fn choose<'r>(&self, loaded: &'r LoadedRecipe) -> Result<Vec<&'r Variant>, CliError> {
        match &self.variant {
            None => Ok(loaded.variants.iter().collect()),
            Some(name) => match loaded.variant(name) {
                Some(variant) => Ok(vec![variant]),
                None => Err(CliError::usage(
                    format!("the recipe has no variant `{name}`"),
                    format!("it has {}", names(loaded)),
                )),
            },
        }
    }

    /// The variant that was named, or the only one.
    ///
    /// # Errors
    /// The recipe has no variant of that name, or several and none was named.
    pub fn only<'r>(&self, loaded: &'r LoadedRecipe) -> Result<&'r Variant, CliError> {
        match self.choose(loaded)?[..] {
            [variant] => Ok(variant),
            _ => Err(CliError::usage(
                format!("`{}` has {} variants", loaded.path.display(), loaded.variants.len()),
                format!("choose one with --variant: {}", names(loaded)),
            )),
        }
    }
}

/// A variant of a recipe that is on the command line by one word: `RECIPE`, where it has one variant, or `RECIPE/VARIANT`.
#[derive(Debug)]
pub struct Pick {
    /// The recipe.
    pub recipe: RecipeArgs,
    /// All of it, read.
    pub loaded: LoadedRecipe,
    variant: VariantArgs,
}

impl Pick {
    /// Reads the recipe of such a word, with overrides. `beside` is what was picked before: a word that is no recipe may be another
    /// variant of that one.
    ///
    /// # Errors
    /// There is no such recipe or variant; everything that is wrong with the recipe.
    pub fn new(
        word: &str,
        sets: &[String],
        beside: Option<&Self>,
        terminal: &Terminal,
    ) -> Result<Self, CliError> {
        let path = Path::new(word);
        let of = |recipe: PathBuf, variant: Option<String>| {
            let recipe = RecipeArgs { recipe, sets: sets.to_vec() };
            let loaded = recipe.load(terminal)?;
            Ok(Self { recipe, loaded, variant: VariantArgs { variant } })
        };
        if !path.is_file() {
            if let (Some(recipe), Some(variant)) = (path.parent(), path.file_name())
                && recipe.is_file()
            {
                return of(recipe.to_owned(), Some(variant.to_string_lossy().into_owned()));
            }
            if let Some(known) = beside.filter(|known| known.loaded.variant(word).is_some()) {
                let (recipe, loaded) = (known.recipe.clone(), known.loaded.clone());
                return Ok(Self { recipe, loaded, variant: VariantArgs { variant: Some(word.to_owned()) } });
            }
        }
        of(path.to_owned(), None)
    }

    /// A recipe that was read before.
    pub fn of(recipe: RecipeArgs, loaded: LoadedRecipe) -> Self {
        Self { recipe, loaded, variant: VariantArgs::default() }
    }

    /// The variant.
    ///
    /// # Errors
    /// The recipe has none of that name, or several and none was named.
    pub fn variant(&self) -> Result<&Variant, CliError> {
        let (several, path) = (self.loaded.variants.len(), self.loaded.path.display());
        if self.variant.variant.is_none() && several > 1 {
            return Err(CliError::usage(
                format!("`{path}` has {several} variants"),
                format!("choose one, as in {path}/{}: {}", self.loaded.variants[0].name, names(&self.loaded)),
            ));
        }
        self.variant.only(&self.loaded)
    }
}

fn names(loaded: &LoadedRecipe) -> String {
    let names: Vec<String> = loaded.variants.iter().map(|variant| format!("`{}`", variant.name)).collect();
    names.join(", ")
}

/// Where runs are kept.
#[derive(Debug, Clone, clap::Args)]
pub struct RunsArgs {
    /// The folder of all runs.
    #[arg(long, value_name = "FOLDER", default_value = "runs", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,
}
