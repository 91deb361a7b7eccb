//! What a training on conversations would meet, before it begins.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::{Bucket, Conversation, ConversationError, ConversationReader, Source};
use crate::records::Spread;

/// Samples that are read at once: what is in memory does not depend on the files.
const AT_ONCE: usize = 64;

/// What is in some sources, for rows of some lengths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Samples, those that cannot be learned from included.
    pub samples: u64,
    /// Samples that cannot be learned from.
    pub left_out: u64,
    /// Samples that lose turns at their end.
    pub truncated: u64,
    /// How many samples show so many pictures.
    pub by_pictures: BTreeMap<usize, u64>,
    /// How many samples go into each bucket, from the smallest.
    pub by_bucket: Vec<u64>,
    /// Tokens of a sample as a row holds it, those of its pictures included.
    pub tokens: Option<Spread>,
    /// Tokens that are learned, of all samples.
    pub learned: u64,
    /// The first samples that cannot be used as they are, with file and line.
    pub told: Vec<String>,
}

impl Survey {
    /// Reads every sample with its pictures, as a stream would; at most `most` are told of.
    pub fn of(sources: &[Source], reader: &ConversationReader, buckets: &[Bucket], most: usize) -> Self {
        let mut found = Self { by_bucket: vec![0; buckets.len()], ..Self::default() };
        // How many samples have so many tokens: bounded by the longest row.
        let mut lengths: BTreeMap<usize, u64> = BTreeMap::new();
        for source in sources {
            for start in (0..source.records.len()).step_by(AT_ONCE) {
                let numbers = start..source.records.len().min(start + AT_ONCE);
                let read: Vec<Result<Conversation, ConversationError>> =
                    numbers.clone().into_par_iter().map(|number| reader.read(source, number)).collect();
                for (number, read) in numbers.zip(read) {
                    found.samples += 1;
                    match read {
                        Ok(conversation) => {
                            *lengths.entry(conversation.tokens.len()).or_default() += 1;
                            found.add(source, number, &conversation, buckets, most);
                        }
                        Err(error) => {
                            found.left_out += 1;
                            found.tell(most, || error.to_string());
                        }
                    }
                }
            }
        }
        found.tokens = Spread::of(&lengths);
        found
    }

    fn add(&mut self, source: &Source, number: usize, of: &Conversation, buckets: &[Bucket], most: usize) {
        *self.by_pictures.entry(of.pictures.len()).or_default() += 1;
        let bucket = buckets.iter().position(|bucket| bucket.room.holds(of.needs));
        if let Some(count) = bucket.and_then(|bucket| self.by_bucket.get_mut(bucket)) {
            *count += 1;
        }
        self.learned += of.learned.iter().map(|range| range.len() as u64).sum::<u64>();
        if of.dropped > 0 {
            self.truncated += 1;
            self.tell(most, || of.cut(&source.name(number)));
        }
    }

    fn tell(&mut self, most: usize, told: impl FnOnce() -> String) {
        if self.told.len() < most {
            self.told.push(told());
        }
    }
}
