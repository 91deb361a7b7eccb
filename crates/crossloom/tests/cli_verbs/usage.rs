use crate::support::crossloom;

#[test]
fn an_unknown_verb_or_option_is_wrong_usage_with_the_nearest() {
    crossloom(&["chek", "recipes/synthetic.toml"]).exits(2).complains(&["error: ", "'chek'", "'check'"]);
    crossloom(&["explain", "recipes/synthetic.toml", "--varient", "cli"])
        .exits(2)
        .complains(&["'--variant'"]);
    crossloom(&["graph", "recipes/synthetic.toml", "--stage", "fuse"]).exits(2).complains(&["fused"]);
    crossloom(&["run", "recipes/synthetic.toml", "--threads", "0"]).exits(2).complains(&["--threads"]);
    crossloom(&["run", "recipes/synthetic.toml", "--resume", "--force"]).exits(2).complains(&["--force"]);
}

#[test]
fn no_verb_shows_the_verbs() {
    let said = crossloom(&[]).exits(2);
    assert!(said.err.contains("Usage: crossloom") && said.err.contains("explain"), "{}", said.err);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let said = crossloom(&["--version"]).exits(0);
    assert_eq!(said.out, concat!("crossloom ", env!("CARGO_PKG_VERSION"), "\n"));
    let said = crossloom(&["--help"]).exits(0);
    assert_eq!(said.err, "");
    for part in ["Exit codes:", "130  interrupted", "crossloom run recipes/synthetic.toml"] {
        assert!(said.out.contains(part), "`{part}` is not in:\n{}", said.out);
    }
    let said = crossloom(&["help", "graph"]).exits(0);
    assert!(said.out.contains("Examples:") && said.out.contains("--stage"), "{}", said.out);
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_a_failure() {
    use crate::support::{program, workspace};
    for arguments in
        [&["--help"][..], &["-h"], &["--version"], &["help", "graph"], &["run", "--help"], &["schema"]]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = program(&workspace()).args(arguments).stdout(full).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {err}");
        assert!(err.contains("cannot write to standard output"), "{arguments:?}: {err}");
    }
}
