use std::fs;
use std::path::Path;

use crate::support::{Said, crossloom_in, folder_with, workspace};

/// A folder with a small recipe, its method and an override.
fn folder(change: &str) -> tempfile::TempDir {
    let recipe = fs::read_to_string(workspace().join("recipes/synthetic.toml")).unwrap();
    let folder = folder_with(&[("mine.toml", &recipe.replace("rank = 4", change))]);
    fs::create_dir(folder.path().join("methods")).unwrap();
    for method in ["cli.toml", "projector.toml"] {
        let from = workspace().join("recipes/methods").join(method);
        fs::copy(from, folder.path().join("methods").join(method)).unwrap();
    }
    folder
}

fn snapshot(folder: &Path, more: &[&str]) -> Said {
    crossloom_in(folder, &[&["snapshot", "mine.toml", "--into", "graphs"], more].concat())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = (fs::read_dir(folder.join("graphs")).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Every file is what insta itself makes of what it reads there, so its review shows and accepts it.
fn as_insta_writes(folder: &Path) {
    for name in names(folder) {
        let path = folder.join("graphs").join(&name);
        let snapshot = insta::Snapshot::from_file(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(snapshot.metadata().source(), Some("mine.toml"), "{name}");
        assert!(snapshot.as_text().is_some_and(|text| text.to_string().contains("block.4")), "{name}");
        let again = folder.join("again.snap");
        snapshot.save(&again).unwrap();
        assert_eq!(fs::read_to_string(&again).unwrap(), fs::read_to_string(&path).unwrap(), "{name}");
    }
}

#[test]
fn what_is_written_is_as_kept_until_the_wiring_changes() {
    let folder = folder("rank = 4");
    snapshot(folder.path(), &["--check"]).exits(1).complains(&["9 snapshots not as kept", "--accept"]);
    snapshot(folder.path(), &[]).exits(0);
    assert_eq!(names(folder.path()).len(), 9);
    assert!(snapshot(folder.path(), &["--check"]).exits(0).out.contains("9 as kept"));

    // Another wiring of one variant: its three stages are others, and the scope that lost its edges is named.
    let points = ["--set", "variants.cli.topology.points=['before layer.0','before layer.2']"];
    let said = snapshot(folder.path(), &[&["--check"][..], &points].concat()).exits(1);
    for part in
        ["mine.cli.topology.snap: is another", "- block.2->layer.1", "    inject.layer.1\n", "- agf_gate"]
    {
        assert!(said.out.contains(part), "`{part}` is not in:\n{}", said.out);
    }
    assert!(!said.out.contains("mine.projector"), "{}", said.out);
    assert_eq!(names(folder.path()).len(), 9, "a check writes nothing");

    // The new text lies beside the old one, until it is accepted or no longer new.
    snapshot(folder.path(), &points).exits(0);
    assert_eq!(names(folder.path()).iter().filter(|name| name.ends_with(".snap.new")).count(), 3);
    as_insta_writes(folder.path());
    snapshot(folder.path(), &[]).exits(0);
    assert_eq!(names(folder.path()).len(), 9);
    snapshot(folder.path(), &[&["--accept"][..], &points].concat()).exits(0);
    assert_eq!(names(folder.path()).len(), 9);
    snapshot(folder.path(), &[&["--check"][..], &points].concat()).exits(0);
    snapshot(folder.path(), &["--check"]).exits(1);
}

#[test]
fn operands_that_are_swapped_are_found_although_the_operations_are_the_same() {
    let folder = folder("rank = 4");
    snapshot(folder.path(), &[]).exits(0);
    let file = folder.path().join("graphs/mine.cli.luminal.snap");
    let text = fs::read_to_string(&file).unwrap();
    let line = text.lines().find(|line| line.contains(" = add ")).unwrap();
    let (head, operands) = line.split_once(" = add ").unwrap();
    let (operands, tail) = operands.split_once(" : ").unwrap();
    let (one, two) = operands.split_once(", ").unwrap();
    fs::write(&file, text.replace(line, &format!("{head} = add {two}, {one} : {tail}"))).unwrap();
    let said = snapshot(folder.path(), &["--check"]).exits(1);
    assert!(said.out.contains(&format!("- {head} = add {two}, {one}")), "{}", said.out);
    assert!(said.out.contains(&format!("+ {head} = add {one}, {two}")), "{}", said.out);
}

#[test]
fn insta_reads_what_is_written() {
    let folder = folder("rank = 4");
    snapshot(folder.path(), &[]).exits(0);
    let graphs = folder.path().join("graphs").canonicalize().unwrap();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&graphs);
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        for (stage, stem) in [("topology", "mine.cli.topology"), ("fused", "mine.cli.fused")] {
            let shown = ["graph", "mine.toml", "--variant", "cli", "--stage", stage, "--mode", "forward"];
            insta::assert_snapshot!(stem, crossloom_in(folder.path(), &shown).exits(0).out);
        }
    });
    assert_eq!(names(folder.path()).len(), 9, "insta finds nothing new");
}

#[test]
fn seeds_share_their_snapshots_and_what_no_variant_stands_behind_is_told() {
    let folder = folder("rank = 4");
    let seeds = ["--set", "sweep.matrix={ 'train.seed' = [0, 1, 2] }"];
    snapshot(folder.path(), &seeds).exits(0);
    assert_eq!(names(folder.path()).len(), 9);
    snapshot(folder.path(), &["--check"]).exits(0);
    let ranks =
        ["--set", "sweep.matrix={ 'topology.adapter.rank' = [2, 4] }", "--set", "sweep.variants=['cli']"];
    let said = snapshot(folder.path(), &[&["--check"][..], &ranks].concat()).exits(1);
    assert!(said.out.contains("mine.cli.topology.snap: has no variant behind it"), "{}", said.out);
    assert!(said.out.contains("mine.cli,rank=2.topology.snap: is missing"), "{}", said.out);
    snapshot(folder.path(), &ranks).exits(0);
    assert_eq!(names(folder.path()).len(), 15);
    // Others of the folder are no business of this recipe.
    let other = folder.path().join("graphs/other.snap");
    fs::write(&other, "---\nsource: elsewhere.rs\n---\ntext\n").unwrap();
    snapshot(folder.path(), &["--accept"]).exits(0);
    assert!(other.exists() && snapshot(folder.path(), &["--check"]).exits(0).out.contains("9 as kept"));
    fs::write(folder.path().join("graphs/mine.cli.fused.snap"), "no head").unwrap();
    snapshot(folder.path(), &["--check"]).exits(1).complains(&["mine.cli.fused.snap", "is no snapshot"]);
}
