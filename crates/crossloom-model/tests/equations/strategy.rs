//! Random small recipes, valid by construction.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::settings::{
    Activation, Adapter, Agf, Attention, Family, Fusion, Gate, Injection, Language, Multipliers, Norm, Point,
    Projector, Settings, Share, Tap, Vision, Windows, Wiring,
};

fn activation() -> impl Strategy<Value = Activation> {
    select(vec![Activation::GeluErf, Activation::GeluTanh, Activation::QuickGelu])
}

fn eps() -> impl Strategy<Value = f64> {
    select(vec![1e-6, 1e-3, 1e-1])
}

fn vision() -> impl Strategy<Value = Vision> {
    let sizes = (1..=2usize, 2..=4usize, 1..=3usize, 1..=2usize, 2..=3usize, 2..=4usize);
    let flags = (any::<[bool; 7]>(), select(vec![None, None, Some(1), Some(3), Some(5)]));
    let more = (select(vec![1, 1, 2]), select(vec![None, None, Some(20.0), Some(1e4)]));
    (sizes, activation(), eps(), flags, more).prop_map(
        |(
            (patch, grid, layers, heads, width, mlp),
            activation,
            eps,
            (flags, position_grid),
            (frames, theta),
        )| {
            let [class_token, pre_norm, post_norm, qkv_bias, patch_bias, layer_scale, by_corners] = flags;
            // Sixteen patches are enough to see their order; most pictures have four.
            let grid = if patch == 1 { grid } else { 2 };
            // Rows and columns turn a pair each, and a class token has neither.
            let (class_token, head_width) =
                if theta.is_some() { (false, if heads == 1 { 8 } else { 4 }) } else { (class_token, width) };
            Vision {
                image_size: grid * patch + (patch - 1),
                patch,
                hidden: heads * head_width,
                layers,
                heads,
                mlp,
                activation,
                eps,
                class_token,
                pre_norm,
                post_norm,
                qkv_bias,
                patch_bias,
                layer_scale,
                position_grid,
                by_corners,
                frames,
                theta,
            }
        },
    )
}

fn language() -> impl Strategy<Value = Language> {
    let heads = select(vec![(1, 1), (2, 1), (2, 2)]);
    // Half as many pairs, which time, row and column share in turns.
    let head_dims =
        select(vec![(2, [1, 0, 0]), (4, [1, 1, 0]), (6, [1, 1, 1]), (8, [2, 1, 1]), (10, [2, 2, 1])]);
    let sizes = (select(vec![4usize, 6]), 1..=3usize, heads, head_dims, 2..=4usize);
    let number = || select(vec![None, Some(0.3), Some(2.5)]);
    let multipliers =
        (number(), number(), number(), number()).prop_map(|(embedding, residual, attention, logits)| {
            Multipliers { embedding, residual, attention, logits }
        });
    let more = (any::<[bool; 2]>(), multipliers);
    let families = select(vec![Family::Llama, Family::Qwen2, Family::Qwen3]);
    (sizes, select(vec![20.0, 1e4]), eps(), families, more).prop_map(
        |((hidden, layers, (heads, kv_heads), (head_dim, sections), mlp), theta, eps, family, more)| {
            let ([tied, in_three], multipliers) = more;
            Language {
                family,
                hidden,
                layers,
                heads,
                kv_heads,
                head_dim,
                mlp,
                theta,
                eps,
                tied,
                sections: in_three.then_some(sections),
                multipliers,
                vocab: 7,
            }
        },
    )
}

fn projector() -> impl Strategy<Value = Projector> {
    let merge = select(vec![1, 2]);
    (3..=5usize, activation(), any::<bool>(), merge, norm()).prop_map(
        |(hidden, activation, bias, merge, norm)| Projector {
            hidden,
            activation,
            bias,
            merge,
            norm,
            windows: None,
            eps: None,
        },
    )
}

fn norm() -> impl Strategy<Value = Norm> {
    select(vec![Norm::None, Norm::Layer, Norm::Merged])
}

/// Every state of an encoder.
fn states(vision: &Vision) -> Vec<Tap> {
    let blocks = (1..=vision.layers).map(Tap::Block);
    std::iter::once(Tap::Embed).chain(blocks).chain(vision.post_norm.then_some(Tap::PostNorm)).collect()
}

/// Every place of a decoder but the one after the last layer, which is last.
fn places(language: &Language) -> Vec<Point> {
    (0..language.layers).flat_map(|layer| [Point::before(layer), Point::after(layer)]).collect()
}

/// Some of a list, in any order.
fn some<T: Clone + std::fmt::Debug + 'static>(
    all: Vec<T>,
    range: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = Vec<T>> {
    let most = (*range.end()).min(all.len());
    subsequence(all, *range.start()..=most).prop_shuffle()
}

fn distinct<T: PartialEq + Copy>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// Taps, points and what joins them.
fn wired(taps: &[Tap], points: &[Point]) -> impl Strategy<Value = (Vec<Tap>, Vec<Point>, Wiring)> + use<> {
    let dense = (some(taps.to_vec(), 1..=3), some(points.to_vec(), 1..=3))
        .prop_map(|(taps, points)| (taps, points, Wiring::Dense));
    let broadcast = (some(taps.to_vec(), 1..=1), some(points.to_vec(), 1..=3))
        .prop_map(|(taps, points)| (taps, points, Wiring::Broadcast));
    let most = taps.len().min(points.len()).min(4);
    let (all_taps, all_points) = (taps.to_vec(), points.to_vec());
    let diagonal = (1..=most).prop_flat_map(move |n| {
        (some(all_taps.clone(), n..=n), some(all_points.clone(), n..=n))
            .prop_map(|(taps, points)| (taps, points, Wiring::Diagonal))
    });
    let cross: Vec<(Tap, Point)> =
        taps.iter().flat_map(|tap| points.iter().map(|point| (*tap, *point))).collect();
    let pairs = (some(cross, 1..=5), any::<bool>(), any::<bool>()).prop_map(|(pairs, written, turned)| {
        let mut taps = distinct(pairs.iter().map(|(tap, _)| *tap));
        let mut points = distinct(pairs.iter().map(|(_, point)| *point));
        if written && turned {
            taps.reverse();
            points.reverse();
        }
        (taps, points, Wiring::Pairs(pairs, written))
    });
    prop_oneof![3 => dense, 2 => diagonal, 1 => broadcast, 3 => pairs]
}

fn adapter(widest: usize) -> impl Strategy<Value = Adapter> {
    let amp = (1..=widest.min(3), select(vec![0.5, 2.5, 5.0]), any::<bool>())
        .prop_map(|(rank, alpha, per_linear)| Adapter::Amp { rank, alpha, per_linear });
    let per_edge = Adapter::PerEdge(Vec::new());
    prop_oneof![1 => Just(Adapter::Shared), 1 => Just(Adapter::PerTap), 1 => Just(per_edge), 3 => amp]
}

fn gate(width: usize) -> impl Strategy<Value = Gate> {
    let divisors: Vec<usize> = (1..=width).filter(|n| width.is_multiple_of(*n)).collect();
    let attention = prop_oneof![
        1 => Just((Attention::None, 1)),
        4 => (select(vec![Attention::Shared, Attention::Separate]), select(divisors)),
    ];
    let share = select(vec![Share::Point, Share::Edge, Share::Global]);
    let agf = (attention, share, any::<[bool; 3]>(), select(vec![-4.0, 0.25])).prop_map(
        |((attention, heads), share, [channel, prompt, norm], bias_init)| {
            Gate::Agf(Agf { attention, heads, channel, bias_init, norm, prompt, share })
        },
    );
    prop_oneof![
        1 => Just(Gate::None),
        1 => select(vec![-0.5, 0.3, 1.5]).prop_map(Gate::Constant),
        1 => select(vec![0.018, 0.7]).prop_map(|init| Gate::Static { init }),
        5 => agf,
    ]
}

fn fusion(gate: Gate) -> impl Strategy<Value = Fusion> {
    select(if gate == Gate::None { vec![Fusion::Add] } else { vec![Fusion::GatedAdd, Fusion::Convex] })
}

fn injection(vision: &Vision, language: &Language) -> impl Strategy<Value = Injection> + use<> {
    let taps = states(vision);
    let wired = wired(&taps, &places(language));
    let gated = gate(language.hidden).prop_flat_map(|gate| (Just(gate), fusion(gate)));
    let adapter = adapter(vision.hidden.min(language.hidden));
    let input = (select(taps), 0..4).prop_map(|(tap, dice)| (dice > 0).then_some(tap));
    (input, wired, adapter, gated, (norm(), any::<bool>())).prop_map(
        |(input, (taps, points, wiring), adapter, (gate, fusion), (tap_norm, sequential))| Injection {
            input,
            taps,
            points,
            wiring,
            adapter,
            tap_norm,
            gate,
            fusion,
            sequential,
        },
    )
}

/// Recipes that inject.
pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    (vision(), language(), projector()).prop_flat_map(|(vision, language, mut projector)| {
        if !vision.grid().is_multiple_of(projector.merge) {
            projector.merge = vision.grid();
        }
        let injection = injection(&vision, &language);
        let windows = (any::<bool>(), select(vec![1, 2]), select(vec![None, Some(0.03)]), any::<u8>());
        (Just(vision), Just(language), Just(projector), injection, windows).prop_map(
            |(vision, language, mut projector, mut injection, (reads, queries, eps, dice))| {
                if reads {
                    windowed(&vision, &mut projector, &mut injection, queries, usize::from(dice));
                    projector.eps = eps;
                }
                Settings { vision, language, projector, injection }
            },
        )
    })
}

/// A projector of windows in place of another; where it can, some points begin at corners.
fn windowed(
    vision: &Vision,
    projector: &mut Projector,
    injection: &mut Injection,
    queries: usize,
    dice: usize,
) {
    let grid = vision.grid();
    // Windows of two by two patches in four by four, or all patches as one.
    let window = if grid == 4 && dice.is_multiple_of(2) { 2 } else { grid };
    let queries = if window.is_multiple_of(queries) { queries } else { 1 };
    projector.merge = 1;
    projector.windows = Some(Windows { window, queries, heads: vision.heads });
    match &mut injection.adapter {
        Adapter::PerEdge(corners) if window == 2 * queries => {
            corners.extend(injection.points.iter().rev().take(1 + dice % 4));
        }
        adapter @ Adapter::Amp { .. } => *adapter = Adapter::PerTap,
        _ => {}
    }
}
