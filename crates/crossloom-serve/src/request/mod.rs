//! From the bytes of a body to what an engine is asked.

mod content;
mod json;
mod options;
mod picture;
mod prompt;

use crossloom_data::chat::Message;
use crossloom_data::image::Image;
use crossloom_run::engine::{BadSampling, Card, Prompt, PromptError, Refused, Request};
use serde::Deserialize;

pub(crate) use options::{Interface, Wanted};

use crate::error::{ApiError, Problem};
use crate::settings::Limits;
use content::Conversation;
use json::read;
use options::Options;
use picture::PictureUrl;
use prompt::{Prompts, Written};

/// A request that was read.
#[derive(Debug)]
pub(crate) struct Asked {
    /// How it is answered.
    pub(crate) wanted: Wanted,
    /// What an engine is asked: one request for every answer, in the order of their indices.
    pub(crate) requests: Vec<Request>,
}

/// What a completion goes on from.
#[derive(Debug, Deserialize)]
struct Completion<'a> {
    #[serde(borrow, default)]
    prompt: Prompts<'a>,
}

/// What is to be answered.
enum Said<'a> {
    Conversation(Vec<Message>, Vec<PictureUrl<'a>>),
    Prompts(Vec<Written<'a>>),
}

impl Said<'_> {
    /// The field that it stands in.
    fn field(&self) -> &'static str {
        match self {
            Self::Conversation(..) => "messages",
            Self::Prompts(_) => "prompt",
        }
    }

    fn prompts(&self) -> usize {
        match self {
            Self::Conversation(..) => 1,
            Self::Prompts(prompts) => prompts.len(),
        }
    }
}

/// Reads a body: JSON, then pictures, template and tokens, which may take a while.
///
/// # Errors
/// All that is wrong with the fields; else all that is wrong with the pictures; else why the model cannot read the prompt.
pub(crate) fn asked(by: Interface, body: &[u8], card: &Card, limits: &Limits) -> Result<Asked, ApiError> {
    let mut problems = Vec::new();
    let options = noted(read::<Options<'_>>(body), &mut problems);
    let wanted = options.map(|options| options.wanted(by, limits, &mut problems));
    if let Some(Wanted { model: Some(model), .. }) = &wanted
        && model != card.name()
    {
        return Err(ApiError::Model(model.clone()));
    }
    let said = said(by, body, &mut problems);
    // What is no JSON is so for both readers.
    problems.dedup();
    let (Some(wanted), Some(said)) = (wanted, said) else { return Err(ApiError::Invalid(problems)) };
    if !problems.is_empty() {
        return Err(ApiError::Invalid(problems));
    }
    let prompts = said.prompts();
    let answers = prompts.saturating_mul(wanted.choices);
    if answers > limits.choices {
        let most = limits.choices;
        let told =
            format!("{prompts} prompts with {} answers each are {answers}; {most} can be", wanted.choices);
        return Err(ApiError::invalid("n", told));
    }
    let field = said.field();
    let prompts = read_by(card, said, limits)?;
    let mut requests = Vec::with_capacity(answers);
    for prompt in prompts {
        for choice in 0..wanted.choices {
            requests.push(request(&wanted, prompt.clone(), choice, card, limits, field)?);
        }
    }
    Ok(Asked { wanted, requests })
}

/// The value, or its problem among the others.
fn noted<T>(read: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    read.map_err(|problem| problems.push(problem)).ok()
}

fn said<'a>(by: Interface, body: &'a [u8], problems: &mut Vec<Problem>) -> Option<Said<'a>> {
    match by {
        Interface::Chat => {
            let conversation = noted(read::<Conversation<'_>>(body), problems)?;
            let (messages, pictures) = conversation.taken(problems);
            Some(Said::Conversation(messages, pictures))
        }
        Interface::Completion => {
            let completion = noted(read::<Completion<'_>>(body), problems)?;
            if completion.prompt.0.is_empty() {
                problems.push(Problem::new("prompt", "missing or empty; there is nothing to go on from"));
            }
            Some(Said::Prompts(completion.prompt.0))
        }
    }
}

/// What is said, in the model's own tokens.
fn read_by(card: &Card, said: Said<'_>, limits: &Limits) -> Result<Vec<Prompt>, ApiError> {
    let field = said.field();
    let refused = |error: PromptError| ApiError::invalid(field, error.to_string());
    match said {
        Said::Prompts(prompts) => {
            let read = prompts.iter().map(|prompt| match prompt {
                Written::Text(text) => card.text(text, Vec::new()),
                Written::Tokens(ids) => card.ids(ids, Vec::new()),
            });
            read.map(|prompt| prompt.map_err(refused)).collect()
        }
        Said::Conversation(messages, urls) => {
            let pictures = pictures(&urls, card, limits)?;
            let refused = |error: PromptError| {
                let of_picture = matches!(error, PromptError::Image(_) | PromptError::Pictures { .. });
                let place = urls.first().filter(|_| of_picture).map_or(field, |first| first.param.as_str());
                ApiError::invalid(place, error.to_string())
            };
            Ok(vec![card.chat(&messages, pictures).map_err(refused)?])
        }
    }
}

/// The pictures, decoded. Their number is judged first.
fn pictures(urls: &[PictureUrl<'_>], card: &Card, limits: &Limits) -> Result<Vec<Image>, ApiError> {
    let (_, most) = card.pictures();
    if let Some(first) = urls.first()
        && !card.has_vision()
    {
        let told = format!("the model {:?} sees no pictures", card.name());
        return Err(ApiError::invalid(&first.param, told));
    }
    if let Some(over) = urls.get(most) {
        let told = format!("picture {} of {}; a request has at most {most}", most + 1, urls.len());
        return Err(ApiError::invalid(&over.param, told));
    }
    let (mut decoded, mut problems) = (Vec::with_capacity(urls.len()), Vec::new());
    for url in urls {
        match url.decode(limits.pixels) {
            Ok(image) => decoded.push(image),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(decoded) } else { Err(ApiError::Invalid(problems)) }
}

/// What the engine is asked for one answer. Without a length of its own an answer may take what its prompt leaves.
fn request(
    wanted: &Wanted,
    prompt: Prompt,
    choice: usize,
    card: &Card,
    limits: &Limits,
    field: &'static str,
) -> Result<Request, ApiError> {
    // The last token of an answer is never read, so it needs no position.
    let room = (card.positions() + 1).saturating_sub(prompt.positions());
    let tokens = wanted.tokens.unwrap_or(limits.tokens.min(room));
    if tokens > room || room == 0 {
        let (has, takes) = (card.positions(), prompt.positions());
        let (param, asked) = match wanted.tokens {
            Some(tokens) if room > 0 => {
                (wanted.tokens_field, format!(", and the answer may have {tokens} tokens"))
            }
            _ => (field, String::new()),
        };
        let message = format!("the model reads {has} positions; the prompt takes {takes} of them{asked}");
        return Err(ApiError::TooLong(Problem::new(param, message)));
    }
    let mut request = Request::new(prompt, tokens);
    request.sampling = wanted.sampling;
    request.sampling.seed = wanted.sampling.seed.wrapping_add(choice as u64);
    request.stop.clone_from(&wanted.stop);
    request.logprobs = wanted.logprobs;
    request.gates = wanted.gates;
    request.echo = wanted.echo;
    Ok(request)
}

/// Why the engine does not take a request that was read.
pub(crate) fn refused(refused: &Refused, by: Interface) -> ApiError {
    let field = match by {
        Interface::Chat => "messages",
        Interface::Completion => "prompt",
    };
    let message = refused.to_string();
    match refused {
        Refused::Full { .. } => ApiError::Full("the queue is full"),
        Refused::Closed => ApiError::Stopping,
        Refused::TooLong { .. } => ApiError::TooLong(Problem::new(field, message)),
        Refused::Sampling(BadSampling { field, .. }) => ApiError::invalid(*field, message),
        Refused::Stop(_) => ApiError::invalid("stop", message),
        Refused::Logprobs { .. } => ApiError::invalid("logprobs", message),
        Refused::Pictures { .. }
        | Refused::Stretch { .. }
        | Refused::Vocabulary { .. }
        | Refused::Apart { .. }
        | Refused::Empty(_) => ApiError::invalid(field, message),
    }
}
