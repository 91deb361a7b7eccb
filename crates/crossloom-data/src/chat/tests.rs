#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use super::*;

fn template(source: &str) -> Result<ChatTemplate, ChatError> {
    ChatTemplate::new(source, BTreeMap::new(), None, TemplateLimits::default())
}

fn written(source: &str) -> Result<String, ChatError> {
    template(source)?.render(&[Message::text("user", "hello")], true)
}

#[test]
fn a_template_that_computes_or_writes_without_end_is_stopped() {
    let doubling = "{% set ns = namespace(x='0123456789abcdef') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}";
    let loops = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}";
    let writes = "{% for a in range(9000) %}{{ 'x' * 1000 }}{% endfor %}";
    let deep = "{% macro again(n) %}{{ again(n + 1) }}{% endmacro %}{{ again(0) }}";
    let nested = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    for (source, what) in [
        (doubling, "computes more than"),
        (loops, "computes more than"),
        (writes, "wrote more than"),
        (deep, "deep"),
    ] {
        let error = written(source).unwrap_err();
        assert!(matches!(error, ChatError::Limit { .. }) && error.to_string().contains(what), "{error}");
    }
    for source in ["{{ 'x' * 10000000000 }}", "{% for %}", "{{ missing() }}", "{% include 'etc/passwd' %}"] {
        assert!(written(source).is_err(), "{source}");
    }
    assert!(matches!(template(&format!("{{{{ {nested} }}}}")), Err(ChatError::Syntax { .. })));
    assert!(matches!(template(&"x".repeat(2 << 20)), Err(ChatError::Syntax { .. })));
}

#[test]
fn a_template_says_itself_what_it_does_not_take() {
    let error = written("{{ raise_exception('roles must alternate') }}").unwrap_err();
    assert!(error.to_string().contains("roles must alternate"), "{error}");
}

#[test]
fn a_template_has_no_clock() {
    assert_eq!(written("{{ strftime_now is defined }}").unwrap(), "False");
}

#[test]
fn a_picture_needs_a_place() {
    let texts = "{{ messages[0]['content'] + '!' }}";
    let asked = [Message::question(1, "why?")];
    assert!(matches!(
        template(texts).unwrap().render(&asked, false),
        Err(ChatError::NoPlace { pictures: 1 })
    ));
    let placed =
        ChatTemplate::new(texts, BTreeMap::new(), Some("<img>".to_owned()), TemplateLimits::default());
    assert_eq!(placed.unwrap().render(&asked, false).unwrap(), "<img>\nwhy?!");
}

#[test]
fn places_and_pictures_that_differ_are_told_with_the_sample() {
    let error = expand_images(&[5, 9, 5, 9], 9, &[3], "train/17").unwrap_err();
    assert_eq!(
        error.to_string(),
        "sample train/17: the prompt has 2 places for pictures, and 1 picture is given: a placeholder in a text counts as one"
    );
    let expanded = expand_images(&[5, 9, 6, 9], 9, &[3, 1], "a").unwrap();
    assert_eq!((expanded.ids, expanded.images), (vec![5, 9, 9, 9, 6, 9], vec![1..4, 5..6]));
    assert_eq!(expand_images(&[5, 6], 9, &[], "a").unwrap().ids, [5, 6]);
    assert!(check_images(&[9, 9, 1], 9, 2, "a").is_ok());
    let error = check_images(&[9, 1], 9, 2, "b").unwrap_err();
    assert_eq!(error.to_string(), "sample b: 1 tokens stand for pictures, whose features are 2");
}

#[test]
fn messages_are_read_as_the_field_writes_them() {
    let read: Vec<Message> = serde_json::from_str(
        r#"[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}]"#,
    )
    .unwrap();
    assert_eq!(read, [Message::question(1, "a"), Message::text("assistant", "b")]);
    for wrong in [r#"[{"role": "user"}]"#, r#"[{"role": "user", "content": 7}]"#, r#"[{"content": "a"}]"#] {
        assert!(serde_json::from_str::<Vec<Message>>(wrong).is_err(), "{wrong}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(serde_json::from_str::<Vec<Message>>(&deep).is_err());
}
