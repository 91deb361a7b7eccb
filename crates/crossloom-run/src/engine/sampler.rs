//! The next token, out of logits.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::Sampling;

/// Draws the tokens of one answer.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    /// Tokens of prompt and answer, where they are penalised.
    seen: BTreeSet<i32>,
    /// How often the answer has a token, where that is penalised.
    written: BTreeMap<i32, u32>,
}

impl Sampler {
    pub(super) fn new(sampling: Sampling, prompt: &[i32]) -> Self {
        let penalised = sampling.repetition_penalty != 1.0;
        let seen = if penalised { prompt.iter().copied().collect() } else { BTreeSet::new() };
        Self { sampling, seen, written: BTreeMap::new() }
    }

    /// Whether the next token is the best by the model's own logits.
    pub(super) fn takes_the_best(&self) -> bool {
        self.sampling.is_greedy() && !self.sampling.has_penalty()
    }

    /// Notes a token of the answer.
    pub(super) fn note(&mut self, token: i32) {
        if self.sampling.has_penalty() {
            self.seen.insert(token);
            *self.written.entry(token).or_default() += 1;
        }
    }

    /// The `n`-th token that is drawn, of the logits `[V]` behind what was noted.
    pub(super) fn draw(&self, logits: &[f32], n: u64) -> i32 {
        let scores = self.penalised(logits);
        if self.sampling.is_greedy() {
            return best(&scores);
        }
        let kept = self.kept(scores);
        let mut rng = ChaCha8Rng::seed_from_u64(self.sampling.seed);
        rng.set_stream(n);
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.random::<f64>() * total;
        for &(token, weight) in &kept {
            left -= weight;
            if left < 0.0 {
                return token;
            }
        }
        // What rounding leaves over is the last one's.
        kept.last().map_or_else(|| best(logits), |&(token, _)| token)
    }

    /// Logits with penalties.
    fn penalised(&self, logits: &[f32]) -> Vec<f32> {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.sampling;
        let mut scores = logits.to_vec();
        let place = |token: i32| usize::try_from(token).ok();
        if repetition_penalty != 1.0 {
            for &token in &self.seen {
                if let Some(score) = place(token).and_then(|at| scores.get_mut(at)) {
                    *score =
                        if *score > 0.0 { *score / repetition_penalty } else { *score * repetition_penalty };
                }
            }
        }
        for (&token, &times) in &self.written {
            if let Some(score) = place(token).and_then(|at| scores.get_mut(at)) {
                *score -= presence_penalty + frequency_penalty * times as f32;
            }
        }
        scores
    }

    /// The tokens that may be drawn, by id, with weights in proportion to their probabilities.
    pub(super) fn kept(&self, mut scores: Vec<f32>) -> Vec<(i32, f64)> {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        for score in &mut scores {
            *score /= temperature;
        }
        let most = scores.iter().copied().filter(|score| !score.is_nan()).fold(f32::NEG_INFINITY, f32::max);
        let mut least = f32::NEG_INFINITY;
        if top_k > 0 && top_k < scores.len() {
            let mut sorted = scores.clone();
            let (_, &mut kth, _) = sorted.select_nth_unstable_by(top_k - 1, |a, b| b.total_cmp(a));
            least = kth;
        }
        let weight = |score: f32| f64::from(score - most).exp();
        let ids = scores.iter().enumerate().filter(|(_, score)| **score >= least);
        let mut kept: Vec<(i32, f64)> = ids.map(|(id, &score)| (id as i32, weight(score))).collect();
        if top_p < 1.0 {
            kept.sort_by(|(a, of_a), (b, of_b)| of_b.total_cmp(of_a).then(a.cmp(b)));
            let most = f64::from(top_p) * kept.iter().map(|(_, weight)| weight).sum::<f64>();
            let mut before = 0.0;
            let last = kept.iter().position(|(_, weight)| {
                before += weight;
                before >= most
            });
            kept.truncate(last.map_or(kept.len(), |last| last + 1));
            kept.sort_by_key(|(id, _)| *id);
        }
        // The best has the weight 1.
        kept.retain(|(_, weight)| *weight >= f64::from(min_p) && *weight > 0.0);
        kept
    }
}

/// The first of the largest.
fn best(scores: &[f32]) -> i32 {
    let better = |best: usize, at: usize| if scores[at] > scores[best] { at } else { best };
    (0..scores.len()).reduce(better).map_or(0, |at| at as i32)
}

/// The natural log-probability of a token of logits `[V]`, and those of the `n` likeliest, from the best; of equal ones the smaller id
/// comes first.
pub(super) fn log_probabilities(logits: &[f32], token: i32, n: usize) -> (f32, Vec<(i32, f32)>) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
    let of = |at: usize| (f64::from(logits[at] - most) - sum.ln()) as f32;
    let own = usize::try_from(token).ok().filter(|&at| at < logits.len());
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let by = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    if n > 0 && n < order.len() {
        order.select_nth_unstable_by(n - 1, by);
    }
    order.truncate(n);
    order.sort_unstable_by(by);
    (own.map_or(f32::NEG_INFINITY, of), order.into_iter().map(|at| (at as i32, of(at))).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        logits: Vec<f32>,
        written: Vec<i32>,
        outcomes: Vec<Outcome>,
    }

    #[derive(Deserialize)]
    struct Outcome {
        setting: Sampling,
        probabilities: Vec<f64>,
    }

    fn cases() -> Vec<Case> {
        serde_json::from_str(include_str!("../../tests/fixtures/sampling.json")).unwrap()
    }

    /// The probability of every token.
    fn probabilities(sampler: &Sampler, logits: &[f32]) -> Vec<f64> {
        let kept = sampler.kept(sampler.penalised(logits));
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let mut all = vec![0.0; logits.len()];
        for (token, weight) in kept {
            all[token as usize] = weight / total;
        }
        all
    }

    #[test]
    fn tokens_are_drawn_from_the_distributions_of_transformers() {
        let mut left_out = 0;
        for Case { logits, written, outcomes } in cases() {
            for Outcome { setting, probabilities: wanted } in outcomes {
                let found = probabilities(&Sampler::new(setting, &written), &logits);
                for (token, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                    assert_eq!(*found == 0.0, *wanted == 0.0, "{setting:?}: token {token}: {found} {wanted}");
                    assert!((found - wanted).abs() < 1e-6, "{setting:?}: token {token}: {found} {wanted}");
                    left_out += usize::from(*found == 0.0);
                }
            }
        }
        assert!(left_out > 500);
    }

    /// Pearson's statistic over 20,000 draws of the tokens that may be drawn: a right sampler is above the bound once in a million times.
    #[test]
    fn tokens_are_as_frequent_as_they_are_probable() {
        let Case { logits, written, .. } = cases().remove(0);
        let settings = [
            Sampling { temperature: 1.0, ..Sampling::default() },
            Sampling { temperature: 0.7, top_p: 0.8, repetition_penalty: 1.2, ..Sampling::default() },
            Sampling { temperature: 1.4, top_k: 9, ..Sampling::default() },
        ];
        for setting in settings {
            let draws = 20_000_u32;
            let mut counts = vec![0_u32; logits.len()];
            for n in 0..draws {
                // Half of them are others of the same request, half are of other requests.
                let (seed, n) = if n % 2 == 0 { (3, n) } else { (u64::from(n), 0) };
                let sampler = Sampler::new(Sampling { seed, ..setting }, &written);
                counts[sampler.draw(&logits, u64::from(n)) as usize] += 1;
            }
            let wanted = probabilities(&Sampler::new(setting, &written), &logits);
            let (mut statistic, mut cells, mut rest) = (0.0, 0.0, (0.0, 0.0));
            let mut add = |count: f64, expected: f64| {
                statistic += (count - expected).powi(2) / expected;
                cells += 1.0;
            };
            for (count, probability) in counts.iter().zip(wanted) {
                let (count, expected) = (f64::from(*count), probability * f64::from(draws));
                assert!(expected > 0.0 || count == 0.0, "{setting:?}: what is left out is drawn");
                if expected < 5.0 {
                    rest = (rest.0 + count, rest.1 + expected);
                } else {
                    add(count, expected);
                }
            }
            if rest.1 > 5.0 {
                add(rest.0, rest.1);
            }
            let freedom: f64 = cells - 1.0;
            // Wilson and Hilferty's approximation of the quantile.
            let spread = 2.0 / (9.0 * freedom);
            let bound = freedom * (1.0 - spread + 4.75 * spread.sqrt()).powi(3);
            assert!(cells > 3.0 && statistic < bound, "{setting:?}: {statistic} of {bound} at {freedom}");
        }
    }

    #[test]
    fn a_draw_depends_on_the_seed_and_its_number_alone() {
        let Case { logits, .. } = cases().remove(0);
        let drawn = |seed: u64| -> Vec<i32> {
            let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
            let sampler = Sampler::new(sampling, &[]);
            // In another order, and twice.
            assert_eq!(sampler.draw(&logits, 9), sampler.draw(&logits, 9));
            (0..10).rev().map(|n| sampler.draw(&logits, n)).collect()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert!(drawn(1).iter().any(|token| *token != drawn(1)[0]));
    }

    #[test]
    fn presence_and_frequency_are_taken_from_logits_of_what_the_answer_has() {
        let sampling = Sampling { presence_penalty: 0.5, frequency_penalty: 0.25, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling, &[0]);
        for token in [1, 2, 2, 2] {
            sampler.note(token);
        }
        assert_eq!(sampler.penalised(&[1.0; 4]), [1.0, 0.25, -0.25, 1.0]);
        assert!(!sampler.takes_the_best());
        assert_eq!(sampler.draw(&[1.0, 1.2, 1.2, 0.9], 0), 0);
    }

    #[test]
    fn log_probabilities_are_ordered_and_of_equal_tokens_the_smaller_comes_first() {
        let logits = [0.0, 2.0_f32.ln(), 0.0, 4.0_f32.ln()];
        let (own, top) = log_probabilities(&logits, 2, 3);
        assert!((f64::from(own) - 0.125_f64.ln()).abs() < 1e-6);
        let ids: Vec<i32> = top.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [3, 1, 0]);
        assert_eq!(log_probabilities(&logits, 0, 0).1, []);
        assert_eq!(log_probabilities(&logits, 0, 9).1.len(), 4);
    }
}
