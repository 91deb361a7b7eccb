//! Holding pictures out of training.

use super::{EncodedSplit, PackingError};
use crate::seeded::{Purpose, SeededRng};

impl EncodedSplit {
    /// Parts the split by picture: what is left to train on, and the held-out rest. A share of 0 holds nothing out; any
    /// other at least one picture, and never the last one. The choice depends on the seed and the pictures with questions
    /// alone. Both parts keep the split's numbering and go with its pictures.
    ///
    /// # Errors
    /// When the share is not from 0 to below 1, or there are not two pictures with questions to part.
    pub fn hold_out(&self, share: f64, seed: u64) -> Result<(Self, Self), PackingError> {
        let option = |rule| PackingError::Option { key: "validation", value: share.to_string(), rule };
        if !(0.0..1.0).contains(&share) {
            return Err(option("from 0 to below 1"));
        }
        let mut asked: Vec<u32> = (0..self.images())
            .filter(|&image| !self.examples_of(image).is_empty())
            .map(|image| image as u32)
            .collect();
        let mut held = vec![false; self.images()];
        if share > 0.0 {
            if asked.len() < 2 {
                return Err(option("0 where fewer than two training pictures have questions"));
            }
            SeededRng::new(seed, Purpose::HoldOut, 0, 0).shuffle(&mut asked);
            let count = ((share * asked.len() as f64).round() as usize).clamp(1, asked.len() - 1);
            for &image in &asked[..count] {
                held[image as usize] = true;
            }
        }
        Ok((self.only(&|image| !held[image]), self.only(&|image| held[image])))
    }
}
