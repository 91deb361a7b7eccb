//! Answers in the form that OpenAI's clients read: as a whole, or in pieces.

use std::time::{SystemTime, UNIX_EPOCH};

use crossloom_run::engine::{Client, GateValue, Reason, Token, Usage};
use serde_json::{Map, Value, json};

use crate::request::{Interface, Wanted};

/// What stands for the logarithm of nothing, which JSON cannot say.
const NO_LOGPROB: f32 = -9999.0;

/// The form of one response.
pub(crate) struct Form {
    by: Interface,
    id: String,
    created: u64,
    client: Client,
    logprobs: bool,
    /// Answers to each prompt.
    choices: usize,
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What a piece of an answer holds.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    /// Letters of the answer in front of it.
    pub(crate) offset: usize,
    pub(crate) gates: Option<Vec<GateValue>>,
    pub(crate) reason: Option<Reason>,
}

impl Piece {
    /// Adds tokens with their texts.
    pub(crate) fn add(&mut self, tokens: impl IntoIterator<Item = Token>) {
        for token in tokens {
            self.text.push_str(&token.text);
            self.tokens.push(token);
        }
    }
}

/// What all answers of a request took. A prompt is counted once, however many answers it has.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Spent {
    prompt: usize,
    completion: usize,
}

impl Spent {
    /// In OpenAI's names.
    fn told(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        })
    }
}

impl Form {
    pub(crate) fn new(by: Interface, wanted: &Wanted, client: Client) -> Self {
        let kind = match by {
            Interface::Chat => "chatcmpl",
            Interface::Completion => "cmpl",
        };
        Self {
            by,
            id: format!("{kind}-{:032x}", rand::random::<u128>()),
            created: now(),
            client,
            logprobs: wanted.logprobs.is_some(),
            choices: wanted.choices,
        }
    }

    /// Whether every token is told, also one without a text of its own.
    pub(crate) fn tells_tokens(&self) -> bool {
        self.logprobs
    }

    /// The model's own end, where it is told as a token: among those of a completion, whose number is that of its log-probabilities.
    pub(crate) fn told_end(&self, end: Option<Token>) -> Option<Token> {
        end.filter(|_| self.by == Interface::Completion)
    }

    /// Adds what an answer took.
    pub(crate) fn spend(&self, spent: &mut Spent, index: usize, usage: Usage) {
        if index.is_multiple_of(self.choices) {
            spent.prompt += usage.prompt_tokens;
        }
        spent.completion += usage.completion_tokens;
    }

    /// All answers at once.
    pub(crate) fn whole(&self, answers: Vec<Piece>, spent: Spent) -> Value {
        let choices = answers.into_iter().enumerate().map(|(index, answer)| {
            let (text, mut choice) = self.choice(index, answer);
            match self.by {
                Interface::Chat => {
                    let message = json!({ "role": "assistant", "content": text, "refusal": null });
                    choice.insert("message".to_owned(), message);
                }
                Interface::Completion => drop(choice.insert("text".to_owned(), text.into())),
            }
            Value::Object(choice)
        });
        let choices = choices.collect();
        let object = match self.by {
            Interface::Chat => "chat.completion",
            Interface::Completion => "text_completion",
        };
        let mut whole = self.envelope(object, choices);
        whole.insert("usage".to_owned(), spent.told());
        Value::Object(whole)
    }

    /// The next piece of one answer; a first one of a conversation names its role.
    pub(crate) fn chunk(&self, index: usize, first: bool, piece: Piece, with_usage: bool) -> Value {
        let (text, mut choice) = self.choice(index, piece);
        match self.by {
            Interface::Chat => {
                let mut delta = Map::new();
                if first {
                    delta.insert("role".to_owned(), "assistant".into());
                }
                if first || !text.is_empty() {
                    delta.insert("content".to_owned(), text.into());
                }
                choice.insert("delta".to_owned(), Value::Object(delta));
            }
            Interface::Completion => drop(choice.insert("text".to_owned(), text.into())),
        }
        let mut chunk = self.envelope(self.chunk_object(), vec![Value::Object(choice)]);
        if with_usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        Value::Object(chunk)
    }

    /// The last piece of a stream that tells what it took.
    pub(crate) fn usage(&self, spent: Spent) -> Value {
        let mut chunk = self.envelope(self.chunk_object(), Vec::new());
        chunk.insert("usage".to_owned(), spent.told());
        Value::Object(chunk)
    }

    fn chunk_object(&self) -> &'static str {
        match self.by {
            Interface::Chat => "chat.completion.chunk",
            Interface::Completion => "text_completion",
        }
    }

    fn envelope(&self, object: &str, choices: Vec<Value>) -> Map<String, Value> {
        let fields = [
            ("id", self.id.as_str().into()),
            ("object", object.into()),
            ("created", self.created.into()),
            ("model", self.client.card().name().into()),
            ("choices", Value::Array(choices)),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }

    /// The text, and what a choice has in both forms.
    fn choice(&self, index: usize, piece: Piece) -> (String, Map<String, Value>) {
        let logprobs = if self.logprobs && !piece.tokens.is_empty() {
            match self.by {
                Interface::Chat => self.chat_logprobs(&piece.tokens),
                Interface::Completion => self.completion_logprobs(&piece),
            }
        } else {
            Value::Null
        };
        let reason = piece.reason.map(|reason| match reason {
            Reason::Stop => "stop",
            Reason::Length => "length",
        });
        let fields = [("index", index.into()), ("logprobs", logprobs), ("finish_reason", reason.into())];
        let mut choice: Map<String, Value> =
            fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        if let Some(gates) = piece.gates {
            choice.insert("crossloom".to_owned(), json!({ "gates": gates }));
        }
        (piece.text, choice)
    }

    /// How a token is written, and its bytes where it is whole characters.
    fn spelled(&self, id: i32) -> (String, Option<Vec<u8>>) {
        let text = self.client.card().tokenizer().spelled(&[id]).unwrap_or_default();
        let bytes = (!text.contains(char::REPLACEMENT_CHARACTER)).then(|| text.as_bytes().to_vec());
        (text, bytes)
    }

    fn chat_logprobs(&self, tokens: &[Token]) -> Value {
        let told = |id: i32, logprob: f32| {
            let (token, bytes) = self.spelled(id);
            json!({ "token": token, "logprob": finite(logprob), "bytes": bytes })
        };
        let content = tokens.iter().map(|token| {
            let mut entry = told(token.id, token.logprob.unwrap_or(NO_LOGPROB));
            let top: Vec<Value> = token.top.iter().map(|&(id, logprob)| told(id, logprob)).collect();
            entry["top_logprobs"] = top.into();
            entry
        });
        json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
    }

    fn completion_logprobs(&self, piece: &Piece) -> Value {
        let (mut tokens, mut logprobs, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
        let mut offset = piece.offset;
        for token in &piece.tokens {
            tokens.push(self.spelled(token.id).0);
            let top = token.top.iter().map(|&(id, logprob)| (self.spelled(id).0, finite(logprob).into()));
            let top = top.collect::<Map<String, Value>>();
            // A token that nothing stands in front of has none.
            logprobs.push(token.logprob.map_or(Value::Null, |logprob| finite(logprob).into()));
            tops.push(token.logprob.map_or(Value::Null, |_| top.into()));
            offsets.push(offset);
            offset += token.text.chars().count();
        }
        json!({ "tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets })
    }
}

/// A number that JSON can say.
fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { NO_LOGPROB }
}
