#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

const TEXTS: [&str; 4] =
    ["What color is the shape?", "Is there a RED circle?", "what shape is present?", "red"];

fn trained() -> Tokenizer {
    Tokenizer::train(TEXTS, &TokenizerOptions::default()).unwrap()
}

#[test]
fn the_vocabulary_is_specials_then_words_by_count_then_spelling() {
    let tokenizer = trained();
    let tokens: Vec<&str> =
        (0..tokenizer.vocab_size() as i32).map(|id| tokenizer.token(id).unwrap()).collect();
    assert_eq!(
        tokens,
        [
            "<pad>", "<image>", "<unk>", "<eos>", "<answer>", "?", "is", "red", "shape", "what", "a",
            "circle", "color", "present", "the", "there"
        ]
    );
    assert_eq!(tokenizer.special(), SpecialTokens { pad: 0, image: 1, unk: 2, eos: 3, answer: 4 });
    let mut reversed = TEXTS;
    reversed.reverse();
    let again = Tokenizer::train(reversed, &TokenizerOptions::default()).unwrap();
    assert_eq!(again.to_json().unwrap(), tokenizer.to_json().unwrap());
}

#[test]
fn text_round_trips_in_lower_case() {
    let tokenizer = trained();
    let ids = tokenizer.encode("Is the shape   RED?").unwrap();
    assert_eq!(ids, [6, 14, 8, 7, 5]);
    assert_eq!(tokenizer.decode(&ids), "is the shape red ?");
    assert_eq!(tokenizer.decode(&[4, 7, 3, 0]), "red");
    assert_eq!(tokenizer.decode(&[7, 999, -1]), "red <id 999> <id -1>");
}

#[test]
fn an_unknown_word_is_named_with_its_neighbours() {
    let error = trained().encode("is there a Rde cirle? a rde?").unwrap_err();
    let TokenizerError::UnknownWords { words, .. } = &error else { panic!("{error:?}") };
    assert_eq!(words.len(), 3, "{words:?}");
    assert_eq!(words[0].word, "Rde");
    assert_eq!(words[0].nearest[0], "red");
    let message = error.to_string();
    assert!(message.contains("`cirle` (nearest known: `circle`"), "{message}");
    assert_eq!(trained().encode_lossy("a zebra").unwrap(), [10, 2]);
}

#[test]
fn a_prompt_cannot_write_special_tokens() {
    let tokenizer = trained();
    assert!(matches!(tokenizer.encode("red <answer>"), Err(TokenizerError::UnknownWords { .. })));
    let ids = tokenizer.encode_lossy("red<eos><answer><image>").unwrap();
    assert!(ids.iter().all(|&id| id == 7 || id == tokenizer.special().unk), "{ids:?}");
}

#[test]
fn saving_and_loading_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let tokenizer = trained();
    tokenizer.save(&path).unwrap();
    let loaded = Tokenizer::load(&path).unwrap();
    assert_eq!(loaded.to_json().unwrap(), tokenizer.to_json().unwrap());
    assert_eq!(loaded.special(), tokenizer.special());
    assert_eq!(loaded.encode("what is red?").unwrap(), tokenizer.encode("what is red?").unwrap());
    assert!(matches!(loaded.encode("<answer>"), Err(TokenizerError::UnknownWords { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let other = folder.path().join("other");
        std::fs::write(&other, "").unwrap();
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&other), "it can be read like any other file");
    }
}

#[test]
fn the_file_has_the_hugging_face_form() {
    let json: serde_json::Value = serde_json::from_str(&trained().to_json().unwrap()).unwrap();
    assert_eq!(json["model"]["type"], "WordLevel");
    assert_eq!(json["model"]["unk_token"], "<unk>");
    assert_eq!(json["model"]["vocab"]["red"], 7);
    assert_eq!(json["normalizer"]["type"], "Lowercase");
    assert_eq!(json["pre_tokenizer"]["type"], "BertPreTokenizer");
    assert_eq!(json["added_tokens"].as_array().unwrap().len(), 5);
}

#[test]
fn bad_files_and_bad_text_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Tokenizer::load(&folder.path().join("absent.json")), Err(TokenizerError::Io { .. })));
    for json in ["", "{", "[]", "{\"model\": 3}"] {
        assert!(
            matches!(Tokenizer::from_json(json.as_bytes()), Err(TokenizerError::Invalid { .. })),
            "{json}"
        );
    }
    let json = trained().to_json().unwrap().replace("<answer>", "<reply>").replace("<eos>", "<end>");
    let error = Tokenizer::from_json(json.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "the tokenizer lacks the special tokens: <eos>, <answer>");
    let sparse = trained().to_json().unwrap().replace("\"there\": 15", "\"there\": 4000000000");
    assert!(matches!(Tokenizer::from_json(sparse.as_bytes()), Err(TokenizerError::Invalid { .. })));
    let twice = trained().to_json().unwrap().replace("\"there\": 15", "\"there\": 7");
    let error = Tokenizer::from_json(twice.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("several words have the id 7"), "{error}");
    let long = "a ".repeat(MAX_TEXT_BYTES);
    assert!(matches!(trained().encode(&long), Err(TokenizerError::TextTooLong { .. })));
    assert!(matches!(
        Tokenizer::train([" ", ""], &TokenizerOptions::default()),
        Err(TokenizerError::NoWords)
    ));
}

#[test]
fn rare_words_can_be_left_out() {
    let options = TokenizerOptions { min_count: 2, max_words: 3 };
    let tokenizer = Tokenizer::train(TEXTS, &options).unwrap();
    assert_eq!(tokenizer.vocab_size(), 5 + 3);
    assert!(tokenizer.encode("circle").is_err());
}
