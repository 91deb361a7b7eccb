//! What files of samples hold, before anything is trained on them.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::{Record, RecordError, Records, Spread};
use crate::chat::{Message, Part};
use crate::image::Size;

/// Samples that are read at once: what is in memory does not depend on the files.
const AT_ONCE: usize = 256;

/// What is in some files of samples.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Samples, those with problems included.
    pub samples: usize,
    /// Samples that can be learned from.
    pub sound: usize,
    /// Answers in these.
    pub answers: usize,
    /// How many of these show so many pictures.
    pub by_pictures: BTreeMap<usize, usize>,
    /// Characters of the longest question and of the longest answer.
    pub longest: (usize, usize),
    /// Tokens of these as a model reads them, one for every picture; none without a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Spread>,
    /// How many of all these tokens are learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned: Option<u64>,
    /// The picture of the fewest and that of the most pixels.
    pub pictures: Option<(Size, Size)>,
    /// The first problems, in the order of the samples.
    pub problems: Vec<Problem>,
    /// How many samples have one.
    pub with_problems: usize,
}

/// Tokens of a sample as a model reads it, one for every picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// All of them.
    pub all: usize,
    /// Those that are learned.
    pub learned: usize,
}

/// Counts the tokens of a sample, or says why a model cannot read it.
pub type Measure<'m> = dyn Fn(&Record) -> Result<Tokens, String> + Sync + 'm;

/// A sample that cannot be learned from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Its number, from 0.
    pub sample: usize,
    /// File, line and reason.
    pub message: String,
}

/// What one sample adds.
struct Seen {
    answers: usize,
    longest: (usize, usize),
    pictures: Vec<Size>,
    tokens: Option<Tokens>,
}

impl Records {
    /// Reads every sample and decodes every picture; with `measure`, as a model reads it. `most` bounds how many problems are told, not how many
    /// are counted; `progress` hears how many samples are done.
    pub fn inspect(
        &self,
        most: usize,
        measure: Option<&Measure<'_>>,
        progress: &mut dyn FnMut(usize),
    ) -> Inspection {
        let mut found = Inspection { samples: self.len(), ..Inspection::default() };
        let mut lengths: BTreeMap<usize, u64> = BTreeMap::new();
        let mut first = 0;
        while first < self.len() {
            let numbers = first..self.len().min(first + AT_ONCE);
            let seen: Vec<Result<Seen, RecordError>> =
                numbers.clone().into_par_iter().map(|number| self.look(number, measure)).collect();
            for (sample, seen) in numbers.clone().zip(seen) {
                match seen {
                    Ok(seen) => {
                        if let Some(Tokens { all, learned }) = seen.tokens {
                            *lengths.entry(all).or_default() += 1;
                            *found.learned.get_or_insert(0) += learned as u64;
                        }
                        found.add(&seen);
                    }
                    Err(error) => {
                        found.with_problems += 1;
                        if found.problems.len() < most {
                            found.problems.push(Problem { sample, message: error.to_string() });
                        }
                    }
                }
            }
            first = numbers.end;
            progress(first);
        }
        found.tokens = Spread::of(&lengths);
        found
    }

    fn look(&self, number: usize, measure: Option<&Measure<'_>>) -> Result<Seen, RecordError> {
        let record = self.read(number)?;
        let tokens = measure.map(|measure| measure(&record)).transpose();
        let tokens = tokens.map_err(|problem| self.refused(number, problem))?;
        let pictures = self.pictures(number, &record)?.iter().map(crate::image::Image::size).collect();
        let Record { messages, .. } = record;
        let longest = |role: &str| {
            let of_role = messages.iter().filter(|message| message.role == role);
            of_role.map(characters).max().unwrap_or(0)
        };
        let answers = messages.iter().filter(|message| message.role == "assistant").count();
        Ok(Seen { answers, longest: (longest("user"), longest("assistant")), pictures, tokens })
    }
}

impl Inspection {
    fn add(&mut self, seen: &Seen) {
        self.sound += 1;
        self.answers += seen.answers;
        *self.by_pictures.entry(seen.pictures.len()).or_default() += 1;
        self.longest.0 = self.longest.0.max(seen.longest.0);
        self.longest.1 = self.longest.1.max(seen.longest.1);
        let area = |size: Size| u64::from(size.width) * u64::from(size.height);
        for &size in &seen.pictures {
            let (small, large) = self.pictures.unwrap_or((size, size));
            let small = if area(size) < area(small) { size } else { small };
            self.pictures = Some((small, if area(size) > area(large) { size } else { large }));
        }
    }
}

fn characters(message: &Message) -> usize {
    let of = |part: &Part| match part {
        Part::Text { text } => text.chars().count(),
        Part::Image {} => 0,
    };
    message.content.iter().map(of).sum()
}
