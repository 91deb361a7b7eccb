use std::collections::BTreeSet;
use std::fs;

use crossloom::commands::recipe::BUILT_IN;

use crate::support::{crossloom, crossloom_in, workspace};

#[test]
fn a_copied_recipe_works_where_it_lands() {
    let folder = tempfile::tempdir().unwrap();
    crossloom_in(folder.path(), &["recipe", "copy", "quickstart", "mine/new"]).exits(0).complains(&[
        "wrote mine/new/quickstart.toml",
        "wrote mine/new/methods/cli.toml",
        "wrote mine/new/schema.json",
    ]);
    let said = crossloom_in(folder.path(), &["check", "mine/new/quickstart.toml"]).exits(0);
    assert!(said.out.starts_with("ok mine/new/quickstart.toml: projector (1 edge), cli ("), "{}", said.out);
}

#[test]
fn copying_replaces_nothing_that_differs_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let copy = ["recipe", "copy", "synthetic"];
    crossloom_in(folder.path(), &copy).exits(0);
    crossloom_in(folder.path(), &copy).exits(0);
    let path = folder.path().join("synthetic.toml");
    fs::write(&path, "name = 'mine'\n").unwrap();
    fs::remove_file(folder.path().join("schema.json")).unwrap();
    crossloom_in(folder.path(), &copy)
        .exits(2)
        .complains(&["`./synthetic.toml` would be replaced", "--force"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "name = 'mine'\n");
    assert!(!folder.path().join("schema.json").exists(), "nothing is written where something is in the way");
    crossloom_in(folder.path(), &["recipe", "copy", "synthetic", "--force"]).exits(0);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        fs::read_to_string(workspace().join("recipes/synthetic.toml")).unwrap()
    );
}

#[test]
fn recipes_are_listed_and_shown() {
    let said = crossloom(&["recipe", "ls"]).exits(0);
    assert!(said.out.lines().any(|line| line.starts_with("methods/cli ")), "{}", said.out);
    let document = crossloom(&["recipe", "ls", "--json"]).exits(0).json();
    assert_eq!(document["recipes"].as_array().unwrap().len(), said.out.lines().count() - 1);
    let shown = crossloom(&["recipe", "show", "methods/cli"]).exits(0).out;
    assert_eq!(shown, fs::read_to_string(workspace().join("recipes/methods/cli.toml")).unwrap());
    crossloom(&["recipe", "show", "quickest"]).exits(2).complains(&["`quickest`", "quickstart"]);
}

#[test]
fn the_schema_is_the_one_beside_the_recipes() {
    let shipped = fs::read_to_string(workspace().join("recipes/schema.json")).unwrap();
    let said = crossloom(&["schema"]).exits(0);
    assert!(
        said.out == shipped,
        "recipes/schema.json is stale: crossloom schema --write recipes/schema.json"
    );
    let folder = tempfile::tempdir().unwrap();
    let said = crossloom_in(folder.path(), &["schema", "--write", "schema.json", "--quiet"]).exits(0);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    assert_eq!(fs::read_to_string(folder.path().join("schema.json")).unwrap(), shipped);
    crossloom_in(folder.path(), &["schema", "--write", "no/such/folder/schema.json"])
        .exits(1)
        .complains(&["error: cannot write no/such/folder/schema.json"]);
}

#[test]
fn every_file_in_recipes_comes_with_the_program() {
    let mut files = BTreeSet::new();
    for folder in ["", "methods/", "llava-1.5-7b/", "llava-onevision/", "smol/", "studies/"] {
        for entry in fs::read_dir(workspace().join("recipes").join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            files.extend(name.strip_suffix(".toml").map(|name| format!("{folder}{name}")));
        }
    }
    let built_in: BTreeSet<String> = BUILT_IN.iter().map(|recipe| recipe.name.to_owned()).collect();
    assert_eq!(built_in, files);
    assert_eq!(built_in.len(), BUILT_IN.len(), "no recipe is listed twice");
}
