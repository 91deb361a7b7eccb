//! A recipe's hash is the identity of its experiment.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;

use support::{Files, good};

fn hash(sets: &[&str]) -> String {
    good("inject.toml", sets).unwrap().variants[0].recipe.content_hash()
}

#[test]
fn the_hash_does_not_change_from_one_release_to_the_next() {
    // A change here makes every run directory of the past another experiment: raise the domain in `hash.rs` knowingly.
    insta::assert_snapshot!(hash(&[]));
}

#[test]
fn what_does_not_change_the_experiment_does_not_change_the_hash() {
    let same = [
        "name=other",
        "description=other words",
        "data.cache=folder",
        "train.seed=0",
        "topology.taps={ every = 2 }",
        "topology.gate.heads=4",
        "topology.adapter.alpha=8",
        "topology.fusion=gated_add",
        "model.vision.activation=gelu_tanh",
        "eval.cache=f32",
    ];
    for set in same {
        assert_eq!(hash(&[set]), hash(&[]), "{set}");
    }
    let spelled = "# a comment\nname = 'x'\nextends = ['inject.toml']\n[train]\nlr = 0.001\n";
    let inject = std::fs::read_to_string(support::folder("good").join("inject.toml")).unwrap();
    let files = Files::new(&[("inject.toml", &inject), ("main.toml", spelled)]);
    assert_eq!(files.load("main.toml", &[]).unwrap().base.content_hash(), hash(&[]));
}

#[test]
fn samples_whose_hash_is_known_are_the_same_wherever_they_lie() {
    let of = |format: &str, train: &str, hash_of: &str| {
        let source = format!(
            "data.source={{ kind = 'files', format = '{format}', train = ['{train}'], test = ['test'], pictures = '{train}s'{hash_of} }}"
        );
        let model = ["data.tokenizer=model", "data.text_positions=64", "model.language.weights=x"];
        hash(&[&[source.as_str()], &model[..]].concat())
    };
    let known = |digit: &str| format!(", hash = '{}'", digit.repeat(64));
    assert_eq!(of("llava", "here", &known("1")), of("llava", "there", &known("1")));
    assert_ne!(of("llava", "here", &known("1")), of("llava", "here", &known("2")));
    assert_ne!(of("llava", "here", &known("1")), of("messages", "here", &known("1")));
    assert_ne!(of("llava", "here", ""), of("llava", "there", ""));
}

#[test]
fn conversations_whose_hashes_are_known_are_the_same_wherever_they_lie() {
    let of = |place: &str, weight: &str, [train, test]: [&str; 2]| {
        let known = |digit: &str| match digit {
            "" => String::new(),
            digit => format!(", hash = '{}'", digit.repeat(64)),
        };
        let samples = |hash| {
            format!("{{ format = 'llava', files = ['{place}'], pictures = '{place}s'{} }}", known(hash))
        };
        let mixed =
            format!("[{}, {{ format = 'messages', files = ['a'], weight = {weight} }}]", samples(train));
        let source =
            format!("data.source={{ kind = 'conversations', of = {mixed}, test = {} }}", samples(test));
        let model = ["data.tokenizer=model", "data.text_positions=64", "model.language.weights=x"];
        hash(&[&[source.as_str()], &model[..]].concat())
    };
    let known = of("here", "1.5", ["1", "2"]);
    assert_eq!(known, of("there", "1.5", ["1", "2"]));
    assert_ne!(known, of("here", "2.5", ["1", "2"]));
    assert_ne!(known, of("here", "1.5", ["3", "2"]));
    assert_ne!(known, of("here", "1.5", ["1", "3"]));
    assert_ne!(of("here", "1.5", ["1", ""]), of("there", "1.5", ["1", ""]));
}

#[test]
fn what_changes_the_experiment_changes_the_hash() {
    let other = [
        "train.seed=1",
        "train.lr=0.002",
        "data.image=withheld",
        "topology.taps=['block.3', 'block.1']",
        "topology.wiring=diagonal",
        "topology.gate.share=edge",
        "model.vision.post_norm=true",
        "eval.limit=10",
        "eval.metric=anls",
        "eval.cache=bf16",
    ];
    let hashes: BTreeSet<String> = other.iter().map(|set| hash(&[set])).chain([hash(&[])]).collect();
    assert_eq!(hashes.len(), other.len() + 1);
}

#[test]
fn logging_checkpoints_and_scoring_do_not_change_what_is_trained() {
    let trained = |set: &str| {
        let sets: Vec<&str> = if set.is_empty() { Vec::new() } else { vec![set] };
        good("inject.toml", &sets).unwrap().training_hash()
    };
    let same = [
        "description=other words",
        "train.log_every=7",
        "train.checkpoint_every=3",
        "train.keep_checkpoints=9",
        "eval.limit=10",
        "eval.seed=4",
        "eval.permutations=500",
        "eval.confidence=0.9",
        "eval.split=train",
        "eval.metric=anls",
        "eval.cache=bf16",
    ];
    for set in same {
        assert_eq!(trained(set), trained(""), "{set}");
    }
    for set in
        ["train.lr=0.002", "train.steps=77", "data.seed=5", "data.validation=0.1", "eval.max_new_tokens=7"]
    {
        assert_ne!(trained(set), trained(""), "{set}");
    }
    assert_ne!(trained(""), good("inject.toml", &[]).unwrap().content_hash());
}

#[test]
fn a_loaded_recipes_hash_covers_its_variants() {
    let hash = |variants: &str| {
        let text = format!("name = 'main'\nextends = ['base.toml']\n{variants}");
        Files::new(&[("main.toml", &text)]).load("main.toml", &[]).unwrap().content_hash()
    };
    let all = [
        hash(""),
        hash("[variants.a]\n"),
        hash("[variants.b]\n"),
        hash("[variants.a]\nbaseline = true\n"),
        hash("[variants.a]\ntrain.seed = 1\n"),
        hash("[variants.a]\n[variants.b]\n"),
    ];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    assert_eq!(hash("[variants.a]\ndescription = 'words'\n"), hash("[variants.a]\n"));
}
