//! Which sample comes next: sources are drawn by weight, and each is read in its own order.

use serde::{Deserialize, Serialize};

use super::ConversationError;
use crate::records::Records;
use crate::sampler::{EpochSampler, SamplerState};
use crate::seeded::{Purpose, SeededRng};

/// Keeps the orders of sources of one length apart.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Samples that are mixed with others.
#[derive(Debug)]
pub struct Source {
    /// Where they lie.
    pub records: Records,
    /// How often they are drawn, relative to others; none for their number, so that every sample of all such sources is as likely.
    pub weight: Option<f64>,
}

impl Source {
    /// File and line of a sample.
    pub fn name(&self, sample: usize) -> String {
        match self.records.place(sample) {
            Some((file, line)) => {
                let file = file.file_name().unwrap_or_default().to_string_lossy();
                format!("{file}, {} {line}", self.records.unit())
            }
            None => format!("sample {sample}"),
        }
    }
}

/// A sample that was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drawn {
    /// Its source.
    pub source: u32,
    /// Its number there.
    pub sample: u32,
    /// How often that source was read through before.
    pub epoch: u64,
}

/// Where a mixture stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureState {
    /// Samples drawn so far.
    pub drawn: u64,
    /// Where every source stands.
    pub sources: Vec<SamplerState>,
}

/// An endless, seeded sequence of samples. The source of each draw depends on the seed and the number of the draw alone; within a source every
/// epoch is a permutation.
#[derive(Debug)]
pub struct MixtureSampler {
    seed: u64,
    drawn: u64,
    /// Sums of the weights up to each source, that itself included.
    upto: Vec<f64>,
    samplers: Vec<EpochSampler>,
}

impl MixtureSampler {
    /// A mixture at its first draw, of sources of so many samples with their weights.
    ///
    /// # Errors
    /// There is no source, a weight is not above 0 and finite, or a source has no sample or more than `u32::MAX`.
    pub fn new(sources: &[(usize, Option<f64>)], seed: u64) -> Result<Self, ConversationError> {
        let weights: Vec<f64> =
            sources.iter().map(|&(samples, weight)| weight.unwrap_or(samples as f64)).collect();
        if weights.is_empty() || weights.iter().any(|&weight| !weight.is_finite() || weight <= 0.0) {
            return Err(ConversationError::Weights { weights });
        }
        let mut sum = 0.0;
        let upto = weights.iter().map(|weight| {
            sum += weight;
            sum
        });
        let upto = upto.collect();
        let samplers = sources.iter().enumerate();
        let samplers = samplers.map(|(at, &(samples, _))| EpochSampler::new(samples, seed_of(seed, at)));
        Ok(Self { seed, drawn: 0, upto, samplers: samplers.collect::<Result<_, _>>()? })
    }

    /// The next sample.
    pub fn draw(&mut self) -> Drawn {
        let source = match self.upto[..] {
            [_] => 0,
            _ => {
                let all = self.upto.last().copied().unwrap_or_default();
                let mut rng = SeededRng::new(self.seed, Purpose::MixtureDraw, self.drawn, 0);
                let at = f64::from(rng.unit()) * all;
                self.upto.partition_point(|&upto| upto <= at).min(self.upto.len() - 1)
            }
        };
        self.drawn += 1;
        // There are as many samplers as sums.
        let Some(sampler) = self.samplers.get_mut(source) else {
            return Drawn { source: 0, sample: 0, epoch: 0 };
        };
        let drawn = sampler.draw();
        Drawn { source: source as u32, sample: drawn.item as u32, epoch: drawn.epoch }
    }

    /// The position after the last draw.
    pub fn state(&self) -> MixtureState {
        MixtureState { drawn: self.drawn, sources: self.samplers.iter().map(EpochSampler::state).collect() }
    }

    /// Goes to where `state` was taken.
    ///
    /// # Errors
    /// It was taken of other sources, or with another seed.
    pub fn resume(&mut self, state: &MixtureState) -> Result<(), ConversationError> {
        let (saved, current) = (state.sources.len(), self.samplers.len());
        if saved != current {
            return Err(ConversationError::Sources { saved, current });
        }
        let mut samplers = Vec::with_capacity(current);
        for (at, (sampler, &state)) in self.samplers.iter().zip(&state.sources).enumerate() {
            let items = sampler.state().items as usize;
            samplers.push(EpochSampler::resume(state, items, seed_of(self.seed, at))?);
        }
        (self.samplers, self.drawn) = (samplers, state.drawn);
        Ok(())
    }
}

fn seed_of(seed: u64, source: usize) -> u64 {
    seed.wrapping_add((source as u64).wrapping_mul(ODD))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sources_are_drawn_by_weight_and_each_in_whole_epochs() {
        let mut mixture = MixtureSampler::new(&[(10, Some(3.0)), (10, Some(1.0))], 7).unwrap();
        let drawn: Vec<Drawn> = (0..4000).map(|_| mixture.draw()).collect();
        let first: Vec<&Drawn> = drawn.iter().filter(|drawn| drawn.source == 0).collect();
        assert!((2900..3100).contains(&first.len()), "{}", first.len());
        for epoch in first.chunks_exact(10) {
            let mut samples: Vec<u32> = epoch.iter().map(|drawn| drawn.sample).collect();
            samples.sort_unstable();
            assert_eq!(samples, (0..10).collect::<Vec<_>>());
        }
        let order = |source| {
            let of = drawn.iter().filter(move |drawn| drawn.source == source && drawn.epoch == 0);
            of.map(|drawn| drawn.sample).collect::<Vec<_>>()
        };
        assert_ne!(order(0), order(1), "sources of one length have orders of their own");
    }

    #[test]
    fn without_weights_every_sample_is_as_likely() {
        let mut mixture = MixtureSampler::new(&[(900, None), (100, None)], 1).unwrap();
        let few = (0..5000).filter(|_| mixture.draw().source == 1).count();
        assert!((430..570).contains(&few), "{few}");
    }

    #[test]
    fn resuming_anywhere_goes_on_exactly_and_other_sources_are_refused() {
        let sources = [(5, Some(1.0)), (7, Some(2.0))];
        for cut in [0, 1, 9, 40] {
            let mut whole = MixtureSampler::new(&sources, 3).unwrap();
            for _ in 0..cut {
                whole.draw();
            }
            let saved = serde_json::to_string(&whole.state()).unwrap();
            let mut resumed = MixtureSampler::new(&sources, 3).unwrap();
            resumed.resume(&serde_json::from_str(&saved).unwrap()).unwrap();
            let rest = |of: &mut MixtureSampler| (0..50).map(|_| of.draw()).collect::<Vec<_>>();
            assert_eq!(rest(&mut whole), rest(&mut resumed), "after {cut}");
        }
        let state = MixtureSampler::new(&sources, 3).unwrap().state();
        let refused = |sources: &[(usize, Option<f64>)], seed| {
            MixtureSampler::new(sources, seed).unwrap().resume(&state).unwrap_err().to_string()
        };
        assert!(refused(&sources[..1], 3).contains("2 sources, and 1"));
        assert!(
            refused(&sources, 4).contains("seed 3")
                && refused(&[sources[1], sources[0]], 3).contains("items")
        );
        for weights in [vec![], vec![0.0], vec![f64::NAN, 1.0], vec![-1.0]] {
            let sources: Vec<_> = weights.iter().map(|&weight| (3, Some(weight))).collect();
            assert!(MixtureSampler::new(&sources, 0).is_err(), "{weights:?}");
        }
    }
}
