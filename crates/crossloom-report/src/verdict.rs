//! The finding in one sentence, derived from the accuracies and from nothing else.

use crate::data::{AccuracyRow, AccuracyTable, Estimate, RowKind};
use crate::number::{percent, percent_interval, points_interval, signed};

/// The finding of `table` in one sentence.
///
/// A winner is named only if the interval of its paired difference to the baseline excludes zero.
pub fn verdict(table: &AccuracyTable) -> String {
    let Some((best, score)) = best_model(table) else {
        return "This run measured no accuracy, so it has no finding.".to_owned();
    };
    let level = percent_level(table.confidence);
    let finding = match comparison(table, best) {
        None => format!(
            "{} reaches {}% {} on the {} ({level} interval {}%)",
            best.name,
            percent(score.mean),
            table.metric(),
            table.questions(),
            percent_interval(&score),
        ),
        Some(Comparison { winner: Some(winner), loser, difference }) => format!(
            "{} wins over {}: {} points of {} ({level} interval {})",
            winner.name,
            loser.name,
            signed(difference.mean * 100.0, 1),
            table.metric(),
            points_interval(&difference),
        ),
        Some(Comparison { winner: None, loser, difference }) => format!(
            "No winner: {} ({}%) differs from {} by {} points, and the {level} interval ({}) includes zero",
            best.name,
            percent(score.mean),
            loser.name,
            signed(difference.mean * 100.0, 1),
            points_interval(&difference),
        ),
    };
    match yardstick(table) {
        Some((RowKind::Prior, prior)) => {
            format!("{finding}; the most frequent answers alone get {}%.", percent(prior.mean))
        }
        Some((_, blind)) => {
            format!("{finding}; without the picture, it is {}%.", percent(blind.mean))
        }
        None => format!("{finding}."),
    }
}

/// `95%` for 0.95.
pub(crate) fn percent_level(confidence: f64) -> String {
    let text = percent(confidence);
    format!("{}%", text.strip_suffix(".0").unwrap_or(&text))
}

/// The overall accuracy of a row, if it was measured and is finite.
pub(crate) fn overall(row: &AccuracyRow) -> Option<Estimate> {
    row.cells.first().copied().flatten().filter(Estimate::is_finite)
}

/// The model with the highest overall accuracy, the earlier one on a tie.
pub(crate) fn best_model(table: &AccuracyTable) -> Option<(&AccuracyRow, Estimate)> {
    best(table, RowKind::Model)
}

/// What can be had without the picture, and how that was measured: the best of the models from which it was withheld, or,
/// where there is none, the best prior.
pub(crate) fn yardstick(table: &AccuracyTable) -> Option<(RowKind, Estimate)> {
    let kinds = [RowKind::QuestionOnly, RowKind::Prior];
    kinds.into_iter().find_map(|kind| Some((kind, best(table, kind)?.1)))
}

fn best(table: &AccuracyTable, kind: RowKind) -> Option<(&AccuracyRow, Estimate)> {
    let mut found: Option<(&AccuracyRow, Estimate)> = None;
    for row in table.rows.iter().filter(|row| row.kind == kind) {
        if let Some(score) = overall(row)
            && found.is_none_or(|(_, top)| score.mean > top.mean)
        {
            found = Some((row, score));
        }
    }
    found
}

/// The paired comparison that the headline rests on.
pub(crate) struct Comparison<'a> {
    /// The better row, if zero is outside the interval.
    pub(crate) winner: Option<&'a AccuracyRow>,
    /// The other row (the baseline where there is no winner).
    pub(crate) loser: &'a AccuracyRow,
    /// Winner minus loser; best minus baseline where there is no winner.
    pub(crate) difference: Estimate,
}

/// Compares the best model with the baseline, or the baseline with its runner-up where it is the best itself.
pub(crate) fn comparison<'a>(table: &'a AccuracyTable, best: &'a AccuracyRow) -> Option<Comparison<'a>> {
    let baseline_name = table.baseline.as_deref()?;
    let baseline = table.rows.iter().find(|row| row.name == baseline_name)?;
    let finite = |row: &AccuracyRow| row.difference.filter(Estimate::is_finite);
    if best.name != baseline.name {
        let difference = finite(best)?;
        let winner = if difference.low > 0.0 { Some(best) } else { None };
        return Some(Comparison { winner, loser: baseline, difference });
    }
    let mut runner_up: Option<(&AccuracyRow, Estimate)> = None;
    for row in table.rows.iter().filter(|row| row.kind == RowKind::Model && row.name != baseline.name) {
        if let Some(difference) = finite(row)
            && runner_up.is_none_or(|(_, top)| difference.mean > top.mean)
        {
            runner_up = Some((row, difference));
        }
    }
    let (other, difference) = runner_up?;
    let reversed = Estimate { mean: -difference.mean, low: -difference.high, high: -difference.low };
    let winner = if reversed.low > 0.0 { Some(baseline) } else { None };
    Some(Comparison { winner, loser: other, difference: reversed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::AccuracyColumn;

    fn row(name: &str, mean: f64, difference: Option<(f64, f64, f64)>) -> AccuracyRow {
        AccuracyRow {
            name: name.into(),
            cells: vec![Some(Estimate { mean, low: mean - 0.01, high: mean + 0.01 })],
            difference: difference.map(|(mean, low, high)| Estimate { mean, low, high }),
            ..AccuracyRow::default()
        }
    }

    fn table(rows: Vec<AccuracyRow>) -> AccuracyTable {
        AccuracyTable {
            split: "test".into(),
            columns: vec![AccuracyColumn { name: "overall".into(), questions: 100 }],
            rows,
            confidence: 0.95,
            baseline: Some("projector".into()),
            ..AccuracyTable::default()
        }
    }

    #[test]
    fn a_winner_needs_an_interval_without_zero() {
        let clear = table(vec![row("projector", 0.855, None), row("cli", 0.87, Some((0.015, 0.006, 0.024)))]);
        assert_eq!(
            verdict(&clear),
            "cli wins over projector: +1.5 points of accuracy (95% interval +0.6 to +2.4)."
        );
        let open = table(vec![row("projector", 0.855, None), row("cli", 0.86, Some((0.005, -0.003, 0.013)))]);
        assert!(verdict(&open).starts_with("No winner: cli (86.0%) differs from projector by +0.5 points"));
    }

    #[test]
    fn the_metric_is_called_by_its_name() {
        let mut named =
            table(vec![row("projector", 0.855, None), row("cli", 0.87, Some((0.015, 0.006, 0.024)))]);
        named.metric = "ANLS".to_owned();
        assert!(verdict(&named).contains("+1.5 points of ANLS"), "{}", verdict(&named));
        named.rows.truncate(1);
        assert!(verdict(&named).starts_with("projector reaches 85.5% ANLS on the test questions"));
    }

    #[test]
    fn a_winning_baseline_is_named() {
        let table = table(vec![row("projector", 0.9, None), row("cli", 0.87, Some((-0.03, -0.04, -0.02)))]);
        assert_eq!(
            verdict(&table),
            "projector wins over cli: +3.0 points of accuracy (95% interval +2.0 to +4.0)."
        );
    }

    #[test]
    fn a_single_model_and_nothing_at_all_have_their_own_sentences() {
        let mut single = table(vec![row("projector", 0.855, None)]);
        single.rows.push(AccuracyRow { kind: RowKind::QuestionOnly, ..row("blind", 0.67, None) });
        assert_eq!(
            verdict(&single),
            "projector reaches 85.5% accuracy on the test questions (95% interval 84.5 to 86.5%); \
             without the picture, it is 67.0%."
        );
        assert_eq!(verdict(&table(vec![row("x", f64::NAN, None)])), verdict(&AccuracyTable::default()));
    }

    #[test]
    fn a_prior_is_the_yardstick_only_where_no_model_was_blinded() {
        let prior = AccuracyRow { kind: RowKind::Prior, ..row("most frequent answer", 0.7, None) };
        let mut single = table(vec![row("projector", 0.855, None), prior]);
        assert!(verdict(&single).ends_with("; the most frequent answers alone get 70.0%."));
        single.rows.push(AccuracyRow { kind: RowKind::QuestionOnly, ..row("blind", 0.67, None) });
        assert!(verdict(&single).ends_with("; without the picture, it is 67.0%."));
    }
}
