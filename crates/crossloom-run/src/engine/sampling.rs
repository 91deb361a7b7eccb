//! What a request says of how its tokens are drawn.

use serde::{Deserialize, Serialize};

/// How the next token is drawn. The steps are done in the order of the fields: penalties on logits, temperature, then what is left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Logits of tokens that the prompt or the answer has are divided by it where they are positive, and multiplied where they are negative
    /// (Keskar et al. 2019, equation 2). 1 changes nothing.
    pub repetition_penalty: f32,
    /// Taken from the logit of every token that the answer has. 0 changes nothing.
    pub presence_penalty: f32,
    /// Taken from the logit of a token for each time that the answer has it. 0 changes nothing.
    pub frequency_penalty: f32,
    /// Logits are divided by it. 0 takes the best token, whatever the fields below say.
    pub temperature: f32,
    /// Only so many of the best tokens may be drawn. 0 is all.
    pub top_k: usize,
    /// Only the fewest tokens may be drawn whose probabilities sum to this (Holtzman et al. 2020). 1 is all.
    pub top_p: f32,
    /// Only tokens may be drawn that are at least this times as likely as the best. 0 is all.
    pub min_p: f32,
    /// Token `n` of an answer is drawn by a number that depends on the seed and `n` alone.
    pub seed: u64,
}

impl Default for Sampling {
    /// The best token each time.
    fn default() -> Self {
        Self {
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }
}

/// A field that no sampling can follow.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{field}` is {value}, and must be {rule}")]
pub struct BadSampling {
    /// The field's name.
    pub field: &'static str,
    /// What it is.
    pub value: f32,
    /// What it must be.
    pub rule: &'static str,
}

impl Sampling {
    /// Whether the best token is taken each time, after penalties.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether logits are changed by what was written before.
    pub fn has_penalty(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// Refuses what cannot be.
    ///
    /// # Errors
    /// The first field that is not a number in its range.
    pub fn check(&self) -> Result<(), BadSampling> {
        let fields = [
            (
                "repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite(),
                "above 0",
            ),
            ("presence_penalty", self.presence_penalty, self.presence_penalty.is_finite(), "a number"),
            ("frequency_penalty", self.frequency_penalty, self.frequency_penalty.is_finite(), "a number"),
            (
                "temperature",
                self.temperature,
                self.temperature >= 0.0 && self.temperature.is_finite(),
                "0 or above",
            ),
            ("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1"),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "from 0 to 1"),
        ];
        match fields.into_iter().find(|(_, _, good, _)| !good) {
            None => Ok(()),
            Some((field, value, _, rule)) => Err(BadSampling { field, value, rule }),
        }
    }
}
