//! `recipe`: the recipes that come with crossloom.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use crossloom_files::write_atomic;
use serde_json::json;
use toml::Table as Toml;

use super::schema::schema_text;
use crate::cli::{CliError, Table, Terminal};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
List, show and copy the recipes that come with crossloom. Those under `methods/` are parts that other \
recipes extend: the settings of one injection method each.";

const LIST_HELP: &str = "\
Examples:
  $ crossloom recipe ls
  $ crossloom recipe ls --json";

const SHOW_HELP: &str = "\
Examples:
  $ crossloom recipe show quickstart
  $ crossloom recipe show methods/cli";

const COPY_HELP: &str = "\
Examples:
  $ crossloom recipe copy quickstart
  $ crossloom recipe copy synthetic experiments
  $ crossloom recipe copy quickstart experiments --force";

/// Arguments of `recipe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the recipes.
    #[command(after_long_help = LIST_HELP)]
    Ls {
        /// Write one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Print a recipe as it is written.
    #[command(after_long_help = SHOW_HELP)]
    Show {
        /// The recipe, as `recipe ls` names it.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Write a recipe, what it extends, and the schema for editors into a folder.
    #[command(after_long_help = COPY_HELP)]
    Copy {
        /// The recipe, as `recipe ls` names it.
        #[arg(value_name = "NAME")]
        name: String,
        /// The folder, which is made if it is not there.
        #[arg(value_name = "FOLDER", default_value = ".", value_hint = clap::ValueHint::DirPath)]
        folder: PathBuf,
        /// Replace files that are there and differ.
        #[arg(long)]
        force: bool,
    },
}

/// A recipe that comes with crossloom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its name: the path without `.toml`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(BuiltIn {
            name: $name,
            text: include_str!(concat!("../../../../recipes/", $name, ".toml")),
        }),*]
    };
}

/// All of them.
pub const BUILT_IN: &[BuiltIn] = built_in![
    "quickstart",
    "synthetic",
    "two-stages",
    "smol/smol",
    "smol/study",
    "llava-1.5-7b/llava-1.5-7b",
    "llava-onevision/llava-onevision-0.5b",
    "llava-onevision/llava-onevision-7b",
    "ablations",
    "studies/ablation-amp-agf",
    "studies/data-efficiency",
    "studies/density",
    "studies/fusion-strategies",
    "studies/instruction-guided",
    "methods/projector",
    "methods/cli",
    "methods/cli-dense",
    "methods/cli-medium",
    "methods/cli-sparse",
    "methods/amp-only",
    "methods/broadcast-last-agf",
    "methods/constant-gate",
    "methods/diagonal-agf",
    "methods/full-projector-per-tap",
    "methods/agf-only",
    "methods/static-gate",
    "methods/deepstack",
    "methods/deepstack-broadcast",
    "methods/qwen3-vl",
    "methods/granite-vision",
    "methods/sli",
    "methods/cross-attention",
    "methods/llama-3-2-vision",
    "methods/lsf-external-direct",
    "methods/lsf-external-modular",
    "methods/lsf-internal-direct",
    "methods/lsf-internal-modular",
    "methods/dense-connector-dci",
    "methods/mmfuser",
    "methods/cambrian-sva",
    "methods/mol",
    "methods/dense-connector-sci",
    "methods/dense-connector-sti",
    "methods/list-concat",
    "methods/vip-llava",
    "methods/weighted-sum",
    "methods/igva",
    "methods/tgif",
];

/// The recipe of a name or file name: `quickstart`, `quickstart.toml`, `recipes/quickstart.toml`.
pub fn built_in(name: &str) -> Option<BuiltIn> {
    let name = name.strip_prefix("recipes/").unwrap_or(name);
    let name = name.strip_suffix(".toml").unwrap_or(name);
    BUILT_IN.iter().copied().find(|recipe| recipe.name == name)
}

/// Lists, shows or copies.
///
/// # Errors
/// No recipe has that name; a file that differs is in the way; a file cannot be written.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    match &args.verb {
        Verb::Ls { json } => list(*json, terminal)?,
        Verb::Show { name } => terminal.print(find(name)?.text)?,
        Verb::Copy { name, folder, force } => copy(find(name)?, folder, *force, terminal)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str) -> Result<BuiltIn, CliError> {
    built_in(name).ok_or_else(|| {
        let names: Vec<&str> = BUILT_IN.iter().map(|recipe| recipe.name).collect();
        CliError::usage(format!("no recipe is called `{name}`"), format!("there is {}", names.join(", ")))
    })
}

impl BuiltIn {
    fn table(self) -> Result<Toml, CliError> {
        let broken =
            |error| CliError::failed(format!("the built-in recipe `{}` is broken: {error}", self.name));
        self.text.parse().map_err(broken)
    }

    fn description(self) -> Result<String, CliError> {
        let table = self.table()?;
        Ok(table.get("description").and_then(|text| text.as_str()).unwrap_or_default().to_owned())
    }

    /// The files that it and its variants extend, by name.
    fn extends(self) -> Result<BTreeSet<String>, CliError> {
        let table = self.table()?;
        let variants = table.get("variants").and_then(|variants| variants.as_table());
        let variants =
            variants.into_iter().flat_map(|variants| variants.values()).filter_map(|v| v.as_table());
        let methods = table.get("sweep").and_then(|sweep| sweep.get("methods")?.as_array());
        let folder = Path::new(self.name).parent().unwrap_or(Path::new(""));
        Ok(std::iter::once(&table)
            .chain(variants)
            .filter_map(|table| table.get("extends")?.as_array())
            .chain(methods)
            .flatten()
            .filter_map(|file| file.as_str())
            .map(|file| plain(&folder.join(file).with_extension("")))
            .collect())
    }
}

/// A path without its steps back, as a name.
fn plain(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    parts.join("/")
}

fn list(json: bool, terminal: &Terminal) -> Result<(), CliError> {
    let mut table = Table::new(["name", "what it is"]);
    let mut recipes = Vec::new();
    for recipe in BUILT_IN {
        let description = recipe.description()?;
        table.row([recipe.name.to_owned(), description.clone()]);
        recipes.push(json!({ "name": recipe.name, "description": description }));
    }
    if json { terminal.json(&json!({ "recipes": recipes })) } else { terminal.print(&table.to_string()) }
}

/// Everything is compared before anything is written.
fn copy(recipe: BuiltIn, folder: &Path, force: bool, terminal: &Terminal) -> Result<(), CliError> {
    let mut wanted = vec![recipe];
    let mut next = 0;
    while let Some(&at) = wanted.get(next) {
        for name in at.extends()? {
            let part = find(&name)?;
            if !wanted.contains(&part) {
                wanted.push(part);
            }
        }
        next += 1;
    }
    let mut files: Vec<(PathBuf, String)> = (wanted.iter())
        .map(|recipe| (folder.join(format!("{}.toml", recipe.name)), recipe.text.to_owned()))
        .collect();
    files.push((folder.join("schema.json"), schema_text()?));

    let differs = |path: &Path, text: &str| fs::read(path).is_ok_and(|old| old != text.as_bytes());
    let in_the_way: Vec<String> = (files.iter())
        .filter(|(path, text)| differs(path, text))
        .map(|(path, _)| format!("`{}`", path.display()))
        .collect();
    if !in_the_way.is_empty() && !force {
        return Err(CliError::usage(
            format!("{} would be replaced by something else", in_the_way.join(", ")),
            "choose another folder, or replace with --force",
        ));
    }
    for (path, text) in &files {
        let failed = |error| CliError::failed(format!("cannot write {}: {error}", path.display()));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        write_atomic(path, text.as_bytes()).map_err(failed)?;
        terminal.note(&format!("wrote {}", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn toml_files(folder: &Path, below: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                toml_files(&path, &format!("{below}{name}/"), found);
            } else if let Some(stem) = name.strip_suffix(".toml") {
                found.insert(format!("{below}{stem}"));
            }
        }
    }

    #[test]
    fn every_recipe_of_the_folder_is_built_in_and_described() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
        let mut files = BTreeSet::new();
        toml_files(&folder, "", &mut files);
        let names: BTreeSet<String> = BUILT_IN.iter().map(|recipe| recipe.name.to_owned()).collect();
        assert_eq!(names, files);
        for recipe in BUILT_IN {
            assert!(recipe.description().unwrap().len() > 20, "{}", recipe.name);
            for part in recipe.extends().unwrap() {
                assert!(
                    built_in(&part).is_some(),
                    "`{}` extends `{part}`, which is not built in",
                    recipe.name
                );
            }
        }
    }
}
