//! Whether a text is well-formed XML, as far as pictures use it: elements, attributes, text and references.

/// The name of the root element, or what is wrong.
pub(crate) fn root(text: &str) -> Result<String, String> {
    let mut open: Vec<&str> = Vec::new();
    let mut root = None;
    let mut rest = text;
    while !rest.is_empty() {
        let Some(inside) = rest.strip_prefix('<') else {
            let end = rest.find('<').unwrap_or(rest.len());
            if open.is_empty() && !rest[..end].trim().is_empty() {
                return Err(format!("text outside the root: {:?}", &rest[..end]));
            }
            content(&rest[..end])?;
            rest = &rest[end..];
            continue;
        };
        let end = inside.find('>').ok_or("a tag has no end")?;
        let tag = &inside[..end];
        rest = &inside[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            match open.pop() {
                Some(opened) if opened == name => {}
                opened => return Err(format!("</{name}> closes {opened:?}")),
            }
            continue;
        }
        if open.is_empty() && root.is_some() {
            return Err("a second root".to_owned());
        }
        let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, mut attributes) = tag.split_once([' ', '\n']).unwrap_or((tag, ""));
        if !name.starts_with(|c: char| c.is_ascii_alphabetic())
            || !name.chars().all(|c| c.is_ascii_alphanumeric())
        {
            return Err(format!("<{name}> is no element"));
        }
        let mut seen = Vec::new();
        while !attributes.trim_start().is_empty() {
            let (key, tail) =
                attributes.trim_start().split_once("=\"").ok_or(format!("<{tag}>: no attribute"))?;
            let (value, tail) = tail.split_once('"').ok_or(format!("<{tag}>: an open quote"))?;
            if key.is_empty() || key.contains(|c: char| !(c.is_ascii_alphanumeric() || "-:".contains(c))) {
                return Err(format!("<{tag}>: {key:?} is no attribute"));
            }
            if seen.contains(&key) {
                return Err(format!("<{tag}> has {key} twice"));
            }
            seen.push(key);
            content(value)?;
            attributes = tail;
        }
        root.get_or_insert_with(|| name.to_owned());
        if !empty {
            open.push(name);
        }
    }
    if open.is_empty() { root.ok_or("no element".to_owned()) } else { Err(format!("not closed: {open:?}")) }
}

/// Text and values: no markup, no bare ampersand, no control characters.
fn content(text: &str) -> Result<(), String> {
    if let Some(letter) = text.chars().find(|&c| c == '<' || (c.is_control() && c != '\n')) {
        return Err(format!("{letter:?} in {text:?}"));
    }
    for tail in text.split('&').skip(1) {
        if !["amp;", "lt;", "gt;", "quot;"].iter().any(|reference| tail.starts_with(reference)) {
            return Err(format!("a bare & in {text:?}"));
        }
    }
    Ok(())
}

#[test]
fn what_is_not_well_formed_is_found() {
    assert_eq!(root("<svg a=\"1\" b=\"x &amp; y\">\n<g/>t&lt;<a></a></svg>\n").unwrap(), "svg");
    for wrong in [
        "",
        "x",
        "<svg>",
        "<svg></g>",
        "<svg a=1/>",
        "<svg a=\"1\" a=\"2\"/>",
        "<svg>&</svg>",
        "<svg/><svg/>",
        "<svg><a b=\"<\"/></svg>",
        "<svg>\u{1}</svg>",
        "<svg",
        "<svg a=\"/>",
        "<svg><script></svg></script>",
    ] {
        assert!(root(wrong).is_err(), "{wrong}");
    }
}
