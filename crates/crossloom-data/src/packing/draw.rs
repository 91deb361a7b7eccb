//! Which questions of a picture an epoch uses.

use super::EncodedSplit;
use crate::seeded::{Purpose, SeededRng};

/// Draws questions of a picture, keyed by `(seed, epoch, picture)`; keeps its memory between draws.
#[derive(Debug)]
pub(super) struct QuestionDraw {
    seed: u64,
    wanted: usize,
    open_share: Option<f64>,
    shuffled: Vec<u32>,
}

impl QuestionDraw {
    pub(super) fn new(seed: u64, wanted: usize, open_share: Option<f64>, encoded: &EncodedSplit) -> Self {
        let most = (0..encoded.images()).map(|image| encoded.examples_of(image).len()).max().unwrap_or(0);
        Self { seed, wanted, open_share, shuffled: Vec::with_capacity(most) }
    }

    /// The picture's candidates, best first; more than are wanted, so that one without room can be replaced.
    ///
    /// Without a wish all questions are equal. With an `open_share` the row gets at most its share of yes/no
    /// questions; open ones may fill up, yes/no ones never do, so that their share stays bounded where open ones are few.
    pub(super) fn candidates(&mut self, encoded: &EncodedSplit, epoch: u64, image: usize) -> &[u32] {
        let mut rng = SeededRng::new(self.seed, Purpose::QuestionDraw, epoch, image as u64);
        self.shuffled.clear();
        self.shuffled.extend_from_slice(encoded.examples_of(image));
        rng.shuffle(&mut self.shuffled);
        if let Some(share) = self.open_share {
            // Rounded at random, so that the share is right on average.
            let closed = ((1.0 - share) * self.wanted as f64 + f64::from(rng.unit())).floor() as usize;
            // A picture without open questions still gives one, so that no row is empty.
            let has_open = self.shuffled.iter().any(|&example| encoded.is_open(example as usize));
            let mut closed_left = if has_open { closed } else { closed.max(1) };
            self.shuffled.retain(|&example| {
                let keep = encoded.is_open(example as usize) || closed_left > 0;
                closed_left -= usize::from(keep && !encoded.is_open(example as usize));
                keep
            });
            self.surplus_open_last(encoded, self.wanted.saturating_sub(closed));
        }
        &self.shuffled
    }

    /// Moves open questions above `limit` behind the rest, so that they only fill places that are left.
    fn surplus_open_last(&mut self, encoded: &EncodedSplit, limit: usize) {
        let (mut front, mut open) = (0, 0);
        for index in 0..self.shuffled.len() {
            let is_open = encoded.is_open(self.shuffled[index] as usize);
            if !is_open || open < limit {
                open += usize::from(is_open);
                self.shuffled[front..=index].rotate_right(1);
                front += 1;
            }
        }
    }
}
