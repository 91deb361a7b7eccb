//! The rendered page as a text: well formed, complete, self-contained, and safe whatever the data holds.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checker;
#[path = "../support/mod.rs"]
mod support;

use checker::Page;
use crossloom_report::{AccuracyRow, ReportData, RowKind, Stage, render};
use support::{HOSTILE, example, hostile, swept};

fn check(data: &ReportData) -> (String, Page) {
    let text = render(data);
    let page = Page::parse(&text).unwrap_or_else(|problem| panic!("{problem}"));
    (text, page)
}

#[test]
fn every_page_is_well_formed_accessible_and_self_contained() {
    for data in [example(), hostile(), ReportData::default()] {
        let (text, page) = check(&data);
        assert_eq!(page.problems(), Vec::<String>::new());
        assert_eq!(page.count("h1"), 1);
        // Costs are shown where at least two models have some.
        let costs = text.contains("<section id=\"cost\"");
        assert_eq!(text.contains("href=\"#cost\""), costs);
        assert_eq!(page.count("section"), 6 + usize::from(costs));
    }
}

#[test]
fn scores_are_drawn_over_costs_with_what_nothing_beats() {
    let mut data = example();
    let (text, _) = check(&data);
    assert!(text.contains("Score and cost") && text.contains("5.38×10⁹ FLOPs a step"));
    let front = |data: &ReportData| {
        let (text, _) = check(data);
        let line = text.split("On the front: ").nth(1).and_then(|rest| rest.split(".</p>").next());
        line.map(str::to_owned).unwrap_or_default()
    };
    // `cli` costs more and scores more; then it costs more and scores less.
    assert_eq!(front(&data).split(", ").count(), 2, "{}", front(&data));
    let place = |data: &ReportData| data.accuracy.rows.iter().position(|row| row.name == "cli").unwrap();
    let cli = place(&data);
    data.accuracy.rows[cli].cells[0] = data.accuracy.rows[cli].cells[0].map(|_| crossloom_report::Estimate {
        mean: 0.01,
        low: 0.0,
        high: 0.02,
    });
    assert_eq!(front(&data), "projector");
    // The picture alone needs no page: it names what it shows and knows its colours.
    let alone = crossloom_report::score_over_cost(&data).unwrap();
    for part in [
        "<svg xmlns=\"http://www.w3.org/2000/svg\"",
        ">projector</text>",
        ">cli</text>",
        "class=\"front\"",
        "FLOPs",
    ] {
        assert!(alone.contains(part), "`{part}` is not in {alone}");
    }
    let style = alone.split("</style>").next().unwrap();
    for class in alone.split("class=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        for class in class.split(' ').filter(|class| *class != "name") {
            assert!(style.contains(&format!(".{class}")), "nothing says how `{class}` looks");
        }
    }
    assert!(!alone.contains("var("), "programs that draw SVG know no variables");
    data.accuracy.rows[cli].step_flops = None;
    data.accuracy.rows[cli].parameters = None;
    assert_eq!(crossloom_report::score_over_cost(&data), None);
    assert!(!check(&data).0.contains("Score and cost"), "a cost that is not known is not made up");
}

#[test]
fn the_time_of_a_step_says_how_much_of_it_waited_for_data() {
    let (text, _) = check(&example());
    assert!(text.contains("1.3% waiting for data"));
}

#[test]
fn the_example_shows_all_that_was_measured() {
    let data = example();
    let (text, page) = check(&data);
    assert_eq!(page.with_class("sample").len(), data.samples.items.len());
    assert_eq!(page.count("img"), data.samples.items.len());
    assert_eq!(page.with_class("topology").len(), 2);
    let edges: usize = data.variants.iter().map(|variant| variant.topology.edges.len()).sum();
    assert_eq!(page.with_class("edge-group").len(), edges);
    assert_eq!(page.with_class("shade").len(), 12, "one heat map cell per gated edge");
    assert_eq!(page.with_class("heat").len(), 1, "only one variant has gates");
    assert_eq!(page.with_class("small").len(), 3, "one course of gates per decoder point");
    assert_eq!(page.with_class("plot").len(), 3);
    assert!(page.with_class("empty").iter().all(|element| element.has("hidden")));
    for said in [
        "cli wins over projector: +1.7 points of accuracy (95% interval +1.0 to +2.3); without the picture, \
         it is 67.0%.",
        "block.3-&gt;layer.2: mean gate 0.460",
        "86.5 to 87.8",
        "+19%",
        "5 min 18 s",
        "5d0c54f1b2a9b7f0c3f3a6b7e0ad2b1c98e54f0a7d6c5b4a39281706f5e4d3c2",
        "Not shown, as they have no gated edge: projector.",
        "crossloom run recipes/quickstart.toml --set training.seed=0",
    ] {
        assert!(text.contains(said), "the page does not say: {said}");
    }
}

#[test]
fn stages_are_marked_where_they_begin_and_listed_with_what_they_trained() {
    let mut data = example();
    assert!(!render(&data).contains("Stages"));
    let align =
        Stage { name: "align".into(), steps: 800, trained: 12_345, learning_rate: 1e-3, ..Stage::default() };
    let tune = Stage { name: "tune".into(), begins: 800, steps: 2008, loss: Some(0.25), ..align.clone() };
    data.variants[1].stages =
        vec![Stage { taken_from: Some("cli of runs/x-1".into()), ..align.clone() }, tune.clone()];
    data.variants[0].stages = vec![align, tune];
    let (text, page) = check(&data);
    assert_eq!(page.problems(), Vec::<String>::new());
    assert_eq!(text.matches(">tune</text>").count(), 3, "once in each of three charts");
    assert_eq!(text.matches(">align</text>").count(), 0, "it begins where the chart does");
    for said in ["<td>801 to 2,808</td>", "12,345", "by cli of runs/x-1", "not recorded", "<td>here</td>"] {
        assert!(text.contains(said), "the page does not say: {said}");
    }
}

#[test]
fn answers_in_the_course_of_a_training_are_a_chart_of_their_own() {
    let mut data = example();
    assert!(!render(&data).contains("Score of a sample"));
    data.variants[0].curves.sampled_score = [(100, 0.25), (200, 0.5)].into_iter().collect();
    let (text, page) = check(&data);
    assert_eq!(page.problems(), Vec::<String>::new());
    assert_eq!(page.with_class("plot").len(), 4);
    assert!(text.contains("Score of a sample of the questions") && text.contains("mean score, 0 to 1"));
}

#[test]
fn a_prior_is_no_model_and_names_in_the_verdict_are_code() {
    let mut data = example();
    data.verdict = Some("`cli` is better than `projector`.".into());
    let prior = AccuracyRow { name: "most frequent".into(), kind: RowKind::Prior, ..AccuracyRow::default() };
    data.accuracy.rows.push(prior);
    let page = render(&data);
    assert!(page.contains("<code>cli</code> is better than <code>projector</code>."));
    assert!(page.contains("most frequent<span class=\"sub\">no model</span>"));
    assert!(page.contains("question only<span class=\"sub\">picture withheld</span>"));
}

#[test]
fn the_split_and_what_is_said_of_gates_are_told() {
    let mut data = example();
    assert!(render(&data).contains(
        "Accuracy over the test questions, in percent: part of the questions answered exactly right."
    ));
    data.accuracy.split = "validation".into();
    data.variants[1].gate_note = Some("12 of 12 gates are closed for every sample".into());
    let page = render(&data);
    assert!(page.contains("Accuracy over the validation questions") && !page.contains("test questions"));
    assert!(page.contains("cli: 12 of 12 gates are closed for every sample"));
}

#[test]
fn outcomes_compare_the_models_and_not_the_priors() {
    let (_, page) = check(&example());
    let of = |index: usize| page.with_class("sample")[index].get("data-outcome").to_owned();
    assert_eq!(of(0), "right", "both models right, the prior wrong");
    assert_eq!(of(1), "wrong", "both models wrong with the same answer");
    assert_eq!(of(5), "disagree");
}

#[test]
fn hostile_text_stays_text() {
    let (text, page) = check(&hostile());
    assert_eq!(page.count("img"), 0, "no picture is valid, so every img would be an injected one");
    assert!(!text.contains("<img") && !text.contains("<script>alert"));
    let scripts = page.elements.iter().filter(|element| element.tag == "script" && !element.has("type"));
    assert_eq!(scripts.count(), 1, "only the page's own script runs");
    assert!(
        page.elements.iter().all(|element| element.attributes.keys().all(|name| !name.starts_with("on")))
    );
    assert!(!text.contains('\u{0}'));
    assert!(
        page.texts.iter().any(|found| *found == HOSTILE.replace(['\u{0}', '\u{202e}'], "\u{fffd}")),
        "it is shown as it is"
    );
}

#[test]
fn numbers_that_are_not_finite_are_named() {
    let (text, _) = check(&hostile());
    for said in [
        "NaN",
        "NaN at step 0 and in 1 later records",
        "Gates that are not finite",
        "Not drawn, as their ends are unknown",
    ] {
        assert!(text.contains(said), "the page does not say: {said}");
    }
    for geometry in text.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(!geometry.contains("NaN") && !geometry.contains("inf"), "{geometry}");
    }
}

#[test]
fn an_empty_run_says_of_every_section_why_it_is_empty() {
    let (text, page) = check(&ReportData::default());
    assert!(page.with_class("empty").len() >= 11);
    for said in [
        "This run measured no accuracy",
        "no variant of this run was evaluated",
        "No topology is shown, because this run has no variants",
        "No gates are shown, because this run has no variants",
        "recorded no training metrics",
        "this run kept no answers",
        "did not record how it was started",
    ] {
        assert!(text.contains(said), "the page does not say: {said}");
    }
}

#[test]
fn the_same_data_gives_the_same_bytes() {
    assert_eq!(render(&example()), render(&example()));
}

#[test]
fn gates_of_a_run_without_them_are_explained() {
    let mut data = example();
    data.variants.truncate(1);
    let (text, _) = check(&data);
    assert!(text.contains("no variant of this run has a gated edge"));
}

#[test]
fn a_large_topology_stays_small() {
    let mut data = example();
    let topology = &mut data.variants[1].topology;
    let edge = topology.edges[1].clone();
    topology.vision = (0..40).map(|index| format!("block.{index}")).collect();
    topology.decoder = (0..40).map(|index| format!("layer.{index}")).collect();
    topology.edges = (0..1600)
        .map(|index| crossloom_report::Edge { tap: index % 40, point: index / 40, ..edge.clone() })
        .collect();
    let (text, page) = check(&data);
    assert_eq!(page.with_class("edge-group").len(), 1601);
    assert!(text.len() < 4_000_000, "{} bytes", text.len());
}

/// The example with `count` more models, whose curves and answers are those of `cli`, and the scores rise with the number.
fn crowded(count: usize) -> ReportData {
    let mut data = example();
    let (model, row) = (data.variants[1].clone(), data.accuracy.rows[1].clone());
    for number in 0..count {
        let name = format!("cli,rank={number}");
        data.variants.push(crossloom_report::Variant { name: name.clone(), ..model.clone() });
        let mut row = AccuracyRow { name, ..row.clone() };
        row.cells[0] =
            row.cells[0].map(|cell| crossloom_report::Estimate { mean: 0.5 + 0.001 * number as f64, ..cell });
        data.accuracy.rows.push(row);
    }
    data
}

#[test]
fn no_two_variants_look_alike_and_beyond_that_they_are_ranked() {
    let (text, page) = check(&crowded(56));
    assert_eq!(page.problems(), Vec::<String>::new());
    // The baseline, two without the picture, and the best five have a look; in every chart the others share one.
    for best in ["cli", "cli,rank=55", "cli,rank=54", "cli,rank=53", "cli,rank=52"] {
        assert!(text.matches(&format!("</svg>\n{best}</li>")).count() >= 2, "{best} is in both legends");
    }
    assert!(!text.contains("</svg>\ncli,rank=51</li>"), "the sixth is in no legend");
    assert!(text.contains("52 others"), "the legend counts the others");
    assert!(text.contains("the table below ranks all 60 rows"));
    // One of a look in each group of the chart, and one over its cost.
    for look in ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7"] {
        let drawn = text.matches(&format!("whisker {look}\"")).count();
        assert!(drawn <= 5, "{look}: {drawn} whiskers in 4 groups and over costs");
    }
    // The table is in the order of the scores.
    let place =
        |name: &str| text.find(&format!("<th scope=\"row\">{name}")).unwrap_or_else(|| panic!("{name}"));
    assert!(place("cli<") < place("projector<") && place("projector<") < place("cli,rank=55"));
    for number in 1..56 {
        assert!(
            place(&format!("cli,rank={number}<")) < place(&format!("cli,rank={}<", number - 1)),
            "{number}"
        );
    }
    // Where all can be told apart, all are drawn, in the order given.
    let (text, _) = check(&crowded(4));
    assert!(!text.contains("others") && !text.contains("ranks all"));
    assert!(text.find("</svg>\ncli,rank=0</li>") < text.find("</svg>\ncli,rank=3</li>"));
}

#[test]
fn a_sweep_is_folded_and_nothing_of_it_is_lost() {
    let (text, page) = check(&swept(60));
    assert_eq!(page.problems(), Vec::<String>::new());
    assert_eq!(page.with_class("topology").len(), 62);
    let samples = page.with_class("sample").len();
    assert_eq!(page.with_class("more").len(), 1 + samples, "the topologies, and the answers of every sample");
    // Eight of 62 variants and of 63 answers are shown at once.
    assert_eq!(text.matches("<summary>54 more</summary>").count(), 1);
    assert_eq!(text.matches("<summary>55 more</summary>").count(), samples);
    assert_eq!(text.matches("<dt class=\"").count(), 63 * samples, "every variant's answer to every sample");
    let (_, page) = check(&swept(5));
    assert!(page.with_class("more").is_empty(), "seven variants and eight answers are few");
}
