//! What a request says besides what is to be answered: OpenAI's fields, and those that local servers add to them.

use std::fmt;

use crossloom_run::engine::Sampling;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::json::{Asks, AtMost, OneOrMore, Text};
use crate::error::Problem;
use crate::settings::Limits;

/// The most texts that may end an answer, and the most bytes of one.
const STOPS: usize = 16;
const STOP_BYTES: usize = 256;

/// The most likely tokens that are told with one, as OpenAI has it.
const TOP_LOGPROBS: usize = 20;

/// The fields, as they stand in the body. What OpenAI has and a local model has no use for (`user`, `store`, `metadata`) is
/// passed over as unknown fields are.
#[expect(clippy::struct_field_names, reason = "they are as OpenAI names them")]
#[derive(Debug, Deserialize)]
pub(crate) struct Options<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    n: Option<usize>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    seed: Option<i64>,
    stop: Option<OneOrMore<'a, STOPS>>,
    logprobs: Option<Logprobs>,
    top_logprobs: Option<usize>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    response_format: Option<Format<'a>>,
    modalities: Option<AtMost<Text<'a>, 8>>,
    best_of: Option<usize>,
    echo: Option<bool>,
    #[serde(default)]
    suffix: Asks,
    #[serde(default)]
    tools: Asks,
    #[serde(default)]
    functions: Asks,
    #[serde(default)]
    logit_bias: Asks,
    #[serde(default)]
    audio: Asks,
    crossloom: Option<Extension>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Format<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
}

/// What is crossloom's own.
#[derive(Debug, Deserialize)]
struct Extension {
    gates: Option<bool>,
}

/// A flag of conversations, a number of completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logprobs {
    Told(bool),
    Top(u64),
}

struct LogprobsVisitor;

impl Visitor<'_> for LogprobsVisitor {
    type Value = Logprobs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false or a number from 0")
    }

    fn visit_bool<E: Error>(self, told: bool) -> Result<Logprobs, E> {
        Ok(Logprobs::Told(told))
    }

    fn visit_u64<E: Error>(self, top: u64) -> Result<Logprobs, E> {
        Ok(Logprobs::Top(top))
    }
}

impl<'de> Deserialize<'de> for Logprobs {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        given.deserialize_any(LogprobsVisitor)
    }
}

/// Which of the two interfaces a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

/// How a request is answered.
#[expect(clippy::struct_excessive_bools, reason = "independent fields of a request")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// The model that it names; none where that is missing, which is a problem.
    pub(crate) model: Option<String>,
    /// Answers to each prompt; the seed of the next one is one more.
    pub(crate) choices: usize,
    /// The most tokens of an answer, where the request says so.
    pub(crate) tokens: Option<usize>,
    /// The field that says so.
    pub(crate) tokens_field: &'static str,
    /// How tokens are drawn; the seed is a random one where none was given.
    pub(crate) sampling: Sampling,
    /// Texts that end an answer.
    pub(crate) stop: Vec<String>,
    /// Log-probabilities of an answer's tokens, and of so many of the likeliest.
    pub(crate) logprobs: Option<usize>,
    /// Whether the answer is told while it is made.
    pub(crate) stream: bool,
    /// Whether a stream ends with what it took.
    pub(crate) include_usage: bool,
    /// Whether the gates are told.
    pub(crate) gates: bool,
    /// Whether an answer begins with its prompt.
    pub(crate) echo: bool,
}

impl Options<'_> {
    /// What is wanted. All that is wrong is added to `problems`.
    pub(crate) fn wanted(mut self, by: Interface, limits: &Limits, problems: &mut Vec<Problem>) -> Wanted {
        self.refuse_unsupported(by, problems);
        let mut wrong = |param: &str, message: String| problems.push(Problem::new(param, message));
        if self.model.is_none() {
            wrong("model", "missing; /v1/models lists what there is".to_owned());
        }
        let choices = self.n.unwrap_or(1);
        if choices == 0 || choices > limits.choices {
            wrong("n", format!("{choices} answers are asked for; from 1 to {} can be", limits.choices));
        }
        let (tokens_field, tokens) = match (self.max_completion_tokens, self.max_tokens) {
            (Some(tokens), _) => ("max_completion_tokens", Some(tokens)),
            (None, tokens) => ("max_tokens", tokens),
        };
        let echo = by == Interface::Completion && self.echo == Some(true);
        // A prompt that is told may be all of an answer.
        let least = usize::from(!echo);
        if let Some(tokens) = tokens
            && (tokens < least || tokens > limits.tokens)
        {
            wrong(
                tokens_field,
                format!("{tokens} tokens are asked for; an answer has from {least} to {}", limits.tokens),
            );
        }
        let stop: Vec<String> = self
            .stop
            .take()
            .map_or_else(Vec::new, |stop| stop.0.into_iter().map(|text| text.0.into_owned()).collect());
        for (i, text) in stop.iter().enumerate() {
            if text.is_empty() || text.len() > STOP_BYTES {
                let found = text.len();
                wrong(
                    &format!("stop[{i}]"),
                    format!("a text of {found} bytes; from 1 to {STOP_BYTES} can be"),
                );
            }
        }
        let stream = self.stream.unwrap_or(false);
        if self.stream_options.is_some() && !stream {
            wrong("stream_options", "it is for streams; `stream` is not true".to_owned());
        }
        let sampling = self.sampling(problems);
        Wanted {
            logprobs: self.logprobs(by, problems),
            model: self.model.map(|model| model.0.into_owned()),
            choices,
            tokens,
            tokens_field,
            sampling,
            stop,
            stream,
            include_usage: self.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
            gates: self.crossloom.and_then(|extension| extension.gates).unwrap_or(false),
            echo,
        }
    }

    fn refuse_unsupported(&self, by: Interface, problems: &mut Vec<Problem>) {
        let mut refuse = |param: &str, asked: bool, why: &str| {
            if asked {
                problems.push(Problem::new(param, why));
            }
        };
        refuse("tools", self.tools.0, "the models that are served call no tools");
        refuse("functions", self.functions.0, "the models that are served call no functions");
        refuse("logit_bias", self.logit_bias.0, "logits are not changed by hand here");
        refuse("audio", self.audio.0, "answers are texts");
        refuse("suffix", self.suffix.0, "nothing is written in front of a suffix here");
        let echo = by == Interface::Chat && self.echo == Some(true);
        refuse("echo", echo, "a conversation is not part of its answer; /v1/completions tells a prompt");
        let format = self.response_format.as_ref().is_some_and(|format| &*format.r#type != "text");
        refuse("response_format", format, "answers are plain text; the type `text` is known");
        let other =
            self.modalities.as_ref().is_some_and(|all| all.0.iter().any(|modality| &**modality != "text"));
        refuse("modalities", other, "answers are texts; `text` is known");
        let best =
            by == Interface::Completion && self.best_of.is_some_and(|best| best != self.n.unwrap_or(1));
        refuse("best_of", best, "no answers are thrown away; it must be as `n`");
    }

    /// How tokens are drawn. A temperature that is not given is 1, as it is of OpenAI's models.
    fn sampling(&self, problems: &mut Vec<Problem>) -> Sampling {
        let top_k = match self.top_k {
            // Other servers' word for all.
            None | Some(-1) => 0,
            Some(count) => usize::try_from(count).unwrap_or_else(|_| {
                problems.push(Problem::new(
                    "top_k",
                    format!("{count} tokens; a count, or -1 for all, is needed"),
                ));
                0
            }),
        };
        let default = Sampling::default();
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(default.top_p),
            top_k,
            min_p: self.min_p.unwrap_or(default.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(default.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(default.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(default.frequency_penalty),
            seed: self.seed.map_or_else(rand::random, i64::cast_unsigned),
        };
        if let Err(bad) = sampling.check() {
            problems.push(Problem::new(bad.field, bad.to_string()));
        }
        sampling
    }

    /// How many of the likeliest tokens are told with each, where any.
    fn logprobs(&self, by: Interface, problems: &mut Vec<Problem>) -> Option<usize> {
        let mut wrong = |param: &str, message: String| problems.push(Problem::new(param, message));
        let top = match (by, self.logprobs, self.top_logprobs) {
            (Interface::Chat, Some(Logprobs::Told(true)), top) => Some(("top_logprobs", top.unwrap_or(0))),
            (Interface::Chat, Some(Logprobs::Top(_)), _) => {
                wrong(
                    "logprobs",
                    "a number; true or false is needed, and `top_logprobs` for the number".to_owned(),
                );
                None
            }
            (Interface::Chat, _, Some(1..)) => {
                wrong("top_logprobs", "it needs `logprobs`, which is not true".to_owned());
                None
            }
            (Interface::Completion, Some(Logprobs::Told(told)), _) => {
                if told {
                    wrong("logprobs", "true; the number of the likeliest tokens is needed".to_owned());
                }
                None
            }
            (Interface::Completion, Some(Logprobs::Top(top)), _) => {
                Some(("logprobs", usize::try_from(top).unwrap_or(usize::MAX)))
            }
            (Interface::Chat, _, _) | (Interface::Completion, None, _) => None,
        };
        let (field, top) = top?;
        if top > TOP_LOGPROBS {
            wrong(field, format!("{top} tokens are asked for; at most {TOP_LOGPROBS} are told"));
        }
        Some(top)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::json::read;
    use super::*;

    fn wanted(by: Interface, fields: &str) -> (Wanted, Vec<String>) {
        let body = format!(r#"{{"model":"m"{fields}}}"#);
        let mut problems = Vec::new();
        let wanted =
            read::<Options<'_>>(body.as_bytes()).unwrap().wanted(by, &Limits::default(), &mut problems);
        (wanted, problems.into_iter().map(|problem| problem.param).collect())
    }

    #[test]
    fn fields_are_taken_as_openai_and_local_servers_have_them() {
        let (wanted, problems) = wanted(
            Interface::Chat,
            r#","n":2,"max_tokens":5,"max_completion_tokens":7,"temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,
            "repetition_penalty":1.1,"presence_penalty":0.2,"frequency_penalty":-0.3,"seed":-1,"stop":"\n","logprobs":true,
            "top_logprobs":3,"stream":true,"stream_options":{"include_usage":true},"crossloom":{"gates":true},
            "tools":[],"tool_choice":"none","logit_bias":{},"response_format":{"type":"text"},"modalities":["text"],
            "user":"someone","store":false,"metadata":{"a":[1]}"#,
        );
        assert_eq!(problems, [""; 0]);
        let sampling = Sampling {
            temperature: 0.5,
            top_p: 0.9,
            top_k: 40,
            min_p: 0.1,
            repetition_penalty: 1.1,
            presence_penalty: 0.2,
            frequency_penalty: -0.3,
            seed: u64::MAX,
        };
        let expected = Wanted {
            model: Some("m".to_owned()),
            choices: 2,
            tokens: Some(7),
            tokens_field: "max_completion_tokens",
            sampling,
            stop: vec!["\n".to_owned()],
            logprobs: Some(3),
            stream: true,
            include_usage: true,
            gates: true,
            echo: false,
        };
        assert_eq!(wanted, expected);
    }

    #[test]
    fn nothing_said_is_openais_default_and_a_seed_of_its_own() {
        let (first, problems) =
            wanted(Interface::Completion, r#","stop":null,"n":null,"logprobs":null,"seed":null"#);
        assert_eq!(problems, [""; 0]);
        assert_eq!((first.choices, first.tokens, first.logprobs), (1, None, None));
        assert_eq!((first.sampling.temperature, first.sampling.top_p, first.stream), (1.0, 1.0, false));
        assert_ne!(first.sampling.seed, wanted(Interface::Completion, "").0.sampling.seed);
    }

    #[test]
    fn a_prompt_that_is_told_may_be_all_of_an_answer() {
        let (told, problems) =
            wanted(Interface::Completion, r#","echo":true,"max_tokens":0,"best_of":1,"suffix":null"#);
        assert_eq!((told.echo, told.tokens, problems), (true, Some(0), Vec::new()));
        assert!(!wanted(Interface::Completion, r#","echo":null"#).0.echo);
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_name() {
        use Interface::{Chat, Completion};
        let cases = [
            (Chat, r#""n":0"#, "n"),
            (Chat, r#""n":1000000"#, "n"),
            (Chat, r#""max_tokens":0"#, "max_tokens"),
            (Chat, r#""max_completion_tokens":1000000"#, "max_completion_tokens"),
            (Chat, r#""temperature":-0.1"#, "temperature"),
            (Chat, r#""top_p":0"#, "top_p"),
            (Chat, r#""top_k":-2"#, "top_k"),
            (Chat, r#""min_p":1.5"#, "min_p"),
            (Chat, r#""repetition_penalty":0"#, "repetition_penalty"),
            (Chat, r#""stop":["a",""]"#, "stop[1]"),
            (Chat, r#""stream_options":{}"#, "stream_options"),
            (Chat, r#""logprobs":3"#, "logprobs"),
            (Chat, r#""top_logprobs":3"#, "top_logprobs"),
            (Chat, r#""logprobs":true,"top_logprobs":21"#, "top_logprobs"),
            (Completion, r#""logprobs":true"#, "logprobs"),
            (Completion, r#""logprobs":21"#, "logprobs"),
            (Completion, r#""best_of":2"#, "best_of"),
            (Completion, r#""suffix":"a""#, "suffix"),
            (Completion, r#""max_tokens":0"#, "max_tokens"),
            (Chat, r#""echo":true"#, "echo"),
            (Chat, r#""max_tokens":0,"echo":false"#, "max_tokens"),
            (Chat, r#""tools":[{}]"#, "tools"),
            (Chat, r#""functions":[{}]"#, "functions"),
            (Chat, r#""logit_bias":{"1":2}"#, "logit_bias"),
            (Chat, r#""response_format":{"type":"json_object"}"#, "response_format"),
            (Chat, r#""modalities":["text","audio"]"#, "modalities"),
        ];
        for (by, field, name) in cases {
            assert_eq!(wanted(by, &format!(",{field}")).1, [name], "{field}");
        }
        let (_, all) = wanted(Chat, r#","n":0,"top_p":2,"tools":[1],"stop":"""#);
        assert_eq!(all, ["tools", "n", "stop[0]", "top_p"]);
    }

    #[test]
    fn a_field_of_another_type_is_named() {
        let cases = [
            (r#""temperature":"hot""#, "temperature"),
            (r#""temperature":NaN"#, "temperature"),
            (r#""temperature":1e39"#, "temperature"),
            (r#""n":1.5"#, "n"),
            (r#""max_tokens":-1"#, "max_tokens"),
            (r#""stream":"yes""#, "stream"),
            (r#""stop":7"#, "stop"),
            (r#""echo":1"#, "echo"),
            (r#""logprobs":[]"#, "logprobs"),
            (r#""crossloom":{"gates":1}"#, "crossloom.gates"),
        ];
        for (field, name) in cases {
            let told = read::<Options<'_>>(format!(r#"{{"model":"m",{field}}}"#).as_bytes()).unwrap_err();
            assert_eq!(told.param, name, "{told:?}");
        }
        let stops = format!(r#"{{"model":"m","stop":[{}]}}"#, vec!["\"a\""; 1_000_000].join(","));
        let told = read::<Options<'_>>(stops.as_bytes()).unwrap_err();
        assert!(told.param == "stop" && told.message.contains("more than 16"), "{told:?}");
    }
}
