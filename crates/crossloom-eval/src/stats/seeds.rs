//! Means and differences over several trainings that differ in seeds only.
//!
//! A training with another seed is another model, and a test set with other pictures another test. Both are drawn: what is asked for is
//! how the mean would scatter if the seeds *and* the pictures were others.
//!
//! The scatter is that of a *hierarchical resampling*, the pigeonhole bootstrap of A. B. Owen (*The pigeonhole bootstrap*, Annals of
//! Applied Statistics 1, 2007): seeds are drawn with replacement, then pictures within them. All seeds answer the same pictures, so the
//! pictures of a draw are the same for all of its seeds; drawn for each seed apart, a picture that is hard for every seed would count as
//! many independent ones. Of `n` seeds or pictures `n - 1` are drawn, so that few seeds are not told to scatter less than they do.
//! The chance that is in a single answer (neither its seed's nor its picture's) enters three times in such draws, and is taken off
//! twice, as in the two-way clustering of A. C. Cameron, J. B. Gelbach and D. L. Miller (*Robust inference with multiway clustering*,
//! Journal of Business & Economic Statistics 29, 2011).
//!
//! From the scatter comes an interval by Student's distribution, each part with the degrees of freedom that it has, that of the seeds and
//! what is left for the pictures (W. G. Howe, *Approximate confidence limits on the mean of X + Y where X and Y are two tabled
//! independent random variables*, Journal of the American Statistical Association 69, 1974): with two seeds that differ it is as wide as
//! two observations deserve, and where seeds do not matter it errs on the wide side. The p-value is that of the interval that ends at
//! zero. An interval is never narrower than that over the pictures alone, and a p-value never smaller than that of the pictures' sign flips.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::interval::{Total, mean_interval, totals};
use super::paired::{PairedDifference, paired_difference};
use super::student::within;
use super::{Clusters, Estimate, Resampling, StatsError};

/// Draws of seeds and pictures. A standard error that is made of them is known to 1.6 %.
const DRAWS: usize = 2000;
/// Keeps these draws apart from those of another use of the same seed.
const STREAM: u64 = 2;

/// The mean score of several trainings, `scores[seed][sample]`, with its interval over seeds and pictures.
pub fn seeds_interval(
    scores: &[Vec<f64>],
    clusters: &Clusters,
    resampling: &Resampling,
) -> Result<Estimate, StatsError> {
    let pictures = mean_interval(&average(scores)?, clusters, resampling)?;
    if scores.len() < 2 {
        return Ok(pictures);
    }
    let spread = Spread::of(scores, clusters, resampling)?;
    let half = spread.half(resampling.confidence);
    Ok(Estimate {
        low: pictures.low.min(pictures.mean - half).max(0.0),
        high: pictures.high.max(pictures.mean + half).min(1.0),
        seeds: scores.len(),
        deviation: spread.deviation,
        ..pictures
    })
}

/// The difference `first - second` of two methods that were trained with the same seeds: `first[seed][sample]` and
/// `second[seed][sample]` are the same seed and the same sample.
pub fn seeds_difference(
    first: &[Vec<f64>],
    second: &[Vec<f64>],
    clusters: &Clusters,
    resampling: &Resampling,
) -> Result<PairedDifference, StatsError> {
    if first.len() != second.len() {
        let (left, right) = (first.len(), second.len());
        return Err(StatsError::Lengths { what: "seeds of two methods", left, right });
    }
    let pictures = paired_difference(&average(first)?, &average(second)?, clusters, resampling)?;
    if first.len() < 2 {
        return Ok(pictures);
    }
    let minus = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
    let differences: Vec<Vec<f64>> = first.iter().zip(second).map(minus).collect();
    let spread = Spread::of(&differences, clusters, resampling)?;
    let half = spread.half(resampling.confidence);
    Ok(PairedDifference {
        low: pictures.low.min(pictures.difference - half).max(-1.0),
        high: pictures.high.max(pictures.difference + half).min(1.0),
        p_value: pictures.p_value.max(spread.p_value(pictures.difference)),
        seeds: first.len(),
        deviation: spread.deviation,
        ..pictures
    })
}

/// The mean over seeds of every sample.
fn average(scores: &[Vec<f64>]) -> Result<Vec<f64>, StatsError> {
    let Some(first) = scores.first() else { return Err(StatsError::Empty) };
    if let Some(other) = scores.iter().find(|other| other.len() != first.len()) {
        let (left, right) = (first.len(), other.len());
        return Err(StatsError::Lengths { what: "samples of two seeds", left, right });
    }
    let mean = |sample| scores.iter().map(|seed| seed[sample]).sum::<f64>() / scores.len() as f64;
    Ok((0..first.len()).map(mean).collect())
}

/// How a mean over seeds and pictures scatters.
#[derive(Clone, Copy, Debug)]
struct Spread {
    /// The variance of the mean that is that of the seeds, and their degrees of freedom.
    seeds: (f64, f64),
    /// What is left of its variance, and the degrees of freedom of the pictures.
    rest: (f64, f64),
    /// Standard deviation between the means of the seeds.
    deviation: f64,
}

impl Spread {
    /// Half the width of the interval of so much confidence.
    fn half(&self, confidence: f64) -> f64 {
        let part = |(variance, freedom): (f64, f64)| {
            let t = if variance > 0.0 { within(confidence, freedom) } else { 0.0 };
            t * t * variance
        };
        (part(self.seeds) + part(self.rest)).sqrt()
    }

    /// One less the confidence at which the interval around a difference ends at zero; 1 where nothing differs.
    fn p_value(&self, difference: f64) -> f64 {
        let far = difference.abs();
        if far == 0.0 {
            return 1.0;
        }
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..40 {
            let p = f64::midpoint(low, high);
            if self.half(1.0 - p) > far { low = p } else { high = p }
        }
        high
    }

    fn of(scores: &[Vec<f64>], clusters: &Clusters, resampling: &Resampling) -> Result<Self, StatsError> {
        let cells: Vec<Vec<Total>> =
            scores.iter().map(|seed| totals(seed, clusters, resampling)).collect::<Result<_, _>>()?;
        let (seeds, pictures) = (cells.len() as f64, clusters.len() as f64);
        let counts: Vec<f64> = cells[0].iter().map(|total| total.count).collect();
        let samples: f64 = counts.iter().sum();
        let of_seed = |cells: &Vec<Total>| cells.iter().map(|total| total.sum).sum::<f64>() / samples;
        let means: Vec<f64> = cells.iter().map(of_seed).collect();
        let mean = means.iter().sum::<f64>() / seeds;
        // What a picture adds to the mean, over all seeds.
        let own = |picture: usize| {
            cells.iter().map(|seed| seed[picture].sum).sum::<f64>() / seeds - mean * counts[picture]
        };
        let own: Vec<f64> = (0..counts.len()).map(own).collect();
        let of_seeds = means.iter().map(|m| (m - mean) * (m - mean)).sum::<f64>() / (seeds - 1.0);
        let few = (pictures - 1.0).max(1.0);
        let of_pictures = own.iter().map(|own| own * own).sum::<f64>() * pictures / few / (samples * samples);
        let rest = cells.iter().zip(&means).flat_map(|(seed, m)| {
            let of = move |(picture, total): (usize, &Total)| (picture, total.sum - m * total.count);
            seed.iter().enumerate().map(of)
        });
        let rest: f64 = rest.map(|(picture, sum)| (sum - own[picture]) * (sum - own[picture])).sum();
        let of_answers = rest * pictures / ((seeds - 1.0) * few * seeds * samples * samples);
        let (by_seeds, by_pictures) = (of_seeds / seeds, of_pictures);
        let drawn = drawn(&cells, &counts, resampling.seed) - 2.0 * of_answers;
        // Neither seeds nor pictures alone can scatter more than both.
        let variance = drawn.max(by_seeds).max(by_pictures);
        Ok(Self {
            seeds: (by_seeds, seeds - 1.0),
            rest: (variance - by_seeds, few),
            deviation: of_seeds.sqrt(),
        })
    }
}

/// The variance of the mean over draws of seeds and, within them, pictures.
fn drawn(cells: &[Vec<Total>], counts: &[f64], seed: u64) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let (seeds, pictures) = (cells.len(), counts.len());
    let (mut sum, mut squares) = (0.0, 0.0);
    let mut times = vec![0.0; seeds];
    for _ in 0..DRAWS {
        times.fill(0.0);
        for _ in 0..(seeds - 1).max(1) {
            times[rng.random_range(0..seeds)] += 1.0;
        }
        let (mut score, mut samples) = (0.0, 0.0);
        for _ in 0..(pictures - 1).max(1) {
            let picture = rng.random_range(0..pictures);
            samples += counts[picture];
            score += cells.iter().zip(&times).map(|(seed, times)| times * seed[picture].sum).sum::<f64>();
        }
        let mean = score / (samples * (seeds - 1).max(1) as f64);
        sum += mean;
        squares += mean * mean;
    }
    let draws = DRAWS as f64;
    ((squares - sum * sum / draws) / (draws - 1.0)).max(0.0)
}

#[cfg(test)]
mod tests;
