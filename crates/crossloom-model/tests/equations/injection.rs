//! AMP, AGF and their neighbours, from their equations, one picture and one sequence at a time.
//!
//! With `h` the hidden state at a point, `X_k` the state of tap k, P the projector, M the visual positions:
//!
//! ```text
//! V̂_k = P(X_k) + α/r · B_k A_k X_k                     adapter `amp`, `parallel`
//! a_v = Attn(q_v; V̂_k)      a_h = Attn(q_h; h[pool])
//! W_k = sigmoid(C [a_v ; a_h] + c)
//! h  ← h + M ⊙ Σ_k W_k V̂_k                             or, convex, h + M ⊙ Σ_k W_k (V̂_k − h)
//! ```

use std::collections::BTreeMap;

use crate::algebra::{
    Linear, Row, Rows, activate, attend, dot, layer_norm, plus, product, rms_norm, sigmoid, times,
};
use crate::batch::Sequence;
use crate::settings::{Adapter, Agf, Attention, Fusion, Gate, Norm, Point, Settings, Share, Tap, edge};
use crate::tape::Num;
use crate::vision::States;
use crate::weights::Weights;
use crate::windows;

/// A picture's features by tap, or by edge where each has its own; one row per visual token.
pub(crate) type Features<'t> = BTreeMap<String, Rows<'t>>;

/// Whose features an edge carries.
fn carried(settings: &Settings, tap: Tap, point: Point) -> String {
    match settings.injection.adapter {
        Adapter::PerEdge(_) => edge(tap, point),
        _ => tap.to_string(),
    }
}

/// `P(X)` with the weights under a prefix.
fn projector<'t>(settings: &Settings, weights: &Weights<'t>, prefix: &str) -> [Linear<'t>; 2] {
    let (p, to) = (&settings.projector, settings.language.hidden);
    let from = settings.vision.hidden * p.merge.pow(2);
    [
        weights.linear(&format!("{prefix}.linear_1"), p.hidden, from, p.bias),
        weights.linear(&format!("{prefix}.linear_2"), to, p.hidden, p.bias),
    ]
}

fn activated<'t>(settings: &Settings, x: Row<'t>) -> Row<'t> {
    x.into_iter().map(|x| activate(settings.projector.activation, x)).collect()
}

/// The input embeddings of the visual tokens.
pub(crate) fn visual_input<'t>(settings: &Settings, weights: &Weights<'t>, states: &States<'t>) -> Rows<'t> {
    let Some(input) = settings.injection.input else {
        return vec![vec![Num::constant(0.0); settings.language.hidden]; settings.visual_tokens()];
    };
    let name = "multi_modal_projector";
    let tokens =
        merged(settings, weights, &format!("{name}.norm"), settings.projector.norm, states.tap(input));
    if let Some(of) = settings.projector.windows {
        return windows::tokens(settings, weights, name, of, None, &tokens);
    }
    let [first, second] = projector(settings, weights, name);
    tokens.iter().map(|x| second.of(&activated(settings, first.of(x)))).collect()
}

/// The features of all taps.
pub(crate) fn features<'t>(settings: &Settings, weights: &Weights<'t>, states: &States<'t>) -> Features<'t> {
    let injection = &settings.injection;
    if let Adapter::PerEdge(corners) = &injection.adapter {
        let of_point = |&point: &Point| injection.taps_of(point).into_iter().map(move |tap| (tap, point));
        let adapted = |(tap, point): (Tap, Point)| {
            let prefix = format!("injection.adapter.{}.{tap}", point.name());
            let corner = corners.iter().position(|corner| *corner == point);
            (edge(tap, point), adapt(settings, weights, &prefix, corner, states.tap(tap)))
        };
        return injection.points.iter().flat_map(of_point).map(adapted).collect();
    }
    let prefix = |tap: Tap| format!("injection.adapter.{tap}");
    let adapted =
        |&tap: &Tap| (tap.to_string(), adapt(settings, weights, &prefix(tap), None, states.tap(tap)));
    injection.taps.iter().map(adapted).collect()
}

/// Patches to tokens: the channels of a block of patches one after the other, row by row, with a norm on each patch or on each
/// block.
fn merged<'t>(
    settings: &Settings,
    weights: &Weights<'t>,
    name: &str,
    norm: Norm,
    patches: Rows<'t>,
) -> Rows<'t> {
    let (side, width) = (settings.projector.merge, settings.vision.hidden);
    let grid = settings.vision.grid() / side;
    let normed = |rows: Rows<'t>, width: usize| -> Rows<'t> {
        let norm = weights.layer_norm(name, width);
        rows.iter().map(|x| layer_norm(x, &norm, settings.vision.eps)).collect()
    };
    let patches = if norm == Norm::Layer { normed(patches, width) } else { patches };
    let block = |token: usize| -> Row<'t> {
        let (top, left) = (token / grid * side, token % grid * side);
        let within = (0..side).flat_map(|y| (0..side).map(move |x| (top + y, left + x)));
        within.flat_map(|(y, x)| patches[y * grid * side + x].clone()).collect()
    };
    let blocks: Rows<'t> = (0..grid * grid).map(block).collect();
    if norm == Norm::Merged { normed(blocks, width * side * side) } else { blocks }
}

fn adapt<'t>(
    settings: &Settings,
    weights: &Weights<'t>,
    prefix: &str,
    corner: Option<usize>,
    patches: Rows<'t>,
) -> Rows<'t> {
    let (inner, to) = (settings.projector.hidden, settings.language.hidden);
    let from = settings.vision.hidden * settings.projector.merge.pow(2);
    let tokens = merged(settings, weights, &format!("{prefix}.norm"), settings.injection.tap_norm, patches);
    let own = format!("{prefix}.projector");
    let has_own = matches!(settings.injection.adapter, Adapter::PerTap | Adapter::PerEdge(_));
    let name = if has_own { own.as_str() } else { "multi_modal_projector" };
    if let Some(of) = settings.projector.windows {
        return windows::tokens(settings, weights, name, of, corner, &tokens);
    }
    let [first, second] = projector(settings, weights, name);
    // `α/r · B A x`.
    let branch = |name: &str, columns: usize, rows: usize, x: &Row<'t>, rank: usize, alpha: f64| {
        let a = weights.matrix(&format!("{prefix}.{name}lora_A.weight"), rank, columns);
        let b = weights.matrix(&format!("{prefix}.{name}lora_B.weight"), rows, rank);
        times(&product(&b, &product(&a, x)), alpha / rank as f64)
    };
    let token = |x: &Row<'t>| match settings.injection.adapter {
        Adapter::Shared | Adapter::PerTap | Adapter::PerEdge(_) => {
            second.of(&activated(settings, first.of(x)))
        }
        Adapter::Amp { rank, alpha, per_linear: false } => {
            plus(&second.of(&activated(settings, first.of(x))), &branch("", from, to, x, rank, alpha))
        }
        Adapter::Amp { rank, alpha, per_linear: true } => {
            let hidden = plus(&first.of(x), &branch("linear_1.", from, inner, x, rank, alpha));
            let hidden = activated(settings, hidden);
            plus(&second.of(&hidden), &branch("linear_2.", inner, to, &hidden, rank, alpha))
        }
    };
    tokens.iter().map(token).collect()
}

/// Changes the hidden state at a point; gives the weight of every edge into it.
pub(crate) fn inject<'t>(
    settings: &Settings,
    weights: &Weights<'t>,
    h: &mut Rows<'t>,
    features: &Features<'t>,
    point: Point,
    sequence: &Sequence,
) -> Vec<(Tap, Row<'t>)> {
    let taps = settings.injection.taps_of(point);
    let rounds: Vec<&[Tap]> =
        if settings.injection.sequential { taps.chunks(1).collect() } else { vec![&taps] };
    let mut gates = Vec::new();
    for round in rounds {
        let before = h.clone();
        for &tap in round {
            let features = &features[&carried(settings, tap, point)];
            let gate = weight(settings, weights, &before, features, (tap, point), sequence);
            for (token, position) in sequence.visual() {
                let update = (0..h[position].len()).map(|c| {
                    let w = gate[c % gate.len()];
                    let v = features[token][c];
                    match settings.injection.fusion {
                        Fusion::Add => v,
                        Fusion::GatedAdd => w * v,
                        Fusion::Convex => w * (v - before[position][c]),
                    }
                });
                h[position] = plus(&h[position], &update.collect::<Row<'t>>());
            }
            gates.push((tap, gate));
        }
    }
    gates
}

/// W of an edge: one number, or one per channel.
fn weight<'t>(
    settings: &Settings,
    weights: &Weights<'t>,
    h: &Rows<'t>,
    features: &Rows<'t>,
    (tap, point): (Tap, Point),
    sequence: &Sequence,
) -> Row<'t> {
    let at_point = format!("injection.gate.{}", point.name());
    let agf = match settings.injection.gate {
        Gate::None => return vec![Num::constant(1.0)],
        Gate::Constant(value) => return vec![Num::constant(value)],
        Gate::Static { .. } => return weights.vector(&format!("{at_point}.{tap}.weight"), 1, 0.9),
        Gate::Agf(agf) => agf,
    };
    let module = match agf.share {
        Share::Global => "injection.gate".to_owned(),
        Share::Point => at_point,
        Share::Edge => format!("{at_point}.{tap}"),
    };
    let width = settings.language.hidden;
    let [q_v, q_h] =
        ["query_vision", "query_hidden"].map(|name| weights.vector(&format!("{module}.{name}"), width, 1.5));
    let mut pooled: Rows<'t> =
        sequence.pooled(agf.prompt).into_iter().map(|position| h[position].clone()).collect();
    if agf.norm {
        let gain = weights.vector(&format!("{module}.norm_hidden.weight"), width, 1.1);
        pooled = pooled.iter().map(|x| rms_norm(x, &gain, settings.language.eps)).collect();
    }
    let [of_tap, of_state] = match agf.attention {
        Attention::None => ["", ""],
        Attention::Shared => ["attn", "attn"],
        Attention::Separate => ["attn_vision", "attn_hidden"],
    };
    let mut summary = read(&agf, weights, &format!("{module}.{of_tap}"), &q_v, features);
    summary.extend(read(&agf, weights, &format!("{module}.{of_state}"), &q_h, &pooled));
    let numbers = if agf.channel { width } else { 1 };
    let controller = weights.linear(&format!("{module}.controller"), numbers, 2 * width, true);
    controller.of(&summary).into_iter().map(sigmoid).collect()
}

/// What a query reads from rows: multi-head attention, or attention without projections and with one head.
fn read<'t>(agf: &Agf, weights: &Weights<'t>, module: &str, query: &Row<'t>, rows: &Rows<'t>) -> Row<'t> {
    let width = query.len();
    if agf.attention == Attention::None {
        let scores: Row<'t> = rows.iter().map(|x| dot(query, x)).collect();
        let values: Vec<&[Num<'t>]> = rows.iter().map(Vec::as_slice).collect();
        return attend(&times(&scores, (width as f64).sqrt().recip()), &values);
    }
    // A key bias would add the same to all scores.
    let [q, k, v, o] = [("q", true), ("k", false), ("v", true), ("o", true)]
        .map(|(name, bias)| weights.linear(&format!("{module}.{name}_proj"), width, width, bias));
    let query = q.of(query);
    let keys: Rows<'t> = rows.iter().map(|x| k.of(x)).collect();
    let values: Rows<'t> = rows.iter().map(|x| v.of(x)).collect();
    let head_width = width / agf.heads;
    let mut read = Row::new();
    for head in 0..agf.heads {
        let own = head * head_width..(head + 1) * head_width;
        let scores: Row<'t> = keys.iter().map(|key| dot(&query[own.clone()], &key[own.clone()])).collect();
        let values: Vec<&[Num<'t>]> = values.iter().map(|value| &value[own.clone()]).collect();
        read.extend(attend(&times(&scores, (head_width as f64).sqrt().recip()), &values));
    }
    o.of(&read)
}
