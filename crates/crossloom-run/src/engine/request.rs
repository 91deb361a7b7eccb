//! What is asked of an engine, and what it tells.

use serde::Serialize;

use super::{Prompt, Sampling};

/// A question to an engine.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is read.
    pub prompt: Prompt,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Texts that end the answer and are no part of it.
    pub stop: Vec<String>,
    /// The most tokens of the answer, its end included, without those that are given.
    pub max_new_tokens: usize,
    /// With every token its log-probability, and those of so many of the likeliest. They are of the model's own distribution, before
    /// penalties, temperature and what is left out.
    pub logprobs: Option<usize>,
    /// Tokens that the answer begins with, whatever the model would say: a continuation to be scored. They are read with the prompt, and
    /// told as others are.
    pub given: Vec<i32>,
    /// Whether the prompt's own tokens are told when it was read, visual ones left out; with log-probabilities where these are asked for.
    pub echo: bool,
    /// Whether the gates of this prompt are told.
    pub gates: bool,
}

impl Request {
    /// A greedy answer of at most so many tokens.
    pub fn new(prompt: Prompt, max_new_tokens: usize) -> Self {
        Self {
            prompt,
            sampling: Sampling::default(),
            stop: Vec::new(),
            max_new_tokens,
            logprobs: None,
            given: Vec::new(),
            echo: false,
            gates: false,
        }
    }
}

/// What is told of a request, in this order: one start, tokens, one end.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The prompt was read.
    Started {
        /// Its positions, pictures included.
        prompt_tokens: usize,
        /// The prompt's own tokens, where [`Request::echo`] asks for them. One that nothing stands in front of has no log-probability.
        prompt: Vec<Token>,
        /// The gate of every edge for this prompt, where that was asked for and the model has gates.
        gates: Option<Vec<GateValue>>,
    },
    /// One more token of the answer.
    Token(Token),
    /// The answer is there.
    Done {
        /// What was withheld, since it might have become a text that ends the answer, and did not.
        text: String,
        /// Why it ended.
        reason: Reason,
        /// The model's own end, where that ended it and log-probabilities are asked for.
        end: Option<Token>,
        /// What it took.
        usage: Usage,
    },
    /// Nothing more comes: what happened.
    Failed(String),
}

/// A token of an answer, or of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: i32,
    /// What may be shown now: whole characters, and nothing that may yet become a text that ends the answer. Often empty.
    pub text: String,
    /// Its natural log-probability, where that was asked for.
    pub logprob: Option<f32>,
    /// The likeliest tokens with theirs, from the best; as many as were asked for.
    pub top: Vec<(i32, f32)>,
}

/// A gate of an edge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateValue {
    /// Where in the vision tower, such as `block.7`.
    pub tap: String,
    /// Where in the language model, such as `layer.4`.
    pub point: String,
    /// How far it opened; a mean over channels where each has its own.
    pub value: f32,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// By the model's own end, or by a text of [`Request::stop`].
    Stop,
    /// At the most tokens.
    Length,
}

/// What a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Positions of the prompt, pictures included.
    pub prompt_tokens: usize,
    /// Tokens of the answer, its end included.
    pub completion_tokens: usize,
}
