//! A small, strict reader of HTML: it accepts only markup that needs no repair.

use std::collections::{BTreeMap, BTreeSet};

/// One element.
pub(crate) struct Element {
    pub(crate) tag: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Element {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// All elements of a page in order, and its texts.
pub(crate) struct Page {
    pub(crate) elements: Vec<Element>,
    pub(crate) texts: Vec<String>,
}

impl Page {
    /// Reads a page; an unclosed, misnested or malformed tag is an error.
    pub(crate) fn parse(page: &str) -> Result<Self, String> {
        let mut rest = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
        let mut parsed = Self { elements: Vec::new(), texts: Vec::new() };
        let mut open: Vec<String> = Vec::new();
        while let Some(start) = rest.find('<') {
            let (text, tagged) = rest.split_at(start);
            parsed.texts.push(unescape(text)?);
            if let Some(after) = tagged.strip_prefix("</") {
                let (tag, after) = after.split_once('>').ok_or("an end tag does not end")?;
                let expected = open.pop();
                if expected.as_deref() != Some(tag) {
                    return Err(format!("</{tag}> closes {expected:?}"));
                }
                rest = after;
                continue;
            }
            let (element, closed, after) = start_tag(&tagged[1..])?;
            rest = after;
            if !closed {
                open.push(element.tag.clone());
                if matches!(element.tag.as_str(), "script" | "style") {
                    let end = rest.find("</").ok_or("raw text does not end")?;
                    rest = &rest[end..];
                }
            }
            parsed.elements.push(element);
        }
        if open.is_empty() { Ok(parsed) } else { Err(format!("never closed: {open:?}")) }
    }

    pub(crate) fn count(&self, tag: &str) -> usize {
        self.elements.iter().filter(|element| element.tag == tag).count()
    }

    pub(crate) fn with_class(&self, class: &str) -> Vec<&Element> {
        self.elements
            .iter()
            .filter(|element| element.get("class").split(' ').any(|name| name == class))
            .collect()
    }

    /// What is wrong with the page as a whole.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut ids = BTreeSet::new();
        for element in &self.elements {
            if element.has("id") && !ids.insert(element.get("id")) {
                problems.push(format!("the id {} is used twice", element.get("id")));
            }
        }
        let mut heading = 0;
        for element in &self.elements {
            let level =
                ["h1", "h2", "h3", "h4"].iter().position(|tag| *tag == element.tag).map(|level| level + 1);
            if let Some(level) = level {
                if level > heading + 1 {
                    problems.push(format!("h{level} follows h{heading}"));
                }
                heading = level;
            }
            let needs = match element.tag.as_str() {
                "img" => Some("alt"),
                "th" => Some("scope"),
                "html" => Some("lang"),
                "svg" if !element.has("aria-hidden") => Some("aria-label"),
                _ => None,
            };
            if let Some(name) = needs
                && element.get(name).is_empty()
            {
                problems.push(format!("{} without {name}", element.tag));
            }
            for (name, value) in &element.attributes {
                let is_reference = matches!(name.as_str(), "aria-labelledby" | "data-copy");
                if is_reference && !ids.contains(value.as_str()) {
                    problems.push(format!("{name} points to {value}"));
                }
                if let Some(target) = value.strip_prefix('#').filter(|_| name == "href")
                    && !ids.contains(target)
                {
                    problems.push(format!("link to nowhere: {value}"));
                }
                let is_address = matches!(name.as_str(), "src" | "href" | "action" | "xlink:href" | "srcset");
                if is_address && !value.starts_with("data:") && !value.starts_with('#') {
                    problems.push(format!("{name} leaves the page: {value}"));
                }
                if name == "style" && (value.contains("url(") || value.contains("expression")) {
                    problems.push(format!("style loads something: {value}"));
                }
            }
        }
        problems
    }
}

fn start_tag(text: &str) -> Result<(Element, bool, &str), String> {
    let end = text.find([' ', '>', '/']).ok_or("a tag does not end")?;
    let (tag, mut rest) = text.split_at(end);
    if tag.is_empty() || !tag.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("bad tag {tag:?}"));
    }
    let mut attributes = BTreeMap::new();
    loop {
        if let Some(after) = rest.strip_prefix("/>") {
            return Ok((Element { tag: tag.to_owned(), attributes }, true, after));
        }
        if let Some(after) = rest.strip_prefix('>') {
            return Ok((Element { tag: tag.to_owned(), attributes }, false, after));
        }
        let after = rest.strip_prefix(' ').ok_or_else(|| format!("bad attributes of {tag}"))?;
        let (name, after) = after.split_once("=\"").ok_or_else(|| format!("bad attribute of {tag}"))?;
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-:".contains(c)) {
            return Err(format!("bad attribute name {name:?}"));
        }
        let (value, after) = after.split_once('"').ok_or("an attribute does not end")?;
        if attributes.insert(name.to_owned(), unescape(value)?).is_some() {
            return Err(format!("{tag} has {name} twice"));
        }
        rest = after;
    }
}

fn unescape(text: &str) -> Result<String, String> {
    if text.contains(['<', '>']) {
        return Err(format!("bare angle bracket in {text:?}"));
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (name, after) = after.split_once(';').ok_or_else(|| format!("bare & in {text:?}"))?;
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "#39" => '\'',
            "#96" => '`',
            _ => return Err(format!("unknown entity {name}")),
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}
