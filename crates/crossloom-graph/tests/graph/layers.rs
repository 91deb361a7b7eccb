//! The modules of the crate are layers: each uses only those before it.

use std::collections::BTreeMap;
use std::path::Path;

/// The order in which `lib.rs` lists them.
const LAYERS: [&str; 13] = [
    "error",
    "guard",
    "order",
    "wiring",
    "slots",
    "operator",
    "region",
    "lift",
    "splice",
    "describe",
    "graph",
    "builder",
    "decompose",
];

/// Code without comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn files(path: &Path, found: &mut Vec<std::path::PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            files(&entry.unwrap().path(), found);
        }
    } else {
        found.push(path.to_owned());
    }
}

/// The names directly after every `crate::`, also those in braces.
fn after_crate(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let list = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default(),
        };
        names.extend(list.split(',').map(|name| name.trim().split([':', ' ']).next().unwrap_or_default()));
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn no_module_uses_a_later_one() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // What the crate's root names is in the module that it comes from.
    let root = code(&source.join("lib.rs"));
    let mut home: BTreeMap<String, String> = BTreeMap::new();
    for line in root.split(';').filter_map(|item| item.trim().strip_prefix("pub use ")) {
        let Some((module, names)) = line.split_once("::") else { continue };
        for name in names.trim_matches(['{', '}']).split(',') {
            home.insert(name.trim().to_owned(), module.to_owned());
        }
    }
    let layer = |module: &str| LAYERS.iter().position(|other| *other == module);
    let mut all = Vec::new();
    files(&source, &mut all);
    let mut wrong = Vec::new();
    for file in all.iter().filter(|file| !file.ends_with("src/lib.rs")) {
        let inner = file.strip_prefix(&source).unwrap();
        let module = inner.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let own = layer(module).unwrap_or_else(|| panic!("`{module}` is in no layer"));
        let text = code(file);
        for name in after_crate(&text) {
            let used = layer(name).or_else(|| home.get(name).and_then(|module| layer(module)));
            match used {
                Some(used) if used > own => wrong.push(format!("{} uses {name}", inner.display())),
                Some(_) => {}
                None => wrong.push(format!("{}: where is `{name}` from?", inner.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
