//! The comparison as an aligned table for a terminal.

use super::verdict::{EACH, p_of, p_value, points};
use super::{Comparison, Cost, Difference};
use crate::metrics::title;
use crate::stats::{Estimate, PairedDifference};

/// Letters per line where no terminal says how wide it is.
const WIDTH: usize = 160;

impl Comparison {
    /// The comparison for a file or a wide terminal; see [`Comparison::to_text_within`].
    pub fn to_text(&self) -> String {
        self.to_text_within(WIDTH)
    }

    /// Rows are the question types, columns the runs, priors and differences from the baseline in points. Where that is wider
    /// than `width` letters, the runs are the rows, and the types stand beside each other as far as they fit and then below
    /// each other. Below it the verdict and the warnings. Plain text.
    pub fn to_text_within(&self, width: usize) -> String {
        let mut header = vec!["type".to_owned(), "n".to_owned()];
        header.extend(self.columns.iter().map(|column| column.name.clone()));
        header.extend(self.priors.iter().map(|prior| prior.name.clone()));
        header.extend(
            self.differences.iter().map(|found| format!("{} - {} (points)", found.first, found.second)),
        );
        let mut rows = vec![header, self.row("overall", None)];
        rows.extend(self.types().into_iter().map(|kind| self.row(kind, Some(kind))));

        let wide = aligned(&rows);
        let fits = wide.lines().all(|line| line.chars().count() <= width);
        let mut text = if fits { wide } else { self.folded(&rows, width) };
        text.push('\n');
        let percent = self.resampling.confidence * 100.0;
        text += &format!(
            "{}, mean per question, from 0 to 1; [low, high] are {percent:.0} % intervals {}.\n",
            title(self.metric),
            self.method()
        );
        text += &self.seeds();
        if !self.differences.is_empty() {
            let test = if self.differences.iter().any(|found| found.overall.seeds > 1) {
                "the larger of Student's test over seeds and pictures and sign-flip permutations over pictures"
            } else {
                "sign-flip permutations over pictures"
            };
            text +=
                &format!("p: {test}, Holm-adjusted in the row of all types, not in those of single ones.\n");
        }
        for column in &self.columns {
            if let Some(benchmark) = &column.results.benchmark {
                text += &format!("`{}`: {}.\n", column.name, benchmark.to_text());
            }
        }
        let each = if self.differences.len() <= EACH { &self.differences[..] } else { &[] };
        for found in each {
            let Some(mcnemar) = found.mcnemar_p else { continue };
            text += &format!(
                "Only `{}` right: {}, only `{}` right: {}; exact McNemar {}.\n",
                found.first,
                found.only_first,
                found.second,
                found.only_second,
                p_value(mcnemar)
            );
        }
        for sentence in &self.verdict {
            text += &format!("{sentence}\n");
        }
        for warning in &self.warnings {
            text += &format!("warning: {warning}\n");
        }
        text
    }

    /// How many seeds each column has and how much they scatter, and what columns cost; nothing where neither is known.
    fn seeds(&self) -> String {
        let mut text = String::new();
        let several = self.columns.iter().filter(|column| column.results.overall.seeds > 1);
        let scatter: Vec<String> = several
            .map(|column| {
                let overall = column.results.overall;
                format!(
                    "`{}` {} (± {})",
                    column.name,
                    overall.seeds,
                    points(overall.deviation).trim_start_matches('+')
                )
            })
            .collect();
        if !scatter.is_empty() {
            text += &format!(
                "Seeds, with the standard deviation between them in points: {}.\n",
                scatter.join(", ")
            );
        }
        for cost in Cost::ALL {
            let known = self.columns.iter().filter_map(|column| Some((column, cost.of(column)?)));
            let figures: Vec<String> = known
                .map(|(column, value)| match cost {
                    Cost::Parameters => format!("`{}` {value}", column.name),
                    Cost::StepFlops => format!("`{}` {value:.3e}", column.name),
                    Cost::StepTime => format!("`{}` {value:.1}", column.name),
                })
                .collect();
            if !figures.is_empty() {
                let front: Vec<String> = self.front(cost).iter().map(|name| format!("`{name}`")).collect();
                let front = if front.len() > 1 {
                    format!("; Pareto front: {}", front.join(", "))
                } else {
                    String::new()
                };
                text += &format!("{}: {}{front}.\n", cost.title(), figures.join(", "));
            }
        }
        text
    }

    /// One row; `kind` is `None` for all types together.
    fn row(&self, label: &str, kind: Option<&str>) -> Vec<String> {
        let estimate_of = |results: &'_ crate::results::Results| -> Option<Estimate> {
            kind.map_or(Some(results.overall), |kind| results.by_type.get(kind).copied())
        };
        let difference_of = |found: &'_ Difference| -> Option<(PairedDifference, f64)> {
            match kind {
                None => Some((found.overall, found.p_adjusted)),
                Some(kind) => found.by_type.get(kind).map(|found| (*found, found.p_value)),
            }
        };
        let samples =
            self.columns.iter().filter_map(|column| estimate_of(&column.results)).map(|e| e.samples).max();
        let mut row = vec![label.to_owned(), samples.unwrap_or(0).to_string()];
        let dash = || "-".to_owned();
        row.extend(self.columns.iter().map(|column| {
            estimate_of(&column.results)
                .map_or_else(dash, |e| format!("{:.3} [{:.3}, {:.3}]", e.mean, e.low, e.high))
        }));
        row.extend(self.priors.iter().map(|prior| {
            let value = kind.map_or(Some(prior.overall), |kind| prior.by_type.get(kind).copied());
            value.map_or_else(dash, |value| format!("{value:.3}"))
        }));
        row.extend(self.differences.iter().map(|found| {
            difference_of(found).map_or_else(dash, |(found, p)| {
                let (size, low, high) = (points(found.difference), points(found.low), points(found.high));
                format!("{size} [{low}, {high}] {}", p_of(&found, p))
            })
        }));
        row
    }
}

impl Comparison {
    /// The same cells with a row per run: pairs of columns, a score and the difference from the baseline, in blocks that are
    /// at most `width` wide where one pair is not wider by itself.
    fn folded(&self, rows: &[Vec<String>], width: usize) -> String {
        let runs = self.columns.len() + self.priors.len();
        let Some((header, rows)) = rows.split_first() else { return String::new() };
        let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
        let mut names = vec!["run".to_owned()];
        names.extend((0..runs).map(|run| cell(header, 2 + run)));
        // Every type with its column of scores, and where there are differences that of them.
        let pairs = rows.iter().map(|row| {
            let mut scores = vec![format!("{} (n = {})", cell(row, 0), cell(row, 1))];
            scores.extend((0..runs).map(|run| cell(row, 2 + run)));
            let mut pair = vec![scores];
            if !self.differences.is_empty() {
                let mut differences = vec![format!("- {} (points)", self.baselines())];
                differences.extend(names[1..].iter().map(|name| {
                    let at = self.differences.iter().position(|found| found.first == *name);
                    at.map_or_else(|| "-".to_owned(), |at| cell(row, 2 + runs + at))
                }));
                pair.push(differences);
            }
            pair
        });
        let wide = |column: &Vec<String>| column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        let mut blocks: Vec<Vec<Vec<String>>> = Vec::new();
        for pair in pairs {
            let more: usize = pair.iter().map(|column| wide(column) + 2).sum();
            match blocks.last_mut() {
                Some(block)
                    if block.iter().map(|column| wide(column) + 2).sum::<usize>() + more <= width + 2 =>
                {
                    block.extend(pair);
                }
                _ => blocks.push([vec![names.clone()], pair].concat()),
            }
        }
        let text = |block: &Vec<Vec<String>>| {
            let lines: Vec<Vec<String>> =
                (0..=runs).map(|line| block.iter().map(|column| cell(column, line)).collect()).collect();
            aligned(&lines)
        };
        blocks.iter().map(text).collect::<Vec<_>>().join("\n")
    }
}

/// Rows with equal numbers of cells as lines; the first column left-aligned, the second right-aligned, the rest left.
fn aligned(rows: &[Vec<String>]) -> String {
    let cells = rows.first().map_or(0, Vec::len);
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..cells).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (i, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            if i == 1 && rows[0][0] == "type" {
                line += &format!("  {cell:>width$}");
            } else if i == 0 {
                line += &format!("{cell:<width$}");
            } else {
                line += &format!("  {cell:<width$}");
            }
        }
        text += line.trim_end();
        text.push('\n');
        if number == 0 {
            text += &"-".repeat(widths.iter().sum::<usize>() + 2 * cells.saturating_sub(1));
            text.push('\n');
        }
    }
    text
}
