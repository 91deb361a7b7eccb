//! What a comparison means, in sentences that claim no more than the numbers.

use super::{Comparison, Difference, Standing};
use crate::stats::{MIN_CLUSTERS, PairedDifference, normal_quantile};

/// Points: hundredths of the score.
pub(super) fn points(value: f64) -> String {
    let text = format!("{:+.1}", value * 100.0);
    // Rounded to nothing, the sign would claim a direction.
    if text == "-0.0" || text == "+0.0" { "0.0".to_owned() } else { text }
}

pub(super) fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

/// `p`, adjusted or not, of a test. Where not one drawn pattern was as extreme, the draws only bound it.
pub(super) fn p_of(found: &PairedDifference, p: f64) -> String {
    if found.p_drawn && found.p_value <= found.p_least && p >= 0.001 {
        // Rounded up, so that the bound holds.
        format!("p ≤ {:.3}", (p * 1000.0 - 1e-9).ceil() / 1000.0)
    } else {
        p_value(p)
    }
}

/// Of more comparisons than this not each has a sentence, and a list of names ends.
pub(super) const EACH: usize = 8;

/// The names between backticks; of many the first.
fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(EACH).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(EACH) {
        0 if names.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl Comparison {
    /// Whether all comparisons are with one model.
    fn has_one_baseline(&self) -> bool {
        self.differences.iter().all(|found| found.second == self.baseline)
    }

    /// The name of the baseline, or words for several.
    pub(super) fn baselines(&self) -> String {
        if self.has_one_baseline() { self.baseline.clone() } else { "its baseline".to_owned() }
    }
}

/// The comparison of the model with the highest score, or of the runner-up where that is the baseline; the earlier on a tie.
fn lead(comparison: &Comparison) -> Option<&Difference> {
    let score = |name: &str| {
        let column = comparison.columns.iter().find(|column| column.name == name);
        column.map_or(f64::NEG_INFINITY, |column| column.results.overall.mean)
    };
    comparison.differences.iter().fold(None, |best: Option<&Difference>, found| match best {
        Some(best) if score(&best.first) >= score(&found.first) => Some(best),
        _ => Some(found),
    })
}

/// The main sentence first, which is about the model with the highest score, then references and priors.
pub(super) fn sentences(comparison: &Comparison) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(lead) = lead(comparison) {
        sentences.push(against_baseline(comparison, lead));
        if comparison.differences.len() <= EACH {
            let others = comparison.differences.iter().filter(|found| found.first != lead.first);
            sentences.extend(others.map(|found| against_baseline(comparison, found)));
        }
    }
    if comparison.differences.len() > 1 {
        sentences.push(best_of_many(comparison));
    }
    sentences.extend(against_references(comparison));
    sentences.extend(against_priors(comparison));
    sentences
}

fn against_baseline(comparison: &Comparison, found: &Difference) -> String {
    let (difference, p) = (found.overall.difference, found.p_adjusted);
    let (better, worse) =
        if difference >= 0.0 { (&found.first, &found.second) } else { (&found.second, &found.first) };
    let sign = if difference >= 0.0 { 1.0 } else { -1.0 };
    let (one, other) = (sign * found.overall.low, sign * found.overall.high);
    let interval = format!("[{}, {}]", points(one.min(other)), points(one.max(other)));
    let percent = comparison.resampling.confidence * 100.0;
    let size = points(difference.abs());
    let clusters = found.overall.clusters;
    let p_text = p_of(&found.overall, p);
    if found.significant {
        let test = match found.overall.seeds {
            0 | 1 => format!("sign-flip permutation over {clusters} pictures"),
            seeds => format!("over {seeds} seeds and {clusters} pictures"),
        };
        return format!(
            "`{better}` is better than `{worse}`: {size} points, {percent:.0} % interval {interval}, {p_text} ({test})."
        );
    }
    if found.only_first == 0 && found.only_second == 0 && difference == 0.0 {
        return format!(
            "`{}` and `{}` give equally good answers on every sample.",
            found.first, found.second
        );
    }
    let standing = if difference == 0.0 {
        format!("`{better}` and `{worse}` score the same")
    } else {
        format!("`{better}` scores {} points above `{worse}`", size.trim_start_matches('+'))
    };
    let interval = format!("{percent:.0} % interval {interval}");
    if clusters < MIN_CLUSTERS {
        return format!(
            "Too few pictures to call a difference significant: {standing}, on {clusters} where {MIN_CLUSTERS} are needed \
             ({interval}, {p_text})."
        );
    }
    let level = 1.0 - comparison.resampling.confidence;
    let comparisons = comparison.differences.len() as f64;
    if found.overall.p_least * comparisons >= level {
        return format!(
            "Too few pictures tell them apart to call a difference significant: {standing} ({interval}), and on as few where \
             they differ no outcome could have a p-value below {:.3}.",
            (found.overall.p_least * comparisons).min(1.0)
        );
    }
    let mut text =
        format!("No significant difference: {standing}, but chance is not ruled out ({interval}, {p_text}).");
    if found.overall.seeds > 1 {
        return text;
    }
    if let Some((detectable, needed)) = outlook(found, comparison) {
        text += &format!(
            " This test set can show differences of about {} points",
            points(detectable).trim_start_matches('+')
        );
        match needed {
            Some(Needed::About(needed)) => {
                text += &format!("; settling this one would take about {needed} questions.");
            }
            Some(Needed::MoreThan(asked)) => {
                text +=
                    &format!("; settling this one takes more than the {asked} questions that were asked.");
            }
            None => text += ".",
        }
    }
    text
}

/// Questions that would settle a difference of the size observed.
#[derive(Debug, PartialEq)]
enum Needed {
    About(u64),
    /// The estimate is no more than what was asked, which settled nothing.
    MoreThan(usize),
}

/// The difference that this test set shows with a power of 80 %, and the questions that would settle the one observed. Both
/// come from the width of the interval, so that shared pictures are accounted for, and are at the level that is left after a
/// correction for all comparisons.
fn outlook(found: &Difference, comparison: &Comparison) -> Option<(f64, Option<Needed>)> {
    let confidence = comparison.resampling.confidence;
    let level = (1.0 - confidence) / comparison.differences.len().max(1) as f64;
    let width = found.overall.high - found.overall.low;
    let standard_error = width / (2.0 * normal_quantile(0.5 + confidence / 2.0));
    let detectable = (normal_quantile(1.0 - level / 2.0) + normal_quantile(0.8)) * standard_error;
    if detectable <= 0.0 {
        return None;
    }
    let asked = found.overall.samples;
    let ratio = detectable / found.overall.difference.abs();
    let needed = asked as f64 * ratio * ratio;
    if needed <= asked as f64 {
        return Some((detectable, Some(Needed::MoreThan(asked))));
    }
    // Two digits say all that such an estimate knows; beyond ten million nobody will look.
    let needed = (needed.is_finite() && needed < 1e7).then(|| {
        let unit = 10_f64.powi((needed.log10().floor() as i32 - 1).max(0));
        Needed::About(((needed / unit).ceil() * unit) as u64)
    });
    Some((detectable, needed))
}

fn best_of_many(comparison: &Comparison) -> String {
    let mut significant: Vec<&Difference> =
        comparison.differences.iter().filter(|found| found.significant).collect();
    // The best first, where a list ends before its end.
    if significant.len() > EACH {
        significant.sort_by(|a, b| b.overall.difference.total_cmp(&a.overall.difference));
    }
    let names = |better: bool| -> Vec<&str> {
        let of_them = significant.iter().filter(|found| (found.overall.difference > 0.0) == better);
        of_them.map(|found| found.first.as_str()).collect()
    };
    let (better, worse) = (names(true), names(false));
    let (compared, baseline) = (comparison.differences.len(), comparison.baselines());
    let baseline = if comparison.has_one_baseline() { format!("`{baseline}`") } else { baseline };
    let models = comparison.columns.iter().filter(|column| column.role == Standing::Model).count();
    let mut text = format!("Of {models} models, significantly better than {baseline}: {}", listed(&better));
    if compared > EACH {
        let open = comparison.differences.len() - significant.len();
        text += &format!("; significantly worse: {}; not told apart from it: {open}", listed(&worse));
    }
    text + &format!(
        " (p-values corrected for {} comparisons after Holm; the others were not tested against each other).",
        comparison.differences.len()
    )
}

fn against_references(comparison: &Comparison) -> Vec<String> {
    let references = comparison.columns.iter().filter(|column| column.role == Standing::Reference);
    references
        .map(|reference| {
            let found: Vec<&Difference> =
                comparison.over_references.iter().filter(|found| found.second == reference.name).collect();
            let (above, not_above): (Vec<&Difference>, Vec<&Difference>) =
                found.into_iter().partition(|found| found.significant && found.overall.difference > 0.0);
            let level = format!("`{}` ({:.3})", reference.name, reference.results.overall.mean);
            if not_above.is_empty() {
                let margin = above.iter().map(|found| found.overall.difference).fold(f64::INFINITY, f64::min);
                let who = if above.len() == 1 {
                    format!("`{}` is", above[0].first)
                } else {
                    "All models are".to_owned()
                };
                format!("{who} above {level}, by {} points at least.", points(margin).trim_start_matches('+'))
            } else {
                let names: Vec<&str> = not_above.iter().map(|found| found.first.as_str()).collect();
                format!("Not significantly above {level}: {}.", listed(&names))
            }
        })
        .collect()
}

fn against_priors(comparison: &Comparison) -> Vec<String> {
    let models = || comparison.columns.iter().filter(|column| column.role == Standing::Model);
    comparison
        .priors
        .iter()
        .map(|prior| {
            let below: Vec<&str> = models()
                .filter(|column| column.results.overall.low <= prior.overall)
                .map(|column| column.name.as_str())
                .collect();
            let level = format!("`{}` ({:.3})", prior.name, prior.overall);
            if below.is_empty() {
                format!("The interval of every model lies above {level}.")
            } else {
                format!("Not clearly above {level}: {}.", listed(&below))
            }
        })
        .collect()
}

/// What limits the comparison.
pub(super) fn warnings(comparison: &Comparison) -> Vec<String> {
    let mut warnings = Vec::new();
    let models = comparison.columns.iter().filter(|column| column.role == Standing::Model);
    let seeds = models.map(|column| column.results.overall.seeds);
    if let (Some(least), Some(most)) = (seeds.clone().min(), seeds.max())
        && least != most
    {
        warnings.push(format!(
            "From {least} to {most} seeds were trained; methods are compared on the seeds that both have."
        ));
    }
    for column in &comparison.columns {
        let results = &column.results;
        if results.failed > 0 {
            warnings.push(format!(
                "`{}` is incomplete: {} of {} samples failed and are in none of its numbers.",
                column.name,
                results.failed,
                results.failed + results.overall.samples
            ));
        }
        if results.unfinished > 0 {
            warnings.push(format!(
                "`{}`: {} answers were cut at the longest length and scored as they were.",
                column.name, results.unfinished
            ));
        }
    }
    let pictures = comparison.columns.iter().map(|column| column.results.overall.clusters).min();
    if let Some(pictures) = pictures.filter(|&pictures| pictures < MIN_CLUSTERS) {
        warnings.push(format!(
            "{pictures} pictures hardly stand for others; {MIN_CLUSTERS} or more are needed to rely on a difference."
        ));
    }
    for found in comparison.differences.iter().filter(|found| found.excluded > 0) {
        warnings.push(format!(
            "`{}` and `{}` are compared on the {} samples that both answered.",
            found.first, found.second, found.overall.samples
        ));
    }
    warnings
}
