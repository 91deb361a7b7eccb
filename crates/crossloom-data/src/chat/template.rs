//! A model's chat template, in Jinja as transformers runs it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};
use serde_json::json;

use super::{ChatError, Message, Part, python};

/// The only template of an environment.
const NAME: &str = "chat template";
/// A text that no template has, to see what becomes of it.
const PROBE: &str = "crossloom-probe";

/// What a template may use. A template is a program of somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateLimits {
    /// Bytes of the template (default 1 MiB).
    pub source: usize,
    /// Instructions, and 64 bytes of made text each (default 4 million): this bounds time and memory.
    pub fuel: u64,
    /// Calls within calls (default 100).
    pub depth: usize,
    /// Bytes of a conversation that is written (default 4 MiB).
    pub output: usize,
}

impl Default for TemplateLimits {
    fn default() -> Self {
        Self { source: 1 << 20, fuel: 4_000_000, depth: 100, output: 4 << 20 }
    }
}

/// How a template reads the content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// As a list of parts.
    Parts,
    /// As one text, in which a picture is its token.
    Text,
}

/// A chat template with the special tokens that it names (`bos_token` and others). It sees nothing but messages and these: no file, no
/// clock (`strftime_now` is not defined), no environment.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    tokens: BTreeMap<String, String>,
    limits: TemplateLimits,
    content: Content,
    image_token: Option<String>,
}

impl ChatTemplate {
    /// Reads a template. `tokens` are the texts of special tokens by the names that a template has for them; `image_token` is what
    /// stands for a picture where the template reads texts alone, and none where the model sees none.
    ///
    /// # Errors
    /// The template is no Jinja, or too long.
    pub fn new(
        source: &str,
        tokens: BTreeMap<String, String>,
        image_token: Option<String>,
        limits: TemplateLimits,
    ) -> Result<Self, ChatError> {
        if source.len() > limits.source {
            let reason = format!("it has {} bytes; the limit is {}", source.len(), limits.source);
            return Err(ChatError::Syntax { reason });
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| ChatError::Syntax { reason: error.to_string() })?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(python::write);
        environment.set_fuel(Some(limits.fuel));
        environment.set_recursion_limit(limits.depth);
        environment.add_filter("tojson", python::to_json);
        environment.add_function("raise_exception", python::raise);
        let source = python::without_generation_marks(source);
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| ChatError::Syntax { reason: error.to_string() })?;
        let mut made = Self { environment, tokens, limits, content: Content::Text, image_token };
        made.content = made.probed();
        Ok(made)
    }

    /// Whether a list of parts is read as such is seen by what becomes of one.
    fn probed(&self) -> Content {
        let parts = json!([{ "role": "user", "content": [{ "type": "text", "text": PROBE }] }]);
        match self.written(&parts, false) {
            // A list that is printed has its marks around the text.
            Ok(text) if text.contains(PROBE) && !text.contains("'type'") && !text.contains("\"type\"") => {
                Content::Parts
            }
            _ => Content::Text,
        }
    }

    /// The text of a conversation; with what an answer begins with where one is asked for.
    ///
    /// # Errors
    /// A template that fails or refuses the conversation, or meets a limit; pictures where it has no place for them.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String, ChatError> {
        let messages: Vec<serde_json::Value> =
            messages.iter().map(|message| self.told(message)).collect::<Result<_, _>>()?;
        self.written(&serde_json::Value::Array(messages), answer)
    }

    fn told(&self, message: &Message) -> Result<serde_json::Value, ChatError> {
        let Message { role, content } = message;
        if self.content == Content::Parts {
            return Ok(json!({ "role": role, "content": content }));
        }
        let pictures = message.pictures();
        let mut text = String::new();
        for part in content {
            match (part, &self.image_token) {
                (Part::Text { text: words }, _) => text.push_str(words),
                (Part::Image {}, Some(token)) => {
                    text.push_str(token);
                    text.push('\n');
                }
                (Part::Image {}, None) => return Err(ChatError::NoPlace { pictures }),
            }
        }
        Ok(json!({ "role": role, "content": text }))
    }

    /// Messages as they are, in JSON.
    fn written(&self, messages: &serde_json::Value, answer: bool) -> Result<String, ChatError> {
        let TemplateLimits { output, .. } = self.limits;
        let mut text = Bounded { bytes: Vec::new(), most: output, over: false };
        let values = context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => answer,
            ..Value::from(Serde(&self.tokens))
        };
        let template = self.environment.get_template(NAME);
        let done = template.and_then(|template| template.render_captured_to(values, &mut text).map(|_| ()));
        match done {
            _ if text.over => Err(ChatError::Limit { what: format!("wrote more than {output} bytes") }),
            Err(error) => Err(self.failed(&error)),
            Ok(()) => {
                String::from_utf8(text.bytes).map_err(|error| ChatError::Render { reason: error.to_string() })
            }
        }
    }

    fn failed(&self, error: &Error) -> ChatError {
        let TemplateLimits { fuel, depth, .. } = self.limits;
        let text = error.to_string();
        if error.kind() == ErrorKind::OutOfFuel {
            return ChatError::Limit { what: format!("computes more than {fuel} steps") };
        }
        if text.contains("recursion limit") {
            return ChatError::Limit { what: format!("calls itself more than {depth} deep") };
        }
        ChatError::Render { reason: text }
    }
}

/// Text of which only so much is kept; more is an error of writing.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
    over: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            self.over = true;
            return Err(io::Error::other("too much"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
