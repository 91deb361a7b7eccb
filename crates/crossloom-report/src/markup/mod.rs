//! The only way to write to the page: an element writer that escapes everything that comes from data.
//!
//! Tag names, attribute names and unescaped text must be `&'static str`, so that a string that arrived at run time
//! can only ever become escaped text, an escaped and quoted attribute value, or escaped JSON.

mod escape;

use serde_json::Value;

/// Attributes of an element: names from the code, values from anywhere.
pub(crate) type Attributes<'a> = &'a [(&'static str, &'a str)];

/// A growing piece of HTML or SVG.
#[derive(Default)]
pub(crate) struct Markup {
    out: String,
}

impl Markup {
    /// The finished text.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// Writes an element with children.
    pub(crate) fn element(
        &mut self,
        tag: &'static str,
        attributes: Attributes<'_>,
        children: impl FnOnce(&mut Self),
    ) {
        self.open(tag, attributes);
        self.out.push('>');
        children(self);
        self.out.push_str("</");
        self.out.push_str(tag);
        self.out.push('>');
        if matches!(tag, "section" | "tr" | "table" | "svg" | "figure" | "li" | "dl" | "header" | "g") {
            self.out.push('\n');
        }
    }

    /// Writes an element that holds only text.
    pub(crate) fn leaf(&mut self, tag: &'static str, attributes: Attributes<'_>, text: &str) {
        self.element(tag, attributes, |out| out.text(text));
    }

    /// Writes an element without content (`img`, `meta`, `path`, `use`, …).
    pub(crate) fn void(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.open(tag, attributes);
        self.out.push_str("/>");
    }

    /// Writes escaped text.
    pub(crate) fn text(&mut self, text: &str) {
        escape::push_text(&mut self.out, text);
    }

    /// Writes escaped text in which what stands between two backticks is code. A text with an odd number of them is
    /// written as it is.
    pub(crate) fn text_with_code(&mut self, text: &str) {
        if text.matches('`').count() % 2 == 1 {
            return self.text(text);
        }
        for (number, part) in text.split('`').enumerate() {
            if number % 2 == 1 { self.leaf("code", &[], part) } else { self.text(part) }
        }
    }

    /// Writes text of the program itself, unescaped: style, script, fixed markup.
    pub(crate) fn fixed(&mut self, text: &'static str) {
        self.out.push_str(text);
    }

    /// Writes data for the script, as JSON that cannot end its element.
    pub(crate) fn json(&mut self, class: &'static str, value: &Value) {
        self.open("script", &[("type", "application/json"), ("class", class)]);
        self.out.push('>');
        escape::push_json(&mut self.out, value);
        self.out.push_str("</script>");
    }

    fn open(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.out.push('<');
        self.out.push_str(tag);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape::push_text(&mut self.out, value);
            self.out.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_and_attributes_cannot_open_or_close_anything() {
        let mut out = Markup::default();
        out.leaf("p", &[("title", "\"><script>alert('x')</script>")], "</p><img onerror=`&`>\u{0}");
        assert_eq!(
            out.finish(),
            "<p title=\"&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\">\
             &lt;/p&gt;&lt;img onerror=&#96;&amp;&#96;&gt;\u{fffd}</p>"
        );
    }

    #[test]
    fn names_between_backticks_are_code() {
        let written = |text: &str| {
            let mut out = Markup::default();
            out.text_with_code(text);
            out.finish()
        };
        assert_eq!(written("`a` beats `<b>`."), "<code>a</code> beats <code>&lt;b&gt;</code>.");
        assert_eq!(written("`a`"), "<code>a</code>");
        assert_eq!(written("one ` alone"), "one &#96; alone");
    }

    #[test]
    fn json_cannot_end_its_script_and_still_parses() {
        let value = json!({ "name": "</script><!--<script>\u{2028}&" });
        let mut out = Markup::default();
        out.json("data", &value);
        let page = out.finish();
        let body = page
            .strip_prefix("<script type=\"application/json\" class=\"data\">")
            .and_then(|rest| rest.strip_suffix("</script>"))
            .unwrap_or_default();
        assert!(!body.contains(['<', '>', '&', '\u{2028}']), "{body}");
        assert_eq!(serde_json::from_str::<Value>(body).ok(), Some(value));
    }

    #[test]
    fn elements_nest() {
        let mut out = Markup::default();
        out.element("g", &[], |out| out.void("path", &[("d", "M0 0")]));
        assert_eq!(out.finish(), "<g><path d=\"M0 0\"/></g>\n");
    }
}
