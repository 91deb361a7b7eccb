//! A report in which every string attacks the page and every number is a bad one.

use crossloom_report::{
    AccuracyColumn, AccuracyRow, AccuracyTable, Answer, Asset, Curves, Edge, Estimate, Gate, KernelChoice,
    KeyFigure, Provenance, ReportData, Reproduction, RowKind, Sample, SampleSet, Series, Stage, Timing,
    Topology, Variant,
};

/// Tries to end every context that a string can stand in.
pub(crate) const HOSTILE: &str = "</script></style></svg></title>\"'`><img src=x onerror=alert(1)><script>alert(2)</script><!--]]>&lt;\u{0}\u{202e}";

fn bad() -> String {
    HOSTILE.to_owned()
}

fn estimate() -> Option<Estimate> {
    Some(Estimate { mean: f64::NAN, low: f64::NEG_INFINITY, high: f64::INFINITY })
}

fn series() -> Series {
    [(0, f64::NAN), (1, 1e308), (2, -1e308), (3, f64::INFINITY), (u64::MAX, 0.0)].into_iter().collect()
}

/// The report.
pub(crate) fn hostile() -> ReportData {
    let edge = |tap, point, mean| Edge {
        name: bad(),
        tap,
        point,
        gate: Some(Gate { mean, deviation: Some(f64::NAN), history: series() }),
    };
    ReportData {
        name: bad(),
        verdict: Some(bad()),
        key_figures: vec![KeyFigure { label: bad(), value: bad(), note: bad() }],
        provenance: Provenance {
            date: bad(),
            recipe_hash: bad(),
            device: bad(),
            total_seconds: Some(f64::INFINITY),
            version: bad(),
        },
        accuracy: AccuracyTable {
            split: bad(),
            metric: bad(),
            meaning: bad(),
            notes: vec![bad()],
            columns: vec![
                AccuracyColumn { name: bad(), questions: 0 },
                AccuracyColumn { name: bad(), questions: usize::MAX },
            ],
            rows: vec![
                AccuracyRow {
                    name: bad(),
                    cells: vec![estimate(), None],
                    difference: estimate(),
                    parameters: Some(u64::MAX),
                    step_flops: Some(u64::MAX),
                    step_ms: Some(f64::NAN),
                    data_wait: Some(f64::NAN),
                    ..AccuracyRow::default()
                },
                AccuracyRow {
                    name: "sound".into(),
                    kind: RowKind::QuestionOnly,
                    cells: vec![Some(Estimate { mean: 0.5, low: 0.4, high: 0.6 })],
                    ..AccuracyRow::default()
                },
            ],
            confidence: f64::NAN,
            method: bad(),
            baseline: Some(bad()),
        },
        variants: vec![Variant {
            name: bad(),
            description: bad(),
            gate_note: Some(bad()),
            topology: Topology {
                vision: vec![bad(), bad()],
                decoder: vec![bad()],
                edges: vec![
                    edge(0, 0, f64::NAN),
                    edge(1, 0, 0.3),
                    edge(7, 9, 0.1),
                    edge(0, 0, f64::INFINITY),
                ],
            },
            curves: Curves {
                loss: series(),
                held_out_loss: series(),
                sampled_score: series(),
                learning_rate: series(),
                gradient_norm: series(),
            },
            stages: [0, 2, u64::MAX]
                .map(|begins| Stage {
                    name: bad(),
                    begins,
                    steps: u64::MAX,
                    trained: u64::MAX,
                    learning_rate: f64::NAN,
                    loss: Some(f64::INFINITY),
                    taken_from: Some(bad()),
                })
                .into(),
        }],
        samples: SampleSet {
            selection: bad(),
            items: vec![
                Sample {
                    id: bad(),
                    picture: Some(HOSTILE.as_bytes().to_vec()),
                    alt: bad(),
                    kind: bad(),
                    question: bad(),
                    truth: bad(),
                    answers: vec![Answer { variant: bad(), text: bad(), correct: false }],
                },
                Sample { kind: "other".into(), ..Sample::default() },
            ],
        },
        reproduction: Reproduction {
            command: bad(),
            recipe: bad(),
            environment: vec![(bad(), bad())],
            kernels: vec![KernelChoice { site: bad(), shape: bad(), kernel: bad(), note: bad() }; 20],
            assets: vec![Asset {
                name: bad(),
                source: bad(),
                bytes: Some(u64::MAX),
                sha256: bad(),
                licence: bad(),
            }],
            timings: vec![Timing { phase: bad(), variant: Some(bad()), seconds: f64::NAN }],
        },
    }
}
