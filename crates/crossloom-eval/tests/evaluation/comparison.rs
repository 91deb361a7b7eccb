//! A comparison says who wins, and says so only when the numbers do.

use crossloom_eval::{
    Answer, CompareError, CompareOptions, Comparison, Contender, Cost, Costs, Metric, Question, Resampling,
    SampleRecord, Seed, Standing, StatsError, TableFormat, compare, question_only_prior,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const PICTURES: usize = 100;
const PER_PICTURE: usize = 8;

/// 800 questions about 100 pictures; `right(i)` says whether question `i` is answered rightly.
fn run(right: impl Fn(usize) -> bool) -> Vec<SampleRecord> {
    (0..PICTURES * PER_PICTURE)
        .map(|i| {
            let text = if right(i) { "red" } else { "blue" }.to_owned();
            let answer = Answer { text, finished: true };
            SampleRecord::answered(&question(i), answer, Metric::ExactMatch)
        })
        .collect()
}

fn question(i: usize) -> Question {
    Question {
        id: format!("q{i}"),
        image: format!("{}.png", i / PER_PICTURE),
        text: "what color?".into(),
        kind: if i.is_multiple_of(2) { "shape" } else { "color" }.into(),
        truth: vec!["red".into()],
    }
}

/// A seeded coin with probability `p` for question `i`; coins of different salt are independent.
fn coin(salt: u64, i: usize, p: f64) -> bool {
    let mut rng = ChaCha8Rng::seed_from_u64(i as u64);
    rng.set_stream(salt);
    rng.random::<f64>() < p
}

fn options() -> CompareOptions {
    CompareOptions {
        metric: Metric::ExactMatch,
        baseline: None,
        resampling: Resampling { draws: 1000, ..Resampling::default() },
        priors: Vec::new(),
    }
}

fn model<'a>(name: &'a str, records: &'a [SampleRecord]) -> Contender<'a> {
    Contender::one(name, Standing::Model, records)
}

fn two(first: &[SampleRecord], second: &[SampleRecord]) -> Comparison {
    compare(&[model("projector", first), model("cli", second)], &options()).unwrap()
}

#[test]
fn a_clear_winner_is_named_whichever_side_it_is_on() {
    let (weak, strong) = (run(|i| coin(1, i, 0.75)), run(|i| coin(1, i, 0.75) || coin(2, i, 0.3)));
    let there = two(&weak, &strong);
    let back = two(&strong, &weak);
    assert!(there.differences[0].significant && back.differences[0].significant);
    assert_eq!(there.differences[0].only_second, 0);
    for (comparison, winner, loser) in [(&there, "cli", "projector"), (&back, "projector", "cli")] {
        let expected = format!("`{winner}` is better than `{loser}`: +");
        assert!(comparison.verdict[0].starts_with(&expected), "{}", comparison.verdict[0]);
        assert!(comparison.verdict[0].contains("interval [+"), "{}", comparison.verdict[0]);
    }
}

#[test]
fn chance_is_called_chance() {
    let comparison = two(&run(|i| coin(1, i, 0.8)), &run(|i| coin(2, i, 0.8)));
    assert!(!comparison.differences[0].significant, "{:?}", comparison.differences[0]);
    let verdict = &comparison.verdict[0];
    assert!(verdict.starts_with("No significant difference: "), "{verdict}");
    assert!(verdict.contains("This test set can show differences of about"), "{verdict}");
    let same = run(|i| coin(1, i, 0.8));
    assert_eq!(
        two(&same, &same).verdict[0],
        "`cli` and `projector` give equally good answers on every sample."
    );
}

#[test]
fn among_equals_a_winner_is_found_no_more_often_than_promised() {
    let mut found = 0;
    for salt in 0..40 {
        let (a, b) = (run(|i| coin(100 + 2 * salt, i, 0.8)), run(|i| coin(101 + 2 * salt, i, 0.8)));
        found += i32::from(two(&a, &b).differences[0].significant);
    }
    // 2 are expected; 7 or more happen once in 300 such tests.
    assert!(found <= 6, "{found} of 40 at a level of 5 %");
}

#[test]
fn the_table_has_every_type_run_prior_and_difference() {
    let (projector, cli) = (run(|i| coin(1, i, 0.8)), run(|i| coin(1, i, 0.8) || coin(2, i, 0.4)));
    let blind = run(|i| coin(3, i, 0.5));
    let test: Vec<Question> = (0..PICTURES * PER_PICTURE).map(question).collect();
    let prior = question_only_prior([("what color?", "blue")], &test, Metric::ExactMatch);
    let contenders = [
        model("projector", &projector),
        model("cli", &cli),
        Contender::one("question_only", Standing::Reference, &blind),
    ];
    let options = CompareOptions { priors: vec![("prior".into(), prior)], ..options() };
    let comparison = compare(&contenders, &options).unwrap();
    let text = comparison.to_text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("type"));
    for column in ["projector", "cli", "question_only", "prior", "cli - projector (points)"] {
        assert!(lines[0].contains(column), "{}", lines[0]);
    }
    assert!(lines[2].starts_with("overall  800  0."), "{}", lines[2]);
    assert!(lines[3].starts_with("color    400  0."), "{}", lines[3]);
    assert!(lines[4].starts_with("shape    400  0."), "{}", lines[4]);
    // Cells stand below each other.
    let column = lines[0].find("question_only").unwrap();
    assert!(
        lines[2..5].iter().all(|line| line[column..].starts_with("0.") && line[..column].ends_with("  "))
    );
    assert!(text.contains("All models are above `question_only`"), "{text}");
    assert!(text.contains("The interval of every model lies above `prior` (0.000)."), "{text}");
    assert!(text.lines().all(|line| line.trim_end() == line));

    // The reference is a yardstick: it is in no comparison between models and cannot be the baseline.
    assert_eq!(comparison.differences.len(), 1);
    assert_eq!(comparison.over_references.len(), 2);
    let baseline = CompareOptions { baseline: Some("question_only".into()), ..options };
    assert!(matches!(compare(&contenders, &baseline), Err(CompareError::Baseline { .. })));

    let json = comparison.to_json().unwrap();
    assert_eq!(json["columns"][2]["role"], "reference");
    assert_eq!(json["differences"][0]["first"], "cli");
    assert!(json["columns"][1]["results"]["by_type"]["color"]["mean"].is_number());
}

#[test]
fn a_model_that_does_not_beat_the_blind_one_is_called_out() {
    let (seeing, blind) = (run(|i| coin(1, i, 0.6)), run(|i| coin(2, i, 0.6)));
    let contenders = [model("cli", &seeing), Contender::one("blind", Standing::Reference, &blind)];
    let comparison = compare(&contenders, &options()).unwrap();
    assert!(comparison.verdict[0].starts_with("Not significantly above `blind`"), "{:?}", comparison.verdict);
}

#[test]
fn several_models_are_corrected_for_their_number() {
    let runs: Vec<Vec<SampleRecord>> =
        (0..5).map(|salt| run(move |i| coin(1, i, 0.8) || (salt == 3 && coin(9, i, 0.3)))).collect();
    let names = ["a", "b", "c", "d", "e"];
    let contenders: Vec<Contender<'_>> =
        names.iter().zip(&runs).map(|(name, records)| model(name, records)).collect();
    let comparison = compare(&contenders, &options()).unwrap();
    let d = &comparison.differences[2];
    assert_eq!(d.first, "d");
    assert!(d.significant && (d.p_adjusted - 4.0 * d.overall.p_value).abs() < 1e-12);
    assert!(
        comparison
            .verdict
            .iter()
            .any(|sentence| sentence.starts_with("Of 5 models, significantly better than `a`: `d` ("))
    );
}

#[test]
fn few_pictures_make_no_difference_significant() {
    let few = |pictures: usize, right: bool| -> Vec<SampleRecord> {
        run(|_| right).into_iter().take(pictures * PER_PICTURE).collect()
    };
    let comparison = two(&few(19, false), &few(19, true));
    let found = &comparison.differences[0];
    assert!(found.p_adjusted < 0.01 && !found.significant, "{found:?}");
    let verdict = &comparison.verdict[0];
    assert!(
        verdict.starts_with("Too few pictures to call a difference significant: `cli` scores"),
        "{verdict}"
    );
    assert!(verdict.contains("on 19 where 20 are needed"), "{verdict}");
    assert!(
        comparison.warnings.iter().any(|warning| warning.contains("19 pictures hardly stand for others"))
    );
    assert!(two(&few(20, false), &few(20, true)).differences[0].significant);
    // One picture proves nothing, however many questions it has.
    let one = two(&few(1, false), &few(1, true));
    assert_eq!(one.differences[0].overall.p_value, 1.0);
}

#[test]
fn tests_against_references_are_corrected_too() {
    let (seeing, blind) = (run(|i| coin(1, i, 0.66)), run(|i| coin(2, i, 0.6)));
    let other = run(|i| coin(3, i, 0.62));
    let contenders =
        [model("a", &seeing), model("b", &other), Contender::one("blind", Standing::Reference, &blind)];
    let comparison = compare(&contenders, &options()).unwrap();
    let [a, b] = &comparison.over_references[..] else { panic!("two tests") };
    let (small, large) = if a.overall.p_value < b.overall.p_value { (a, b) } else { (b, a) };
    assert!((small.p_adjusted - (2.0 * small.overall.p_value).min(1.0)).abs() < 1e-12);
    assert!(large.p_adjusted >= small.p_adjusted);
}

#[test]
fn failed_samples_are_left_out_of_both_runs_and_reported() {
    let (a, mut b) = (run(|i| coin(1, i, 0.8)), run(|i| coin(2, i, 0.8)));
    for (i, record) in b.iter_mut().enumerate().take(10) {
        *record = SampleRecord::failed(&question(i), "truncated picture");
    }
    // The order of samples does not matter.
    b.reverse();
    let comparison = two(&a, &b);
    assert_eq!((comparison.differences[0].excluded, comparison.differences[0].overall.samples), (10, 790));
    assert_eq!(comparison.columns[0].results.overall.samples, 800);
    let text = comparison.to_text();
    assert!(text.contains("warning: `cli` is incomplete: 10 of 800 samples failed"), "{text}");
}

#[test]
fn runs_on_different_samples_cannot_be_compared() {
    let (a, mut b) = (run(|_| true), run(|_| false));
    b[7].id = "other".into();
    b.truncate(790);
    let error = compare(&[model("projector", &a), model("cli", &b)], &options()).unwrap_err();
    let CompareError::Samples { only_first, only_second, .. } = &error else { panic!("{error}") };
    assert_eq!((only_first.len(), only_second.len()), (1, 11));
    let text = error.to_string();
    assert!(
        text.contains("1 only in `cli` (other)") && text.contains("11 only in `projector` (q7, q790"),
        "{text}"
    );

    b = run(|_| true);
    b[3].id = "q4".into();
    let error = compare(&[model("projector", &a), model("cli", &b)], &options()).unwrap_err();
    assert_eq!(error, CompareError::Repeated { run: "cli".into(), id: "q4".into() });
}

#[test]
fn equal_ids_of_different_questions_are_not_paired() {
    let a = run(|_| true);
    type Change = fn(&mut SampleRecord);
    let changes: [(&str, Change); 4] = [
        ("picture", |record| record.image = "other.png".into()),
        ("question", |record| record.question = "what shape?".into()),
        ("type", |record| record.kind = "yes/no".into()),
        ("reference answer", |record| record.truth = vec!["green".into()]),
    ];
    for (what, change) in changes {
        let mut b = run(|_| true);
        b[3..6].iter_mut().for_each(change);
        let error = compare(&[model("projector", &a), model("cli", &b)], &options()).unwrap_err();
        let CompareError::Questions { differing: 3, id, .. } = &error else { panic!("{error}") };
        assert_eq!(id, "q3");
        let text = error.to_string();
        assert!(text.contains(&format!("`q3`, whose {what} is")) && text.contains("`projector`"), "{text}");
        // A yardstick is paired as well.
        let blind = Contender::one("blind", Standing::Reference, &b);
        assert!(compare(&[model("cli", &a), blind], &options()).is_err(), "{what}");
    }
}

#[test]
fn unusable_input_is_an_error() {
    let a = run(|_| true);
    assert_eq!(compare(&[], &options()), Err(CompareError::NoModel));
    assert_eq!(compare(&[model("x", &a), model("x", &a)], &options()), Err(CompareError::Name("x".into())));
    let failed: Vec<SampleRecord> = (0..3).map(|i| SampleRecord::failed(&question(i), "no")).collect();
    let error = compare(&[model("x", &failed)], &options());
    assert_eq!(error, Err(CompareError::Stats { run: "x".into(), error: StatsError::Empty }));
}

#[test]
fn a_large_difference_is_significant_however_many_models_are_compared() {
    let weak = run(|i| coin(1, i, 0.5));
    let strong: Vec<Vec<SampleRecord>> =
        (0..55).map(|salt| run(move |i| coin(1, i, 0.5) || coin(10 + salt, i, 0.68))).collect();
    let names: Vec<String> = (0..55).map(|i| format!("v{i}")).collect();
    let mut contenders = vec![model("base", &weak)];
    contenders.extend(names.iter().zip(&strong).map(|(name, records)| model(name, records)));
    let comparison = compare(&contenders, &options()).unwrap();
    for found in &comparison.differences {
        assert!(found.significant && found.overall.difference > 0.25, "{found:?}");
    }
    // Scores that have no common unit are drawn, and the draws grow with the comparisons.
    let uneven = |records: &[SampleRecord]| -> Vec<SampleRecord> {
        let score = |i: usize, score: f64| score * (0.5 + 0.5 / ((i + 2) as f64).sqrt());
        records
            .iter()
            .enumerate()
            .map(|(i, record)| SampleRecord { score: score(i, record.score), ..record.clone() })
            .collect()
    };
    let weak = uneven(&weak);
    let strong: Vec<Vec<SampleRecord>> = strong.iter().map(|records| uneven(records)).collect();
    let mut contenders = vec![model("base", &weak)];
    contenders.extend(names.iter().zip(&strong).map(|(name, records)| model(name, records)));
    let comparison = compare(&contenders, &options()).unwrap();
    for found in &comparison.differences {
        assert!(found.significant && found.overall.p_drawn, "{found:?}");
    }
    let sentence = &comparison.verdict[0];
    assert!(sentence.contains("p ≤ 0.003"), "the draws only bound it: {sentence}");
}

#[test]
fn questions_that_are_needed_are_more_than_were_asked() {
    let mut seen = 0;
    for salt in 0..60 {
        let share = 0.8 + 0.001 * salt as f64;
        let (a, b) = (run(|i| coin(1, i, 0.8)), run(|i| coin(20 + salt, i, share)));
        let comparison = two(&a, &b);
        let verdict = &comparison.verdict[0];
        if let Some((_, rest)) = verdict.split_once("would take about ") {
            let needed: usize = rest.split(' ').next().unwrap().parse().unwrap();
            assert!(needed > PICTURES * PER_PICTURE, "{verdict}");
            seen += 1;
        } else if verdict.starts_with("No significant") {
            assert!(verdict.contains("more than the 800 questions that were asked"), "{verdict}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn where_no_outcome_could_be_significant_that_is_said() {
    // 4 pictures differ, all in the same direction: p cannot be below 1/8.
    let (a, b) = (run(|i| i % 8 != 0 || i > 31), run(|_| true));
    let comparison = two(&a, &b);
    assert!(!comparison.differences[0].significant);
    let verdict = &comparison.verdict[0];
    assert!(verdict.starts_with("Too few pictures tell them apart"), "{verdict}");
    assert!(verdict.contains("no outcome could have a p-value below 0.125"), "{verdict}");
}

#[test]
fn many_runs_fold_to_the_width_and_have_one_best() {
    let runs: Vec<Vec<SampleRecord>> =
        (0..60).map(|salt| run(move |i| coin(1, i, 0.5) || coin(10 + salt, i, 0.01 * salt as f64))).collect();
    let names: Vec<String> = (0..60).map(|i| format!("variant,rank={i}")).collect();
    let contenders: Vec<Contender<'_>> =
        names.iter().zip(&runs).map(|(name, records)| model(name, records)).collect();
    let comparison = compare(&contenders, &options()).unwrap();
    for width in [80, 120, 160] {
        let text = comparison.to_text_within(width);
        let (table, _) = text.split_once("\n\nexact match").unwrap_or_else(|| panic!("{text}"));
        assert!(table.lines().all(|line| line.chars().count() <= width), "{width}:\n{table}");
        // All there is, wherever it stands.
        for (name, column) in names.iter().zip(&comparison.columns) {
            let overall = column.results.overall;
            let cell = format!("{:.3} [{:.3}, {:.3}]", overall.mean, overall.low, overall.high);
            assert!(
                table.lines().any(|line| line.starts_with(name) && line.contains(&cell)),
                "{name} {cell}"
            );
            let shape = column.results.by_type["shape"];
            let cell = format!("{:.3} [{:.3}, {:.3}]", shape.mean, shape.low, shape.high);
            assert!(
                table.lines().any(|line| line.starts_with(name) && line.contains(&cell)),
                "{name} {cell}"
            );
        }
        assert!(text.lines().count() < 300, "{}", text.lines().count());
    }
    let score = |column: &&crossloom_eval::compare::Column| column.results.overall.mean;
    let best = comparison.columns.iter().max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
    assert!(
        comparison.verdict[0].starts_with(&format!("`{}` is better", best.name)),
        "{}",
        comparison.verdict[0]
    );
    assert!(comparison.verdict.len() < 5, "{:?}", comparison.verdict);
    let of_many = &comparison.verdict[1];
    assert!(
        of_many.starts_with("Of 60 models, ") && of_many.contains(" more; significantly worse: none"),
        "{of_many}"
    );
    assert!(of_many.len() < 600, "{of_many}");
}

#[test]
fn the_first_sentence_is_about_the_best_model() {
    let runs: Vec<Vec<SampleRecord>> =
        [0.0, 0.1, 0.5, 0.2].into_iter().map(|p| run(move |i| coin(1, i, 0.5) || coin(2, i, p))).collect();
    let contenders: Vec<Contender<'_>> =
        ["a", "b", "c", "d"].iter().zip(&runs).map(|(name, records)| model(name, records)).collect();
    let comparison = compare(&contenders, &options()).unwrap();
    assert!(comparison.verdict[0].starts_with("`c` is better than `a`"), "{:?}", comparison.verdict);
    assert_eq!(comparison.verdict.iter().filter(|sentence| sentence.contains("`c` is better")).count(), 1);
    // Where the baseline is the best, it is the runner-up's.
    let comparison =
        compare(&contenders, &CompareOptions { baseline: Some("c".into()), ..options() }).unwrap();
    assert!(comparison.verdict[0].starts_with("`c` is better than `d`"), "{:?}", comparison.verdict);
}

/// A method with several seeds, each as good on average, with chance of its own.
fn seeds(salt: u64, chances: &[f64]) -> Vec<Vec<SampleRecord>> {
    (chances.iter().zip(salt..)).map(|(&chance, salt)| run(|i| coin(salt, i, chance))).collect()
}

fn method<'a>(name: &'a str, runs: &'a [Vec<SampleRecord>], against: Option<&'a str>) -> Contender<'a> {
    let seeds = runs.iter().zip(0..).map(|(records, seed)| Seed { seed, records }).collect();
    Contender { name, role: Standing::Model, seeds, against }
}

#[test]
fn seeds_are_one_column_and_a_difference_must_hold_over_them() {
    let plain = seeds(10, &[0.70, 0.72, 0.69, 0.71, 0.70]);
    // Better with every seed; and as much better on average, but by one seed alone.
    let (steady, lucky) =
        (seeds(20, &[0.80, 0.81, 0.79, 0.80, 0.80]), seeds(30, &[0.70, 0.72, 0.69, 0.99, 0.71]));
    let contenders =
        [method("plain", &plain, None), method("steady", &steady, None), method("lucky", &lucky, None)];
    let comparison = compare(&contenders, &options()).unwrap();
    let column = |name: &str| comparison.columns.iter().find(|column| column.name == name).unwrap();
    assert!(comparison.columns.iter().all(|column| column.results.overall.seeds == 5));
    let mean: f64 = plain.iter().flatten().map(|record| record.score).sum::<f64>() / 4000.0;
    assert!((column("plain").results.overall.mean - mean).abs() < 1e-12);
    assert!(column("lucky").results.overall.deviation > 5.0 * column("steady").results.overall.deviation);
    let of = |name: &str| comparison.differences.iter().find(|found| found.first == name).unwrap();
    assert!(of("steady").significant && !of("lucky").significant, "{:?}", comparison.differences);
    assert_eq!((of("steady").overall.seeds, of("steady").mcnemar_p), (5, None));
    let text = comparison.to_text();
    for part in ["over seeds and pictures", "`plain` 5 (± ", "over 5 seeds and 100 pictures"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn each_is_compared_with_the_baseline_that_it_names_seed_by_seed() {
    let (few, many) = (seeds(40, &[0.6, 0.6]), seeds(50, &[0.8, 0.8]));
    let (more_few, more_many) = (seeds(60, &[0.7, 0.7]), seeds(70, &[0.9, 0.9, 0.9]));
    let contenders = [
        method("plain,few", &few, None),
        method("plain,many", &many, None),
        method("new,few", &more_few, Some("plain,few")),
        method("new,many", &more_many, Some("plain,many")),
    ];
    let comparison = compare(&contenders, &options()).unwrap();
    let pairs: Vec<(&str, &str)> =
        comparison.differences.iter().map(|found| (&*found.first, &*found.second)).collect();
    assert_eq!(pairs, [("new,few", "plain,few"), ("new,many", "plain,many")]);
    assert_eq!(comparison.differences[1].overall.seeds, 2, "those that both have");
    assert!(comparison.warnings.iter().any(|warning| warning.contains("From 2 to 3 seeds")));
    let nobody = [method("a", &few, None), method("b", &many, Some("c"))];
    assert!(matches!(compare(&nobody, &options()), Err(CompareError::Baseline { .. })));
    let other: Vec<Seed<'_>> = many.iter().zip(7..).map(|(records, seed)| Seed { seed, records }).collect();
    let apart = [method("a", &few, None), Contender { seeds: other, ..method("b", &many, None) }];
    assert!(matches!(compare(&apart, &options()), Err(CompareError::Seeds { .. })));
}

#[test]
fn tables_have_a_row_per_column_and_the_front_is_what_nothing_beats() {
    let (cheap, dear, waste) = (seeds(80, &[0.6]), seeds(81, &[0.9]), seeds(82, &[0.5]));
    let contenders = [
        method("cheap_one", &cheap, None),
        method("dear|one", &dear, None),
        method("waste, 50 %", &waste, None),
    ];
    let mut comparison = compare(&contenders, &options()).unwrap();
    for (column, flops) in comparison.columns.iter_mut().zip([100, 300, 200]) {
        column.costs = Some(Costs { step_flops: Some(flops), step_ms: Some(1.5), ..Costs::default() });
    }
    assert_eq!(comparison.front(Cost::StepFlops), ["cheap_one", "dear|one"]);
    assert_eq!(comparison.front(Cost::StepTime), ["dear|one"]);
    assert_eq!(comparison.front(Cost::Parameters), [""; 0]);
    let markdown = comparison.to_table(TableFormat::Markdown);
    let rows: Vec<&str> = markdown.lines().take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 5);
    let bars = |row: &str| row.replace("\\|", "").matches('|').count();
    assert!(rows.iter().all(|row| bars(row) == bars(rows[0])), "{markdown}");
    let latex = comparison.to_table(TableFormat::Latex);
    assert!(latex.contains("cheap\\_one & 1 & ") && latex.contains("waste, 50 \\% & "), "{latex}");
    assert_eq!(latex.matches(" \\\\\n").count(), 4);
    let csv = comparison.to_table(TableFormat::Csv);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(
        lines[3].starts_with("\"waste, 50 %\",model,1,800,100,") && lines[3].ends_with(",200,1.5,false"),
        "{csv}"
    );
    assert_eq!(lines[1].split(',').count(), lines[0].split(',').count());
    let json = comparison.to_json().unwrap();
    assert_eq!(json["columns"][0]["costs"]["step_flops"], 100);
    let text = comparison.to_text();
    assert!(text.contains("Pareto front: `cheap_one`, `dear|one`"), "{text}");
}
