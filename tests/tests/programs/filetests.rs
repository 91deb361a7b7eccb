//! Runs every filetest, and checks that the corpus covers every op and every pass.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crossloom_compiler::passes;
use crossloom_ir::{Op, text};
use crossloom_tests::filetest::{KINDS, Source, blessing, check_file, check_folder, files_below};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests")
}

/// Checks all files of a kind.
#[track_caller]
fn check(kind: &str) {
    let kind = KINDS.into_iter().find(|k| k.name() == kind).unwrap();
    match check_folder(kind, &root(), blessing()) {
        Ok(count) => assert!(count > 0, "there is no filetest of this kind"),
        Err(failures) => panic!("{failures}"),
    }
}

#[test]
fn verify() {
    check("verify");
}

#[test]
fn run() {
    check("run");
}

#[test]
fn gradient() {
    check("gradient");
}

#[test]
fn pass() {
    check("pass");
}

#[test]
fn every_folder_is_of_a_kind() {
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(KINDS.iter().any(|kind| kind.name() == name), "no kind runs the folder `{name}`");
    }
}

/// The mnemonics of all instructions in the functions of a folder.
fn mnemonics_in(folder: &str) -> BTreeSet<&'static str> {
    let files = files_below(&root().join(folder)).unwrap();
    let funcs = files.iter().filter_map(|path| text::parse(&fs::read_to_string(path).unwrap()).ok());
    funcs.flat_map(|func| func.insts().iter().map(|inst| inst.op.mnemonic()).collect::<Vec<_>>()).collect()
}

#[test]
fn every_op_is_run() {
    let run = mnemonics_in("run");
    let missing: Vec<_> = Op::mnemonics().into_iter().filter(|mnemonic| !run.contains(mnemonic)).collect();
    assert!(missing.is_empty(), "no `test run` applies {missing:?}");
}

#[test]
fn every_op_is_differentiated() {
    // Only ever emitted by gradient rules, or past the point where gradients are taken, or in graphs without any.
    const WITHOUT: [&str; 8] = [
        "adamw",
        "multi_adamw",
        "global_norm",
        "cache_write",
        "cached_attention",
        "linear_cross_entropy",
        "low_rank_linear",
        "agf_inject_norm",
    ];
    let exempt = |mnemonic: &str| mnemonic.ends_with("_grad") || WITHOUT.contains(&mnemonic);
    let covered = mnemonics_in("gradient");
    let missing: Vec<_> = Op::mnemonics()
        .into_iter()
        .filter(|mnemonic| !exempt(mnemonic) && !covered.contains(mnemonic))
        .collect();
    assert!(missing.is_empty(), "no `test gradient` applies {missing:?}");
}

#[test]
fn every_pass_has_its_tests() {
    let mut known = BTreeSet::new();
    for pass in passes::BEFORE_AUTODIFF.into_iter().chain(passes::AFTER_AUTODIFF) {
        known.insert(pass.name());
        let folder = root().join("pass").join(pass.name());
        let files = files_below(&folder).unwrap_or_default();
        assert!(!files.is_empty(), "pass `{}` has no filetest", pass.name());
        for path in files {
            let source = Source::read(&fs::read_to_string(&path).unwrap()).unwrap();
            let words = source.argument().split_whitespace();
            let names: Vec<&str> = words.map(|word| word.split('=').next().unwrap_or(word)).collect();
            assert!(names.contains(&pass.name()), "{} does not run its folder's pass", path.display());
        }
    }
    for entry in fs::read_dir(root().join("pass")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(name.as_str()), "there is no pass `{name}`");
    }
}

/// Writes a filetest, checks that it fails with that message, blesses it, and returns what it became.
fn bless(kind: &str, content: &str, failure: &str) -> String {
    let kind = KINDS.into_iter().find(|k| k.name() == kind).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.cir");
    fs::write(&path, content).unwrap();
    let message = check_file(kind, &path, false).unwrap_err();
    assert!(message.contains(failure), "{message}");
    assert_eq!(fs::read_to_string(&path).unwrap(), content, "a check without blessing must not write");
    check_file(kind, &path, true).unwrap();
    check_file(kind, &path, false).unwrap();
    fs::read_to_string(&path).unwrap()
}

#[test]
fn a_wrong_expectation_fails_and_is_rewritten() {
    let doubled = "; test run\nfunc @f {\n  input %x \"x\": f32[2]\n  %y = add %x, %x : f32[2]\n  return \"y\" = %y\n}\n\n";
    let wrong = format!("{doubled}; with \"x\" = [1, 2]\n; gives \"y\" = [2, 5]\n");
    let right = bless("run", &wrong, "+ ; gives \"y\" = [2, 4]");
    assert_eq!(right, wrong.replace('5', "4"));

    let silent = format!("{doubled}; with \"x\" = [1, 2]\n");
    assert_eq!(bless("run", &silent, "differs"), right);

    let verify =
        "; test verify\nfunc @f {\n  input %x \"x\": f32[2]\n  ; error: gone\n  %y = tahn %x : f32[2]\n}\n";
    assert_eq!(
        bless("verify", verify, "differs"),
        "; test verify\nfunc @f {\n  input %x \"x\": f32[2]\n  %y = tahn %x : f32[2]\n  ; error: there is no op `tahn`; did you mean `tanh`?\n}\n"
    );

    let pass = "; test pass dce\nfunc @f {\n  input %x \"x\": f32[2]\n  %y = exp %x : f32[2]\n  return \"x\" = %x\n}\n";
    let blessed = bless("pass", pass, "differs");
    assert!(
        blessed.ends_with("}\n\n; func @f {\n;   input  %0 \"x\": f32[2]\n;\n;   return \"x\" = %0\n; }\n"),
        "{blessed}"
    );

    let gradient = "; test gradient\n; gradient \"y\" wrt \"x\"\nfunc @f {\n  input %x \"x\": f32[]\n  %y = exp %x : f32[]\n  return \"y\" = %y\n}\n";
    let blessed = bless("gradient", gradient, "differs");
    assert!(blessed.contains("return \"grad.x\" = "), "{blessed}");
}

#[test]
fn files_that_test_nothing_are_refused() {
    for (kind, content, message) in [
        ("run", "func @f {\n}\n", "one line `; test KIND`"),
        ("run", "; test verify\nfunc @f {\n}\n", "in the folder of"),
        ("run", "; test run\nfunc @f {\n}\n", "there is no case"),
        ("run", "; test run\nfunc @f {\n}\n\n; wiht \"x\" = 1\n", "neither a `with` nor a `gives` line"),
        ("pass", "; test pass fald\nfunc @f {\n}\n", "there is no pass `fald`"),
        ("gradient", "; test gradient\nfunc @f {\n}\n", "one line `; gradient"),
    ] {
        let kind = KINDS.into_iter().find(|k| k.name() == kind).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("case.cir");
        fs::write(&path, content).unwrap();
        let failure = check_file(kind, &path, true).unwrap_err();
        assert!(failure.contains(message), "{failure}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}
