//! A decoder as Llama, Qwen2 and Qwen3 define it, one sequence at a time.

use crate::algebra::{Row, Rows, attend, dot, exp, ln, plus, product, rms_norm, silu, times};
use crate::batch::Sequence;
use crate::settings::{Family, Language};
use crate::tape::Num;
use crate::weights::Weights;

const PREFIX: &str = "language_model";

fn vocabulary<'t>(language: &Language, weights: &Weights<'t>) -> Rows<'t> {
    weights.matrix(&format!("{PREFIX}.model.embed_tokens.weight"), language.vocab, language.hidden)
}

fn times_one<'t>(x: &[Num<'t>], factor: Option<f64>) -> Row<'t> {
    times(x, factor.unwrap_or(1.0))
}

/// What enters the first layer, from the embeddings with the visual tokens among them.
pub(crate) fn entered<'t>(language: &Language, h: &Rows<'t>) -> Rows<'t> {
    h.iter().map(|row| times_one(row, language.multipliers.embedding)).collect()
}

/// The embeddings of a sequence's tokens.
pub(crate) fn embed<'t>(language: &Language, weights: &Weights<'t>, sequence: &Sequence) -> Rows<'t> {
    let embeddings = vocabulary(language, weights);
    sequence.tokens.iter().map(|&token| embeddings[token].clone()).collect()
}

/// Rotary positions: in the first half of a head, number i and the one half a head further are turned together.
///
/// With sections the pairs take turns: time, row, column, time, row, … as long as a section lasts; the rest is time's.
fn turned<'t>(x: &[Num<'t>], position: [usize; 3], language: &Language) -> Row<'t> {
    let (half, theta) = (x.len() / 2, language.theta);
    let of_pair = |i: usize| match language.sections {
        Some([_, rows, _]) if i % 3 == 1 && i / 3 < rows => position[1],
        Some([_, _, columns]) if i % 3 == 2 && i / 3 < columns => position[2],
        _ => position[0],
    };
    let angle = |i: usize| of_pair(i) as f64 * theta.powf(-((2 * i) as f64) / x.len() as f64);
    let first = (0..half).map(|i| x[i] * angle(i).cos() + -(x[i + half] * angle(i).sin()));
    let second = (0..half).map(|i| x[i + half] * angle(i).cos() + x[i] * angle(i).sin());
    first.chain(second).collect()
}

/// The state that leaves a layer.
pub(crate) fn layer<'t>(
    language: &Language,
    weights: &Weights<'t>,
    layer: usize,
    h: &Rows<'t>,
    sequence: &Sequence,
    visual_grid: usize,
) -> Rows<'t> {
    let positions = sequence.positions_in_three(visual_grid);
    let prefix = format!("{PREFIX}.model.layers.{layer}");
    let width = language.hidden;
    let norm = weights.gain(&format!("{prefix}.input_layernorm.weight"), width);
    let normed: Rows<'t> = h.iter().map(|x| rms_norm(x, &norm, language.eps)).collect();
    let projected = |name: &str, heads: usize| -> Vec<Rows<'t>> {
        let name = format!("{prefix}.self_attn.{name}_proj");
        let projection =
            weights.linear(&name, heads * language.head_dim, width, language.family == Family::Qwen2);
        let split = |x: &Row<'t>| projection.of(x).chunks(language.head_dim).map(<[_]>::to_vec).collect();
        normed.iter().map(split).collect()
    };
    let rotated = |rows: Vec<Rows<'t>>| -> Vec<Rows<'t>> {
        let turn = |(heads, &position): (Rows<'t>, &[usize; 3])| {
            heads.iter().map(|head| turned(head, position, language)).collect()
        };
        rows.into_iter().zip(&positions).map(turn).collect()
    };
    // Every head of queries and keys by itself, with one gain for all.
    let normed_heads = |rows: Vec<Rows<'t>>, name: &str| -> Vec<Rows<'t>> {
        if language.family != Family::Qwen3 {
            return rows;
        }
        let gain = weights.gain(&format!("{prefix}.self_attn.{name}_norm.weight"), language.head_dim);
        let norm = |heads: Rows<'t>| heads.iter().map(|head| rms_norm(head, &gain, language.eps)).collect();
        rows.into_iter().map(norm).collect()
    };
    let queries = rotated(normed_heads(projected("q", language.heads), "q"));
    let keys = rotated(normed_heads(projected("k", language.kv_heads), "k"));
    let values = projected("v", language.kv_heads);
    let out = weights.linear(
        &format!("{prefix}.self_attn.o_proj"),
        width,
        language.heads * language.head_dim,
        false,
    );
    let attended = (0..h.len()).map(|t| {
        let segment = sequence.segments[t];
        let seen: Vec<usize> =
            (0..=t).filter(|&s| sequence.segments[s] == 0 || sequence.segments[s] == segment).collect();
        let mut mixed = Row::new();
        for head in 0..language.heads {
            let group = head * language.kv_heads / language.heads;
            let scores: Row<'t> = seen.iter().map(|&s| dot(&queries[t][head], &keys[s][group])).collect();
            let values: Vec<&[Num<'t>]> = seen.iter().map(|&s| &values[s][group][..]).collect();
            let root = (language.head_dim as f64).sqrt().recip();
            let scale = language.multipliers.attention.unwrap_or(root);
            mixed.extend(attend(&times(&scores, scale), &values));
        }
        times_one(&out.of(&mixed), language.multipliers.residual)
    });
    let h: Rows<'t> = h.iter().zip(attended).map(|(h, update)| plus(h, &update)).collect();

    let norm = weights.gain(&format!("{prefix}.post_attention_layernorm.weight"), width);
    let [gate, up] = ["gate", "up"]
        .map(|name| weights.matrix(&format!("{prefix}.mlp.{name}_proj.weight"), language.mlp, width));
    let down = weights.matrix(&format!("{prefix}.mlp.down_proj.weight"), width, language.mlp);
    h.iter()
        .map(|h| {
            let normed = rms_norm(h, &norm, language.eps);
            let pairs = product(&gate, &normed).into_iter().zip(product(&up, &normed));
            let hidden: Row<'t> = pairs.map(|(gate, up)| silu(gate) * up).collect();
            plus(h, &times_one(&product(&down, &hidden), language.multipliers.residual))
        })
        .collect()
}

/// The cross-entropy of every token that a sequence is asked for.
pub(crate) fn losses<'t>(
    language: &Language,
    weights: &Weights<'t>,
    h: &Rows<'t>,
    sequence: &Sequence,
) -> Vec<Num<'t>> {
    let norm = weights.gain(&format!("{PREFIX}.model.norm.weight"), language.hidden);
    let head = if language.tied {
        vocabulary(language, weights)
    } else {
        weights.matrix(&format!("{PREFIX}.lm_head.weight"), language.vocab, language.hidden)
    };
    let asked = sequence.targets.iter().filter_map(|&(position, token)| Some((position, token?)));
    asked
        .map(|(position, token)| {
            let logits = product(&head, &rms_norm(&h[position], &norm, language.eps));
            let logits = times_one(&logits, language.multipliers.logits.map(f64::recip));
            ln(logits.iter().map(|logit| exp(*logit)).sum()) - logits[token]
        })
        .collect()
}
