//! The comparison sees every option: a graph of one setting is not taken for that of another.

use crate::compare::compare;
use crate::methods::{cli, models};
use crate::product::load;
use crate::settings::{
    Adapter, Agf, Attention, Fusion, Gate, Injection, Norm, Point, Settings, Share, Tap, Windows, Wiring,
};

const AGF: Agf = Agf {
    attention: Attention::Separate,
    heads: 2,
    channel: false,
    bias_init: -1.0,
    norm: true,
    prompt: false,
    share: Share::Point,
};

/// Two taps into three points, on both sides of layers.
fn injection() -> Injection {
    Injection {
        taps: vec![Tap::Block(1), Tap::PostNorm],
        points: vec![Point::before(0), Point::after(1), Point::before(3)],
        adapter: Adapter::Amp { rank: 2, alpha: 5.0, per_linear: false },
        tap_norm: Norm::Layer,
        gate: Gate::Agf(AGF),
        ..cli()
    }
}

/// A setting, and one that a wrong graph might have in its place.
fn confusions() -> Vec<(&'static str, Injection, Injection)> {
    let own = injection;
    let gate = |agf: Agf| Injection { gate: Gate::Agf(agf), ..own() };
    let amp = |alpha: f64, per_linear: bool| Injection {
        adapter: Adapter::Amp { rank: 2, alpha, per_linear },
        ..own()
    };
    let diagonal =
        |taps: Vec<Tap>, points: Vec<Point>| Injection { taps, points, wiring: Wiring::Diagonal, ..own() };
    let pairs = |pairs: Vec<(Tap, Point)>| Injection { wiring: Wiring::Pairs(pairs, true), ..own() };
    let [first, second] = [Tap::Block(1), Tap::PostNorm];
    let [a, b, c] = [Point::before(0), Point::after(1), Point::before(3)];
    vec![
        ("convex as residual", Injection { fusion: Fusion::Convex, ..own() }, own()),
        ("sequential as parallel", Injection { sequential: true, ..own() }, own()),
        (
            "sequential as parallel, convex",
            Injection { sequential: true, fusion: Fusion::Convex, gate: Gate::Constant(0.3), ..own() },
            Injection { fusion: Fusion::Convex, gate: Gate::Constant(0.3), ..own() },
        ),
        ("alpha / rank", amp(5.0, false), amp(2.0, false)),
        ("alpha / rank per linear", amp(5.0, true), amp(2.0, true)),
        ("where the branch is", amp(5.0, true), amp(5.0, false)),
        ("a norm on taps", own(), Injection { tap_norm: Norm::None, ..own() }),
        (
            "after a layer as before it",
            Injection { points: vec![a, b, c], gate: Gate::Constant(0.3), ..own() },
            Injection { points: vec![a, Point::before(1), c], gate: Gate::Constant(0.3), ..own() },
        ),
        (
            "a tap by its position",
            diagonal(vec![second, first], vec![c, a]),
            diagonal(vec![first, second], vec![c, a]),
        ),
        (
            "another order of pairs, one after the other",
            Injection { sequential: true, ..pairs(vec![(second, a), (first, a), (first, b), (second, c)]) },
            Injection { sequential: true, ..pairs(vec![(first, a), (second, a), (first, b), (second, c)]) },
        ),
        ("a subset as dense", pairs(vec![(first, a), (second, b), (first, c), (second, c)]), own()),
        ("shared per point as global", own(), gate(Agf { share: Share::Global, ..AGF })),
        ("shared per edge as per point", gate(Agf { share: Share::Edge, ..AGF }), own()),
        ("two attentions as one", own(), gate(Agf { attention: Attention::Shared, ..AGF })),
        ("projections or none", own(), gate(Agf { attention: Attention::None, heads: 1, ..AGF })),
        ("heads", own(), gate(Agf { heads: 4, ..AGF })),
        ("one number or one per channel", gate(Agf { channel: true, ..AGF }), own()),
        ("a norm on what is pooled", own(), gate(Agf { norm: false, ..AGF })),
        ("start of the controller", gate(Agf { bias_init: -4.0, ..AGF }), own()),
        (
            "a constant",
            Injection { gate: Gate::Constant(0.3), ..own() },
            Injection { gate: Gate::Constant(0.25), ..own() },
        ),
        (
            "a state as the one before it",
            own(),
            Injection { taps: vec![Tap::Block(1), Tap::Block(4)], ..own() },
        ),
        (
            "embeddings as a block",
            Injection { input: Some(Tap::Embed), ..own() },
            Injection { input: Some(Tap::Block(1)), ..own() },
        ),
    ]
}

/// The same of what a model has besides: blocks of patches, positions, frames, multipliers.
fn confusions_of_models() -> Vec<(&'static str, Settings, Settings)> {
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = models(injection());
        (settings.vision.class_token, settings.vision.hidden, settings.vision.heads) = (false, 8, 1);
        (settings.vision.patch, settings.projector.merge) = (1, 2);
        (settings.language.head_dim, settings.language.multipliers.residual) = (6, Some(0.5));
        settings.language.sections = Some([1, 1, 1]);
        (settings.vision.position_grid, settings.vision.theta) = (Some(3), Some(20.0));
        change(&mut settings);
        settings
    };
    let own = || with(&|_| {});
    let [a, b] = [Point::before(0), Point::after(1)];
    let of = |heads| Windows { window: 2, queries: 1, heads };
    let windows = |change: &dyn Fn(&mut Settings)| {
        with(&|s| {
            (s.projector.merge, s.projector.windows, s.projector.eps) = (1, Some(of(4)), Some(0.01));
            s.injection.adapter = Adapter::PerEdge(vec![a, b]);
            change(s);
        })
    };
    vec![
        ("a norm of blocks as one of patches", own(), with(&|s| s.injection.tap_norm = Norm::Merged)),
        ("a norm at the input", with(&|s| s.projector.norm = Norm::Layer), own()),
        ("blocks of patches as patches", own(), with(&|s| s.projector.merge = 1)),
        ("corners as centres", with(&|s| s.vision.by_corners = true), own()),
        ("patches that are not turned", own(), with(&|s| s.vision.theta = None)),
        ("another base", own(), with(&|s| s.vision.theta = Some(1e4))),
        ("frames", with(&|s| s.vision.frames = 2), own()),
        ("rows and columns", own(), with(&|s| s.language.sections = None)),
        ("a row as a column", own(), with(&|s| s.language.sections = Some([2, 1, 0]))),
        ("the input", own(), with(&|s| s.injection.input = None)),
        ("queries of windows", windows(&|_| {}), own()),
        (
            "another corner",
            windows(&|_| {}),
            windows(&|s| s.injection.adapter = Adapter::PerEdge(vec![b, a])),
        ),
        (
            "a corner as a mean",
            windows(&|_| {}),
            windows(&|s| s.injection.adapter = Adapter::PerEdge(vec![a])),
        ),
        (
            "one per edge as one per tap",
            windows(&|_| {}),
            windows(&|s| s.injection.adapter = Adapter::PerTap),
        ),
        ("norms within", windows(&|_| {}), windows(&|s| s.projector.eps = None)),
        ("heads of windows", windows(&|_| {}), windows(&|s| s.projector.windows = Some(of(2)))),
        ("a multiplier", own(), with(&|s| s.language.multipliers.residual = None)),
        ("scores", own(), with(&|s| s.language.multipliers.attention = Some(1.0))),
        ("embeddings", own(), with(&|s| s.language.multipliers.embedding = Some(2.0))),
        ("logits", own(), with(&|s| s.language.multipliers.logits = Some(2.0))),
    ]
}

#[test]
fn a_graph_of_one_setting_is_not_taken_for_that_of_another() {
    let recipe = |settings: &Settings| load(&settings.recipe()).unwrap();
    let injections = confusions().into_iter().map(|(name, one, other)| (name, models(one), models(other)));
    for (name, one, other) in injections.chain(confusions_of_models()) {
        let given = recipe(&other);
        compare(&recipe(&one), &one, 3).unwrap_or_else(|difference| panic!("{name}: {difference}"));
        assert!(compare(&given, &one, 3).is_err(), "{name} is not seen");
    }
}
