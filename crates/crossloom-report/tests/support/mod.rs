//! Sample reports that the tests share.

mod curves;
mod hostile;
mod pictures;

pub(crate) use hostile::{HOSTILE, hostile};

use crossloom_report::{
    AccuracyColumn, AccuracyRow, AccuracyTable, Answer, Asset, Edge, Estimate, Gate, KernelChoice,
    Provenance, ReportData, Reproduction, RowKind, Sample, SampleSet, Timing, Topology, Variant,
};

/// A report as a run of two variants would give it.
pub(crate) fn example() -> ReportData {
    ReportData {
        name: "quickstart".into(),
        provenance: Provenance {
            date: "2031-05-04 14:12 UTC".into(),
            recipe_hash: "b3c1f09a7e42".into(),
            device: "CPU, 2 threads (AVX-512)".into(),
            total_seconds: Some(318.4),
            version: "0.1.0".into(),
        },
        accuracy: accuracy(),
        variants: vec![
            Variant {
                name: "projector".into(),
                description: "The last vision layer at the decoder's input.".into(),
                topology: projector(),
                gate_note: None,
                curves: curves::curves(11, 0.36),
                stages: Vec::new(),
            },
            Variant {
                name: "cli".into(),
                description: "All vision blocks into all decoder layers, through AMP and AGF.".into(),
                topology: dense(),
                gate_note: None,
                curves: curves::curves(12, 0.32),
                stages: Vec::new(),
            },
        ],
        samples: SampleSet {
            selection: "The first 18 questions of the test split, in its order.".into(),
            items: samples(),
        },
        reproduction: reproduction(),
        ..ReportData::default()
    }
}

fn estimate(mean: f64, half: f64) -> Estimate {
    Estimate { mean, low: mean - half, high: mean + half }
}

fn accuracy() -> AccuracyTable {
    let columns = [("overall", 9673), ("shape", 1198), ("color", 1201), ("yes/no", 7274)];
    let row = |name: &str, kind, means: [f64; 4], difference: Option<Estimate>, step_ms| AccuracyRow {
        name: name.into(),
        kind,
        cells: means
            .iter()
            .zip(columns)
            .map(|(mean, (_, questions))| {
                Some(estimate(*mean, 1.96 * (mean * (1.0 - mean) / questions as f64).sqrt()))
            })
            .collect(),
        difference,
        parameters: Some(if name.starts_with("cli") { 931_402 } else { 846_349 }),
        step_flops: Some(if name.starts_with("cli") { 5_380_000_000 } else { 5_180_000_000 }),
        step_ms,
        data_wait: name.starts_with("cli").then_some(0.013),
    };
    let prior = RowKind::QuestionOnly;
    AccuracyTable {
        split: "test".into(),
        metric: "accuracy".into(),
        meaning: "part of the questions answered exactly right".into(),
        notes: Vec::new(),
        columns: columns
            .iter()
            .map(|(name, questions)| AccuracyColumn { name: (*name).into(), questions: *questions })
            .collect(),
        rows: vec![
            row("projector", RowKind::Model, [0.8548, 0.812, 0.951, 0.8457], None, Some(52.1)),
            row(
                "cli",
                RowKind::Model,
                [0.8713, 0.846, 0.962, 0.8604],
                Some(estimate(0.0165, 0.0062)),
                Some(61.8),
            ),
            row(
                "projector, question only",
                prior,
                [0.6702, 0.341, 0.1306, 0.8112],
                Some(estimate(-0.1846, 0.0091)),
                None,
            ),
            row(
                "cli, question only",
                prior,
                [0.6689, 0.337, 0.1279, 0.8101],
                Some(estimate(-0.1859, 0.0092)),
                None,
            ),
        ],
        confidence: 0.95,
        method: "Wilson's, over pictures".into(),
        baseline: Some("projector".into()),
    }
}

fn names(first: &[&str], stem: &str, count: usize) -> Vec<String> {
    let head = first.iter().map(|name| (*name).to_owned());
    head.chain((0..count).map(|index| format!("{stem}.{index}"))).collect()
}

fn projector() -> Topology {
    let edge = Edge { name: "block.3->input".into(), tap: 4, point: 0, gate: None };
    Topology {
        vision: names(&["embed"], "block", 4),
        decoder: names(&["input"], "layer", 3),
        edges: vec![edge],
    }
}

fn dense() -> Topology {
    let mut topology = projector();
    for block in 0..4 {
        for layer in 0..3 {
            let mean = [[0.07, 0.11, 0.06], [0.13, 0.24, 0.12], [0.21, 0.41, 0.27], [0.09, 0.33, 0.46]]
                [block][layer];
            topology.edges.push(Edge {
                name: format!("block.{block}->layer.{layer}"),
                tap: block + 1,
                point: layer + 1,
                gate: Some(Gate {
                    mean,
                    deviation: Some(mean * 0.3),
                    history: curves::gate(block as u64 * 3 + layer as u64, mean),
                }),
            });
        }
    }
    topology
}

fn samples() -> Vec<Sample> {
    let shapes = ["circle", "rectangle", "triangle"];
    let colours = ["red", "teal", "blue", "yellow", "black"];
    (0..18)
        .map(|index: usize| {
            let (shape, colour) = (shapes[index / 2 % 3], colours[index / 3 % 5]);
            let (kind, question, truth, other) = match index % 3 {
                0 => ("shape", "what shape is in the image?".to_owned(), shape, shapes[(index / 2 + 1) % 3]),
                1 => ("color", format!("what color is the {shape}?"), colour, colours[(index / 3 + 2) % 5]),
                _ => ("yes/no", format!("is there not a {colour} shape in the picture?"), "no", "yes"),
            };
            let answer = |variant: &str, correct: bool| Answer {
                variant: variant.into(),
                text: if correct { truth.into() } else { other.into() },
                correct,
            };
            Sample {
                id: format!("test {index:04}"),
                picture: Some(pictures::picture(index as u64, shape, colour)),
                alt: format!("a {colour} {shape} on a plain ground"),
                kind: kind.into(),
                question,
                truth: truth.into(),
                answers: vec![
                    answer("projector", index % 4 != 1),
                    answer("cli", index % 7 != 1 && index != 9),
                    answer("projector, question only", index % 3 == 2),
                ],
            }
        })
        .collect()
}

fn reproduction() -> Reproduction {
    let pairs = [
        ("crossloom", "0.1.0 (commit 4f2c91d, clean)"),
        ("operating system", "Linux 6.1, x86_64"),
        ("seeds", "model 0, data order 1, permutations 7"),
        ("threads", "2"),
    ];
    let kernel = |site: &str, shape: &str, kernel: &str, note: &str| KernelChoice {
        site: site.into(),
        shape: shape.into(),
        kernel: kernel.into(),
        note: note.into(),
    };
    let time = |phase: &str, variant: Option<&str>, seconds| Timing {
        phase: phase.into(),
        variant: variant.map(str::to_owned),
        seconds,
    };
    Reproduction {
        command: "crossloom run recipes/quickstart.toml --set training.seed=0".into(),
        recipe: include_str!("recipe.toml").into(),
        environment: pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        kernels: vec![
            kernel(
                "inject.adapter.amp_project",
                "4096×96 · 96×96 (×4)",
                "gemm batched",
                "four taps in one product",
            ),
            kernel("inject.point.*.agf", "16×128×96", "agf_fused", "gate, update and next norm in one sweep"),
            kernel("vision.block.*.attn", "16×4×64×24", "attention_tiled", ""),
        ],
        assets: vec![Asset {
            name: "easy-vqa 1.0".into(),
            source: "PyPI".into(),
            bytes: Some(3_214_080),
            sha256: "5d0c54f1b2a9b7f0c3f3a6b7e0ad2b1c98e54f0a7d6c5b4a39281706f5e4d3c2".into(),
            licence: "MIT".into(),
        }],
        timings: vec![
            time("data", None, 4.2),
            time("compile", Some("projector"), 0.21),
            time("train", Some("projector"), 131.0),
            time("eval", Some("projector"), 7.9),
            time("compile", Some("cli"), 0.34),
            time("train", Some("cli"), 164.3),
            time("eval", Some("cli"), 10.1),
        ],
    }
}

/// The example with `count` more variants that have the topology of `cli`, each with an answer to every sample.
pub(crate) fn swept(count: usize) -> ReportData {
    let mut data = example();
    let model = data.variants[1].clone();
    for number in 0..count {
        let name = format!("cli,rank={number}");
        for sample in &mut data.samples.items {
            let answer = sample.answers[1].clone();
            sample.answers.push(Answer { variant: name.clone(), ..answer });
        }
        data.variants.push(Variant { name, ..model.clone() });
    }
    data
}
