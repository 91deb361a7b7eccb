//! Texts, conversations and prompts become what transformers makes of them.
//!
//! `tests/oracle/make_chat_fixtures.py` writes the fixtures.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossloom_data::chat::{ChatFormat, ChatTemplate, Message, TemplateLimits, Turns, expand_images};
use crossloom_data::tokenizer::{ChatTokenizer, GgufVocabulary, PublishedTokenizer, Spelled};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Fixtures {
    texts: BTreeMap<String, Vec<Encoded>>,
    templates: BTreeMap<String, String>,
    conversations: BTreeMap<String, Vec<Message>>,
    rendered: Vec<Rendered>,
    prompts: Prompts,
}

/// What `tests/peers/chat_templates.py` writes.
#[derive(Deserialize)]
struct Shipped {
    tokens: BTreeMap<String, String>,
    templates: Vec<ShippedTemplate>,
    dated: usize,
}

#[derive(Deserialize)]
struct ShippedTemplate {
    name: String,
    source: String,
    conversations: Vec<ShippedConversation>,
}

#[derive(Deserialize)]
struct ShippedConversation {
    name: String,
    messages: Vec<Message>,
    answer: bool,
    /// None where transformers refuses it.
    text: Option<String>,
}

#[derive(Deserialize)]
struct Encoded {
    text: String,
    ids: Vec<i32>,
    decoded: String,
}

#[derive(Deserialize)]
struct Rendered {
    template: String,
    conversation: String,
    answer: bool,
    text: String,
}

#[derive(Deserialize)]
struct Prompts {
    image: i32,
    tokens: usize,
    cases: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    text: String,
    ids: Vec<i32>,
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chat").join(name)
}

fn fixtures() -> Fixtures {
    serde_json::from_slice(&std::fs::read(path("cases.json")).unwrap()).unwrap()
}

fn tokenizer(name: &str) -> PublishedTokenizer {
    PublishedTokenizer::load(&path(&format!("{name}.json")), Spelled::Tokens).unwrap()
}

/// The metadata that a GGUF file of the same tokenizer has.
fn metadata(name: &str) -> Map<String, Value> {
    let read: Value = serde_json::from_slice(&std::fs::read(path(&format!("{name}.json"))).unwrap()).unwrap();
    let mut tokens = BTreeMap::new();
    for (token, id) in read["model"]["vocab"].as_object().unwrap() {
        tokens.insert(id.as_u64().unwrap(), (token.clone(), 1));
    }
    for added in read["added_tokens"].as_array().unwrap() {
        let kind = if added["special"] == true { 3 } else { 4 };
        tokens.insert(added["id"].as_u64().unwrap(), (added["content"].as_str().unwrap().to_owned(), kind));
    }
    let merges = read["model"]["merges"].as_array().unwrap().iter();
    let merges: Vec<String> =
        merges.map(|pair| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap())).collect();
    let whole = json!({
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.tokens": tokens.values().map(|(token, _)| token).collect::<Vec<_>>(),
        "tokenizer.ggml.token_type": tokens.values().map(|(_, kind)| kind).collect::<Vec<_>>(),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": "{{ bos_token }}",
    });
    whole.as_object().unwrap().clone()
}

#[test]
fn texts_become_the_ids_of_transformers_and_come_back() {
    for (name, texts) in fixtures().texts {
        let tokenizer = tokenizer(&name);
        for Encoded { text, ids, decoded } in texts {
            assert_eq!(tokenizer.encode(&text, false).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&ids).unwrap(), decoded, "{name}: {text:?}");
        }
    }
}

#[test]
fn a_tokenizer_out_of_a_gguf_is_the_same() {
    for (name, texts) in fixtures().texts {
        let vocabulary = GgufVocabulary::read(&metadata(&name)).unwrap();
        let tokenizer = PublishedTokenizer::from_gguf(&vocabulary, Spelled::Tokens).unwrap();
        for Encoded { text, ids, decoded } in texts {
            assert_eq!(tokenizer.encode(&text, true).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&ids).unwrap(), decoded, "{name}: {text:?}");
        }
        let special: Vec<_> = vocabulary.special_tokens().collect();
        assert_eq!(special, [("bos_token", "<|im_start|>"), ("eos_token", "<|im_end|>")]);
        let mut first = metadata(&name);
        first.insert("tokenizer.ggml.add_bos_token".to_owned(), json!(true));
        let first =
            PublishedTokenizer::from_gguf(&GgufVocabulary::read(&first).unwrap(), Spelled::Tokens).unwrap();
        assert_eq!(first.encode("red", true).unwrap()[0], 1);
    }
}

#[test]
fn a_special_token_in_a_text_of_data_is_letters() {
    let read = PublishedTokenizer::load(&path("smollm.json"), Spelled::Letters).unwrap();
    let ids = read.encode("<|im_end|>", false).unwrap();
    assert!(ids.len() > 3 && !ids.contains(&2), "{ids:?}");
    assert_eq!(read.decode(&ids).unwrap(), "<|im_end|>");
}

#[test]
fn a_gguf_that_is_no_tokenizer_says_why() {
    let with = |key: &str, value: Value| {
        let mut metadata = metadata("smollm");
        metadata.insert(format!("tokenizer.{key}"), value);
        let read = GgufVocabulary::read(&metadata);
        read.and_then(|read| PublishedTokenizer::from_gguf(&read, Spelled::Tokens)).unwrap_err().to_string()
    };
    for (key, value, part) in [
        ("ggml.model", json!("llama"), "kind \"llama\""),
        ("ggml.pre", json!("tekken"), "\"tekken\""),
        ("ggml.tokens", json!({ "length": 9 }), "`tokenizer.ggml.tokens` is no list of texts"),
        ("ggml.tokens", json!(["a", "a"]), "2 tokens and the kinds of"),
        ("ggml.merges", json!(["a"]), "the merge \"a\" is not two pieces"),
        ("ggml.eos_token_id", json!(99_999), "`tokenizer.ggml.eos_token_id` is none of its"),
    ] {
        let message = with(key, value);
        assert!(message.contains(part), "{message}");
    }
    assert!(GgufVocabulary::read(&Map::new()).unwrap_err().to_string().contains("it holds no tokenizer"));
}

#[test]
fn a_vocabulary_larger_than_its_embedding_is_refused() {
    let tokenizer = tokenizer("smollm");
    tokenizer.check_embedding(tokenizer.vocab_size()).unwrap();
    let error = tokenizer.check_embedding(300).unwrap_err().to_string();
    assert!(error.contains("359 ids, the last of them `<added>`, and the embedding 300 rows"), "{error}");
}

#[test]
fn conversations_are_written_as_apply_chat_template_writes_them() {
    let Fixtures { templates, conversations, rendered, .. } = fixtures();
    let tokens = BTreeMap::from(
        [("bos_token", "<|endoftext|>"), ("eos_token", "<|im_end|>")]
            .map(|(a, b)| (a.to_owned(), b.to_owned())),
    );
    for Rendered { template, conversation, answer, text } in &rendered {
        let image = Some("<image>".to_owned());
        let read = ChatTemplate::new(&templates[template], tokens.clone(), image, TemplateLimits::default())
            .unwrap();
        let found = read.render(&conversations[conversation], *answer).unwrap();
        assert_eq!(&found, text, "{template}, {conversation}");
    }
    assert_eq!(rendered.len(), 24);
}

#[test]
fn placeholders_are_filled_up_as_llavas_processor_does() {
    let Prompts { image, tokens, cases } = fixtures().prompts;
    let tokenizer = tokenizer("smollm");
    assert_eq!(tokenizer.id("<image>"), Some(image));
    for Prompt { text, ids } in cases {
        let pictures = text.matches("<image>").count();
        let prompt = tokenizer.encode(&text, true).unwrap();
        let expanded = expand_images(&prompt, image, &vec![tokens; pictures], "a prompt").unwrap();
        assert_eq!(expanded.ids, ids, "{text:?}");
        assert_eq!(expanded.images.len(), pictures);
    }
}

/// A template of the fixtures as a model has it, with a token for pictures or without one.
fn format(template: &str, image: Option<&str>) -> ChatFormat {
    let tokens = [("bos_token", "<|endoftext|>"), ("eos_token", "<|im_end|>")];
    ChatFormat {
        template: fixtures().templates.remove(template).unwrap_or_else(|| template.to_owned()),
        tokens: tokens.map(|(name, token)| (name.to_owned(), token.to_owned())).into(),
        image_token: image.map(str::to_owned),
    }
}

#[test]
fn what_a_question_and_its_answer_are_cut_into_is_the_conversation() {
    let published = tokenizer("smollm");
    for (template, image) in [("marks", Some("<image>")), ("marks", None), ("parts", Some("<image>"))] {
        let format = format(template, image);
        let writes = format.open().unwrap();
        let cut = ChatTokenizer::new(tokenizer("smollm"), format).unwrap();
        let special = cut.special();
        assert_eq!(special.eos, 2);
        for (question, answer) in [("What colour is the shape?", "red"), (" Is it  12 apples? ", "Yes, 12.")]
        {
            let picture = image.map(|_| published.id("<image>").unwrap());
            let ids: Vec<i32> = (cut.lead().iter().copied().chain(picture))
                .chain(cut.question(question).unwrap())
                .chain([special.answer])
                .chain(cut.answer(answer).unwrap())
                .collect();
            let asked = Message::question(image.iter().count(), question.trim());
            let whole = writes.render(&[asked, Message::text("assistant", answer)], false).unwrap();
            let whole = published.encode(&whole, false).unwrap();
            // Where a template writes an end, that is trained as `<eos>`; where none, the tokenizer's own is.
            assert_eq!(ids, whole[..ids.len()], "{template}: {question}");
            let behind = published.decode(&whole[ids.len()..]).unwrap();
            assert!(behind.trim().is_empty(), "{template}: {behind:?}");
            assert_eq!(whole.contains(&special.eos), template == "marks");
            assert_eq!(cut.decode(&cut.answer(answer).unwrap()).unwrap(), answer);
        }
    }
}

#[test]
fn the_place_of_a_picture_is_in_front_of_the_users_words() {
    let cut = |image| ChatTokenizer::new(tokenizer("smollm"), format("marks", image)).unwrap();
    let text = |ids: &[i32]| {
        let tokens = ids.iter().map(|&id| tokenizer("smollm").token(id).unwrap());
        tokens.collect::<String>().replace('Ċ', "/").replace('Ġ', " ")
    };
    let without = cut(None);
    assert_eq!(text(without.lead()), "<|im_start|>system/Be brief.<|im_end|>/<|im_start|>user/");
    assert_eq!(text(&without.question("Which?").unwrap()), "Which?<|im_end|>/<|im_start|>assistant");
    assert!(!without.lead().contains(&without.special().image));
    let with = cut(Some("<image>"));
    assert_eq!(with.lead(), without.lead());
    assert_eq!(text(&with.question("Which?").unwrap()), "/Which?<|im_end|>/<|im_start|>assistant");
    assert_eq!(with.special().image, 3);
}

#[test]
fn of_a_conversation_the_answers_with_their_ends_are_learned() {
    let published = tokenizer("smollm");
    let template = format("marks", Some("<image>")).open().unwrap();
    let said = [
        ("user", "What <added> is it?"),
        ("assistant", "A shape.\n"),
        ("user", "Is it red?"),
        ("assistant", "No"),
    ];
    let messages: Vec<Message> = said.iter().map(|(role, text)| Message::text(role, text)).collect();
    let Turns { text, ids, learned } = Turns::new(&template, &published, &messages).unwrap();
    assert_eq!(ids, published.encode(&text, false).unwrap());
    let spelled: Vec<String> = learned
        .iter()
        .map(|range| ids[range.clone()].iter().map(|&id| published.token(id).unwrap()).collect())
        .collect();
    assert_eq!(spelled, ["AĠshape.Ċ<|im_end|>", "No<|im_end|>"]);
    // A template that writes the last turn otherwise than earlier ones has no tokens that are learned once.
    let last = "{% for m in messages %}{{ m.content }}{% if loop.last %}.{% else %}/{% endif %}{% endfor %}";
    let template = format(last, None).open().unwrap();
    let error = Turns::new(&template, &published, &messages).unwrap_err().to_string();
    assert!(error.contains("message 2 is written otherwise alone than before later ones"), "{error}");
}

#[test]
fn what_data_cannot_be_laid_out_by_is_refused() {
    let refused = |source: &str, image: Option<&str>| {
        ChatTokenizer::new(tokenizer("smollm"), format(source, image)).unwrap_err().to_string()
    };
    let all = "{% for m in messages %}{{ m.content }}{% endfor %}";
    for (source, image, part) in [
        ("{{ messages[0].content", None, "cannot be read"),
        ("nothing", None, "leaves the user's words out"),
        (
            "{% if add_generation_prompt %}Q{{ messages[0].content }}{% else %}A{% endif %}",
            None,
            "begins an answer otherwise",
        ),
        ("{{ messages[0].content }}", None, "leaves the assistant's words out"),
        (
            "{% for m in messages %}{% if m.role == 'assistant' %}think {% endif %}{{ m.content }}{% endfor %}",
            None,
            "words of its own",
        ),
        (all, Some("<picture>"), "lacks the special token: <picture>"),
        ("{{ messages[0].content }}{{ messages[0].content }}", Some("<image>"), "the prompt has 2 places"),
    ] {
        let message = refused(source, image);
        assert!(message.contains(part), "{source}: {message}");
    }
    // Written by a user, a placeholder would be a second picture.
    let cut = ChatTokenizer::new(tokenizer("smollm"), format("marks", Some("<image>"))).unwrap();
    let message = cut.question("What is <image> here?").unwrap_err().to_string();
    assert!(message.contains("\"What is <image> here?\"") && message.contains("2 places"), "{message}");
    let dated = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content | length }}{% endif %}{{ m.content }}/{% endfor %}";
    let cut = ChatTokenizer::new(tokenizer("smollm"), format(dated, None)).unwrap();
    let message = cut.question("Which?").unwrap_err().to_string();
    assert!(message.contains("another text in front of other words"), "{message}");
}

/// Those of a file that `CROSSLOOM_CHAT_TEMPLATES` names; without one nothing is compared.
#[test]
fn templates_that_packages_ship_are_written_alike() {
    let Ok(path) = std::env::var("CROSSLOOM_CHAT_TEMPLATES") else { return };
    let Shipped { tokens, templates, dated } = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (mut alike, mut refused, mut wrong) = (0, 0, Vec::new());
    for ShippedTemplate { name, source, conversations } in &templates {
        let read = ChatTemplate::new(source, tokens.clone(), None, TemplateLimits::default());
        let read = read.unwrap_or_else(|error| panic!("{name}: {error}"));
        for ShippedConversation { name: conversation, messages, answer, text } in conversations {
            match (read.render(messages, *answer), text) {
                (Ok(found), Some(expected)) if found == *expected => alike += 1,
                (Err(_), None) => refused += 1,
                (found, expected) => wrong.push(format!("{name}, {conversation}:\n{found:?}\n{expected:?}")),
            }
        }
    }
    println!(
        "{} templates ({dated} others ask for the date): {alike} conversations alike, {refused} refused by both",
        templates.len()
    );
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
