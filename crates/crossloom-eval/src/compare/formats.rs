//! The comparison as a table for papers, pages and programs: one row per column of it.

use super::verdict::{p_of, points};
use super::{Column, Comparison, Cost, Difference, Standing};

/// A form of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// For Markdown hosts.
    Markdown,
    /// A `tabular` for LaTeX, with the rules of `booktabs`.
    Latex,
    /// Comma-separated, plain numbers.
    Csv,
}

/// Headings of the table for people.
const HEADINGS: [&str; 10] = [
    "model",
    "seeds",
    "score",
    "interval",
    "against",
    "difference (points)",
    "p (Holm)",
    "parameters",
    "FLOPs per step",
    "ms per step",
];

impl Comparison {
    /// The table of all types together.
    pub fn to_table(&self, format: TableFormat) -> String {
        match format {
            TableFormat::Markdown => self.markdown(),
            TableFormat::Latex => self.latex(),
            TableFormat::Csv => self.csv(),
        }
    }

    fn markdown(&self) -> String {
        let escaped = |cell: &String| cell.replace('|', "\\|").replace('\n', " ");
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = row(HEADINGS.map(str::to_owned).to_vec());
        text += &row(HEADINGS.map(|_| "---".to_owned()).to_vec());
        for column in &self.columns {
            text += &row(self.cells(column).iter().map(escaped).collect());
        }
        text += "\n";
        for line in self.notes() {
            text += &format!("{line}\n");
        }
        text
    }

    fn latex(&self) -> String {
        let row = |cells: Vec<String>| format!("  {} \\\\\n", cells.join(" & "));
        let mut text = String::from("\\begin{tabular}{lrrllrrrrr}\n  \\toprule\n");
        text += &row(HEADINGS.map(escaped_for_latex).to_vec());
        text += "  \\midrule\n";
        for column in &self.columns {
            text += &row(self.cells(column).iter().map(|cell| escaped_for_latex(cell)).collect());
        }
        text += "  \\bottomrule\n\\end{tabular}\n";
        for line in self.notes() {
            text += &format!("% {line}\n");
        }
        text
    }

    fn csv(&self) -> String {
        let mut text = String::from(
            "model,role,seeds,samples,pictures,score,low,high,between_seeds,against,difference,difference_low,difference_high,p,\
             p_holm,parameters,trained,step_flops,step_ms,on_front\n",
        );
        let front = self.front(Cost::StepFlops);
        for column in &self.columns {
            let overall = column.results.overall;
            let found = self.against(column);
            let costs = column.costs.unwrap_or_default();
            let role = if column.role == Standing::Model { "model" } else { "reference" };
            let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
            let count = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
            let of = |value: fn(&Difference) -> f64| number(found.map(value));
            let cells = [
                quoted(&column.name),
                role.to_owned(),
                overall.seeds.to_string(),
                overall.samples.to_string(),
                overall.clusters.to_string(),
                overall.mean.to_string(),
                overall.low.to_string(),
                overall.high.to_string(),
                overall.deviation.to_string(),
                found.map_or_else(String::new, |found| quoted(&found.second)),
                of(|found| found.overall.difference),
                of(|found| found.overall.low),
                of(|found| found.overall.high),
                of(|found| found.overall.p_value),
                of(|found| found.p_adjusted),
                count(costs.parameters),
                count(costs.trained),
                count(costs.step_flops),
                number(costs.step_ms),
                front.contains(&column.name.as_str()).to_string(),
            ];
            text += &(cells.join(",") + "\n");
        }
        text
    }

    /// The cells of a row for people.
    fn cells(&self, column: &Column) -> Vec<String> {
        let overall = column.results.overall;
        let costs = column.costs.unwrap_or_default();
        let dash = || "-".to_owned();
        let (against, difference, p) = match self.against(column) {
            Some(found) => {
                let overall = &found.overall;
                let interval = format!("[{}, {}]", points(overall.low), points(overall.high));
                let p = p_of(overall, found.p_adjusted).trim_start_matches("p ").replace("= ", "");
                (found.second.clone(), format!("{} {interval}", points(overall.difference)), p)
            }
            None => (dash(), dash(), dash()),
        };
        vec![
            column.name.clone(),
            overall.seeds.to_string(),
            format!("{:.3}", overall.mean),
            format!("[{:.3}, {:.3}]", overall.low, overall.high),
            against,
            difference,
            p,
            costs.parameters.map_or_else(dash, |count| count.to_string()),
            costs.step_flops.map_or_else(dash, |count| format!("{:.3e}", count as f64)),
            costs.step_ms.map_or_else(dash, |time| format!("{time:.1}")),
        ]
    }

    fn against(&self, column: &Column) -> Option<&Difference> {
        self.differences.iter().find(|found| found.first == column.name)
    }

    /// What a reader of the table must know.
    fn notes(&self) -> Vec<String> {
        let percent = self.resampling.confidence * 100.0;
        let metric = crate::metrics::title(self.metric);
        let mut notes =
            vec![format!("Score: {metric}, from 0 to 1, with {percent:.0} % intervals {}.", self.method())];
        notes.extend(self.warnings.iter().map(|warning| format!("Warning: {warning}")));
        notes
    }

    /// How intervals and p-values are made, to be read after `intervals`.
    pub(super) fn method(&self) -> &'static str {
        if self.columns.iter().any(|column| column.results.overall.seeds > 1) {
            "over seeds and pictures (pigeonhole bootstrap: seeds are drawn, then pictures within them)"
        } else {
            "over pictures (Agresti and Coull)"
        }
    }
}

/// A cell of a file of comma-separated values.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Text as LaTeX shows it.
fn escaped_for_latex(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', letter]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("$<$"),
            '≤' => escaped.push_str("$\\leq$"),
            other => escaped.push(other),
        }
    }
    escaped
}
