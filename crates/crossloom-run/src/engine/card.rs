//! What a model reads, for those who ask it: templates, tokens and pictures are made on their threads.

use std::sync::Arc;

use crossloom_data::chat::{ChatError, Message, Part, expand_images};
use crossloom_data::conversations::{Conversation, ConversationError, PictureReader, Room, Shown};
use crossloom_data::image::{Image, ImageError, VisualLayout};
use crossloom_data::tokenizer::{PICTURE, QuestionTokenizer, TokenizerError};

use super::{Refused, Request};
use crate::ExperimentError;

/// The most log-probabilities that are told with a token.
pub(super) const MOST_LOGPROBS: usize = 256;
/// The most texts that may end an answer.
const MOST_STOPS: usize = 64;

/// How pictures become visual tokens.
#[derive(Debug)]
pub(super) enum Eyes {
    /// It was trained with the picture withheld: prompts show none, and a place of so many visual tokens is left blank in all of them.
    Withheld {
        /// Visual tokens in the sequence.
        positions: usize,
    },
    /// Every prompt is about one whole picture, of so many visual tokens in the sequence.
    One {
        /// What becomes of it.
        reader: PictureReader,
        /// Visual tokens in the sequence.
        positions: usize,
    },
    /// Prompts show as many as their views have room.
    Counted(PictureReader),
}

/// What a model reads and is.
#[derive(Debug)]
pub struct Card {
    pub(super) name: String,
    pub(super) positions: usize,
    pub(super) max_new_tokens: usize,
    pub(super) eyes: Eyes,
    /// The most views and visual tokens of a prompt.
    pub(super) room: Room,
    /// How many views batches of prompts have room for, from the fewest; none where they are not counted.
    pub(super) views: Vec<Option<usize>>,
    /// The most pictures, where they are counted.
    pub(super) pictures: usize,
    /// Rows of the embedding.
    pub(super) vocabulary: usize,
    pub(super) tokenizer: QuestionTokenizer,
    pub(super) edges: Vec<(String, String)>,
    /// Whether something is computed of a question's text alone.
    pub(super) conditioned: bool,
    /// How many requests may share a slot.
    pub(super) together: usize,
    /// The most positions from the first visual token of a prompt to its last, where all are read at once since a gate pools them.
    pub(super) stretch: Option<usize>,
}

/// What something is computed of besides the prompt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Question {
    /// The question's text.
    Text(String),
    /// Its vector, which is known already.
    Vector(Arc<[f32]>),
}

/// A prompt in a model's own tokens, with its pictures as its encoder sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    pub(super) conversation: Arc<Conversation>,
    /// The question, where something is computed of it.
    pub(super) question: Option<Question>,
}

impl Prompt {
    /// One that is laid out already.
    pub(crate) fn of(conversation: Conversation, question: Option<Question>) -> Self {
        Self { conversation: Arc::new(conversation), question }
    }

    /// Positions that it takes, pictures included.
    pub fn positions(&self) -> usize {
        self.conversation.tokens.len()
    }

    /// How many pictures it shows.
    pub fn pictures(&self) -> usize {
        self.conversation.pictures.len()
    }

    /// Its tokens, the model's own token at every visual token.
    pub fn tokens(&self) -> &[i32] {
        &self.conversation.tokens
    }
}

/// Why no prompt can be made. All are mistakes of who asks.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The model sees no pictures.
    #[error("the model sees no pictures, and {pictures} are given")]
    NoVision {
        /// How many.
        pictures: usize,
    },
    /// Another number of pictures than the model reads.
    #[error("{given} pictures are given; the model reads {least} at least and {most} at most")]
    Pictures {
        /// How many.
        given: usize,
        /// The fewest.
        least: usize,
        /// The most.
        most: usize,
    },
    /// Messages show other pictures than are given.
    #[error("the messages show {places} pictures, and {given} are given")]
    Places {
        /// Places in the messages.
        places: usize,
        /// Pictures.
        given: usize,
    },
    /// A conversation that the model cannot read.
    #[error("{0}")]
    Conversation(&'static str),
    /// A token that no row of the embedding has.
    #[error("token {id} is outside the vocabulary of {size}")]
    Vocabulary {
        /// The token.
        id: i32,
        /// How many there are.
        size: usize,
    },
    /// There is no question.
    #[error("a question is blank, and has no answer")]
    Blank,
    /// The chat template refuses it.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A text has no tokens in the model's vocabulary.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A picture cannot be brought to what the encoder reads.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A conversation cannot be laid out.
    #[error(transparent)]
    Layout(#[from] ConversationError),
}

impl From<PromptError> for ExperimentError {
    fn from(error: PromptError) -> Self {
        match error {
            PromptError::Chat(error) => error.into(),
            PromptError::Tokenizer(error) => error.into(),
            PromptError::Image(error) => error.into(),
            PromptError::Layout(error) => error.into(),
            PromptError::NoVision { .. } => Self::request(error.to_string(), "ask without a picture"),
            PromptError::Pictures { .. } | PromptError::Places { .. } => Self::request(
                error.to_string(),
                "give as many pictures as the model and the messages have places for",
            ),
            PromptError::Vocabulary { .. } => Self::request(error.to_string(), "give tokens of this model"),
            PromptError::Conversation(_) | PromptError::Blank => {
                Self::request(error.to_string(), "ask one question")
            }
        }
    }
}

impl Card {
    /// What the model is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last part of its name: that of the variant, where it is one of a recipe's.
    pub fn variant(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// Positions of a slot: prompt, pictures and answer together.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// How long an answer is by default.
    pub fn max_new_tokens(&self) -> usize {
        self.max_new_tokens
    }

    /// The fewest and the most pictures of a prompt.
    pub fn pictures(&self) -> (usize, usize) {
        match self.eyes {
            Eyes::Withheld { .. } => (0, 0),
            Eyes::One { .. } => (1, 1),
            Eyes::Counted(_) => (0, self.pictures),
        }
    }

    /// Whether the model reads conversations; others read one question at a time.
    pub fn converses(&self) -> bool {
        matches!(self.tokenizer, QuestionTokenizer::Chat(_))
    }

    /// Whether the model sees pictures.
    pub fn has_vision(&self) -> bool {
        !matches!(self.eyes, Eyes::Withheld { .. })
    }

    /// How many different tokens there are.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// What texts are cut by.
    pub fn tokenizer(&self) -> &QuestionTokenizer {
        &self.tokenizer
    }

    /// The edges with a gate, as tap and point, in the order of the topology.
    pub fn gated_edges(&self) -> &[(String, String)] {
        &self.edges
    }

    /// A conversation up to where the model goes on, with its pictures in the order in which its messages show them.
    ///
    /// # Errors
    /// What the template, the tokenizer or the picture processor refuses; pictures that do not agree with the messages or the model.
    pub fn chat(&self, messages: &[Message], pictures: Vec<Image>) -> Result<Prompt, PromptError> {
        let places: usize = messages.iter().map(Message::pictures).sum();
        if places != pictures.len() {
            return Err(PromptError::Places { places, given: pictures.len() });
        }
        self.counts(pictures.len())?;
        let asked = messages.last().map(words).unwrap_or_default();
        if asked.trim().is_empty() {
            return Err(PromptError::Blank);
        }
        let ids = match &self.tokenizer {
            QuestionTokenizer::Chat(chat) if self.has_vision() => chat.prompt(messages)?,
            QuestionTokenizer::Chat(chat) => chat.prompt(&with_blank(messages))?,
            QuestionTokenizer::Words(words) => {
                if messages.len() != 1 {
                    return Err(PromptError::Conversation(
                        "the model answers single questions: it was trained on no conversations",
                    ));
                }
                let question = words.encode(&asked)?;
                std::iter::once(PICTURE).chain(question).chain([words.special().answer]).collect()
            }
        };
        self.prompt(&ids, pictures, &asked)
    }

    /// One question about some pictures, which stand in front of it.
    ///
    /// # Errors
    /// As [`Card::chat`].
    pub fn question(&self, text: &str, pictures: Vec<Image>) -> Result<Prompt, PromptError> {
        self.chat(&[Message::question(pictures.len(), text.trim())], pictures)
    }

    /// A text as it is, without a template, with pictures in front of it.
    ///
    /// # Errors
    /// As [`Card::chat`].
    pub fn text(&self, text: &str, pictures: Vec<Image>) -> Result<Prompt, PromptError> {
        self.continued(&self.tokens(text)?, pictures, text)
    }

    /// Tokens as they are, with pictures in front of them.
    ///
    /// # Errors
    /// As [`Card::text`]; an id that is none of a token.
    pub fn ids(&self, ids: &[i32], pictures: Vec<Image>) -> Result<Prompt, PromptError> {
        let outside = |id: &&i32| !usize::try_from(**id).is_ok_and(|id| id < self.vocabulary);
        if let Some(&id) = ids.iter().find(outside) {
            return Err(PromptError::Vocabulary { id, size: self.vocabulary });
        }
        let text = if self.conditioned { self.tokenizer.decode(ids)? } else { String::new() };
        self.continued(ids, pictures, &text)
    }

    /// Tokens that are gone on from, with pictures in front of them; `text` is theirs, where something is computed of it.
    fn continued(&self, tokens: &[i32], pictures: Vec<Image>, text: &str) -> Result<Prompt, PromptError> {
        self.counts(pictures.len())?;
        let places = if self.has_vision() { pictures.len() } else { 1 };
        if tokens.is_empty() {
            return Err(PromptError::Blank);
        }
        let ids: Vec<i32> = std::iter::repeat_n(PICTURE, places).chain(tokens.iter().copied()).collect();
        self.prompt(&ids, pictures, text)
    }

    /// The tokens of a text as it is, without a template.
    ///
    /// # Errors
    /// The tokenizer has none for it.
    pub fn tokens(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        match &self.tokenizer {
            QuestionTokenizer::Words(words) => words.encode(text),
            QuestionTokenizer::Chat(chat) => chat.published().encode(text, false),
        }
    }

    fn counts(&self, given: usize) -> Result<(), PromptError> {
        let (least, most) = self.pictures();
        if (least..=most).contains(&given) {
            return Ok(());
        }
        Err(match self.eyes {
            Eyes::Withheld { .. } => PromptError::NoVision { pictures: given },
            _ => PromptError::Pictures { given, least, most },
        })
    }

    /// Tokens with a place for every picture as what is laid out.
    fn prompt(&self, ids: &[i32], pictures: Vec<Image>, question: &str) -> Result<Prompt, PromptError> {
        let (layouts, views) = match &self.eyes {
            Eyes::Withheld { positions } => (vec![(VisualLayout::whole(*positions), 1)], vec![Vec::new()]),
            Eyes::One { reader, positions } => {
                let layouts = pictures.iter().map(|_| (VisualLayout::whole(*positions), 1)).collect();
                (layouts, reader.views(pictures)?)
            }
            Eyes::Counted(reader) => (reader.layouts(&pictures)?, reader.views(pictures)?),
        };
        let counts: Vec<usize> = layouts.iter().map(|(layout, _)| layout.tokens()).collect();
        let needs = Room {
            text: ids.iter().filter(|&&id| id != PICTURE).count(),
            visual: counts.iter().sum(),
            views: layouts.iter().map(|(_, views)| views).sum(),
        };
        let expanded = expand_images(ids, PICTURE, &counts, "of this request")?;
        let image = self.tokenizer.special().image;
        let tokens = expanded.ids.iter().map(|&id| if id == PICTURE { image } else { id }).collect();
        let shown = expanded.images.iter().zip(layouts).zip(views);
        let pictures = shown.map(|((place, (layout, _)), views)| Shown { start: place.start, layout, views });
        let conversation =
            Conversation { tokens, learned: Vec::new(), pictures: pictures.collect(), needs, dropped: 0 };
        let question = self.conditioned.then(|| Question::Text(question.trim().to_owned()));
        Ok(Prompt::of(conversation, question))
    }

    /// Refuses requests that cannot share a slot, as [`Client::submit_together`](super::Client::submit_together) does.
    ///
    /// # Errors
    /// As [`Card::admits`], of any of them; [`Refused::Apart`].
    pub fn admits_together(&self, requests: &[Request]) -> Result<(), Refused> {
        for request in requests {
            self.admits(request)?;
        }
        let prompts: Vec<&Conversation> =
            requests.iter().map(|request| &*request.prompt.conversation).collect();
        let apart = Refused::Apart { given: requests.len(), most: self.together };
        let Some(shared) = Conversation::beginning(&prompts).filter(|_| requests.len() <= self.together)
        else {
            return Err(apart);
        };
        let own: usize = prompts.iter().map(|prompt| prompt.tokens.len() - shared).sum();
        // The last token of an answer is never read.
        let answer = |request: &Request| request.max_new_tokens + request.given.len();
        let answers: usize = requests.iter().map(answer).sum();
        let read: usize = requests.iter().map(|request| answer(request).saturating_sub(1)).sum();
        if shared + own + read > self.positions {
            return Err(Refused::TooLong { prompt: shared + own, answer: answers, room: self.positions });
        }
        Ok(())
    }

    /// Refuses what can never be answered, as [`Client::submit`](super::Client::submit) does.
    ///
    /// # Errors
    /// All that [`Refused`] names but a full queue and an engine that stops.
    pub fn admits(&self, request: &Request) -> Result<(), Refused> {
        let Request { prompt, sampling, stop, max_new_tokens, logprobs, given, echo, .. } = request;
        sampling.check()?;
        if prompt.positions() == 0 {
            return Err(Refused::Empty("the prompt has no tokens"));
        }
        let answer = max_new_tokens.saturating_add(given.len());
        if answer == 0 && !echo {
            return Err(Refused::Empty("the answer may have no tokens"));
        }
        // The last token of an answer is never read.
        if prompt.positions().saturating_add(answer.saturating_sub(1)) > self.positions {
            return Err(Refused::TooLong { prompt: prompt.positions(), answer, room: self.positions });
        }
        let (least, most) = self.pictures();
        match prompt.pictures() {
            _ if !self.has_vision() => {}
            pictures if (least..=most).contains(&pictures) => {}
            given => return Err(Refused::Pictures { given, least, most }),
        }
        let Room { visual, views, .. } = prompt.conversation.needs;
        if visual > self.room.visual || views > self.room.views {
            return Err(Refused::Pictures { given: views, least, most: self.room.views });
        }
        let shown = &prompt.conversation.pictures;
        if let (Some(most), Some(first), Some(last)) = (self.stretch, shown.first(), shown.last())
            && last.end() - first.start > most
        {
            return Err(Refused::Stretch { positions: last.end() - first.start, most });
        }
        let outside = |id: &&i32| !usize::try_from(**id).is_ok_and(|id| id < self.vocabulary);
        if let Some(&id) = prompt.tokens().iter().chain(given).find(outside) {
            return Err(Refused::Vocabulary { id, size: self.vocabulary });
        }
        if stop.len() > MOST_STOPS || stop.iter().any(String::is_empty) {
            return Err(Refused::Stop(format!(
                "an answer may end by at most {MOST_STOPS} texts, none of them empty"
            )));
        }
        match *logprobs {
            Some(asked) if asked > MOST_LOGPROBS => Err(Refused::Logprobs { asked, most: MOST_LOGPROBS }),
            _ => Ok(()),
        }
    }
}

/// A conversation whose first question has the blank place of a withheld picture.
fn with_blank(messages: &[Message]) -> Vec<Message> {
    let mut messages = messages.to_vec();
    if let Some(first) = messages.iter_mut().find(|message| message.role == "user") {
        first.content.insert(0, Part::Image {});
    }
    messages
}

/// The words of a message.
fn words(message: &Message) -> String {
    let texts = message.content.iter().filter_map(|part| match part {
        Part::Text { text } => Some(text.as_str()),
        Part::Image {} => None,
    });
    texts.collect::<Vec<_>>().join(" ")
}
