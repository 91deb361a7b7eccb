use crate::support::{crossloom, crossloom_in};

#[test]
fn doctor_says_what_this_machine_has() {
    let document = crossloom(&["doctor", "--json"]).exits(0).json();
    assert_eq!(document["crossloom"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["backend"], "cpu");
    assert!(document["cpu"]["threads"].as_u64().unwrap() >= 1);
    let tools: Vec<&str> =
        document["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(tools, ["python3", "pip", "chromium"]);
    let text = crossloom(&["doctor"]).exits(0).out;
    for line in [
        "crossloom ",
        "system ",
        "processor ",
        "features ",
        "threads ",
        "memory ",
        "cache ",
        "cuda ",
        "library ",
        "python3 ",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "`{line}` is not in:\n{text}");
    }
}

#[test]
fn doctor_finds_what_is_missing_instead_of_failing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = crate::support::program(folder.path());
    command.args(["doctor", "--json"]).env("PATH", folder.path()).env_remove("CHROMIUM");
    let output = command.env("CROSSLOOM_CACHE", "/proc/version/cache").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for tool in document["tools"].as_array().unwrap() {
        assert!(tool["found"].is_null(), "{tool}");
    }
    assert_eq!(document["cache"]["exists"], false);
}

#[test]
fn doctor_looks_for_cuda_where_the_environment_says_and_tells_what_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let libraries = folder.path().join("lib64");
    std::fs::create_dir(&libraries).unwrap();
    std::fs::write(libraries.join("libnvrtc.so.13"), "a download that failed").unwrap();
    let output = |json: &[&str]| {
        let mut command = crate::support::program(folder.path());
        let output = command.arg("doctor").args(json).env("CUDA_HOME", folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let document: serde_json::Value = serde_json::from_str(&output(&["--json"])).unwrap();
    let libraries = document["cuda"]["libraries"].as_array().unwrap();
    let names: Vec<&str> = libraries.iter().map(|library| library["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["libcuda", "nvrtc", "nvrtc-builtins", "cublasLt"]);
    assert_eq!(libraries[1]["rejected"][0]["reason"], "is no library");
    let text = output(&[]);
    assert!(text.contains("libnvrtc.so.13 is no library"), "{text}");
}

#[test]
fn completions_know_every_verb() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = crossloom(&["completions", shell]).exits(0).out;
        for verb in ["explain", "resolve", "--questions", "doctor"] {
            let known = verb != "--questions";
            assert_eq!(script.contains(verb), known, "{shell}: {verb}");
        }
    }
    crossloom(&["completions", "cmd"]).exits(2).complains(&["bash"]);
}

#[test]
fn data_sets_are_listed_without_being_fetched_and_unknown_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let document = crossloom_in(folder.path(), &["data", "ls", "--json"]).exits(0).json();
    let asset = &document["assets"][0];
    assert_eq!((&asset["name"], &asset["cached"]), (&"easy-vqa".into(), &false.into()));
    assert_eq!(asset["sha256"].as_str().unwrap().len(), 64);
    let text = crossloom_in(folder.path(), &["data", "ls"]).exits(0).out;
    assert!(text.contains("easy-vqa") && text.contains("MIT"), "{text}");
    crossloom_in(folder.path(), &["data", "get", "easyvqa"])
        .exits(2)
        .complains(&["no asset is called `easyvqa`", "crossloom data ls"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn data_that_cannot_be_fetched_tells_the_manual_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = crate::support::program(folder.path());
    let output = command.args(["data", "get", "easy-vqa"]).env("PATH", folder.path()).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("python3") && err.contains("By hand:") && err.contains("easy_vqa-1.0"), "{err}");
}
