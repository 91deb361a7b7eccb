//! The examples do what they say: a recipe is trained from Rust, the run that it left is asked, and a luminal graph is
//! compiled and run.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

#[path = "../../examples/ask_run.rs"]
mod ask_run;
#[path = "../../examples/compiled_graph.rs"]
mod compiled_graph;
#[path = "../../examples/train_recipe.rs"]
mod train_recipe;

use crossloom_data::image::Image;

#[test]
fn a_recipe_is_trained_and_its_run_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let said = train_recipe::train_below(folder.path()).unwrap();
    for variant in ["projector", "cli", "question_only"] {
        assert!(said.contains(variant), "{said}");
    }
    let run = said.lines().last().and_then(|line| line.strip_prefix("run: ")).expect("the run's folder");
    let picture = folder.path().join("picture.png");
    let grey = Image::new(16, 16, vec![128; 16 * 16 * 3]).unwrap();
    std::fs::write(&picture, grey.to_png().unwrap()).unwrap();
    let ask = |question: &str| ask_run::ask(run.as_ref(), "cli", &picture, question);
    let vocabulary = std::fs::read_to_string(std::path::Path::new(run).join("cli/tokenizer.json")).unwrap();
    let answer = ask("is there a circle?").unwrap();
    assert!(answer.split(' ').all(|word| vocabulary.contains(word)), "{answer}");
    assert!(ask("is there a zebra?").unwrap_err().to_string().contains("zebra"));
}

#[test]
fn a_luminal_graph_is_compiled_and_gives_what_it_gave() {
    let injected = compiled_graph::inject().unwrap();
    let [built, compiled] = injected.nodes;
    assert!(compiled < built, "{built} nodes became {compiled}");
    assert!(injected.gates.iter().all(|gate| (0.01..0.99).contains(gate)), "{:?}", injected.gates);
    assert_ne!(injected.gates[0], injected.gates[1]);
    let picture = compiled_graph::VISUAL * compiled_graph::WIDTH;
    assert_eq!(injected.compiled[picture..], injected.given[picture..], "text is not touched");
    for (position, row) in injected.compiled[..picture].chunks(compiled_graph::WIDTH).enumerate() {
        assert_ne!(row, &injected.given[position * compiled_graph::WIDTH..][..compiled_graph::WIDTH]);
    }
    for (compiled, interpreted) in injected.compiled.iter().zip(&injected.interpreted) {
        assert!((compiled - interpreted).abs() < 1e-5, "{compiled} {interpreted}");
    }
}
