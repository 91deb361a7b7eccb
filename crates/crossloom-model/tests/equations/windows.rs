//! Learned queries that read windows of patches, as a Q-Former of one layer defines it, one window at a time.

use crate::algebra::{Linear, Row, Rows, activate, attend, dot, layer_norm, plus, times};
use crate::settings::{Settings, Windows};
use crate::weights::Weights;

/// The tokens that a picture's patches become, row by row.
pub(crate) fn tokens<'t>(
    settings: &Settings,
    weights: &Weights<'t>,
    prefix: &str,
    windows: Windows,
    corner: Option<usize>,
    patches: &Rows<'t>,
) -> Rows<'t> {
    let (grid, width) = (settings.vision.grid(), settings.vision.hidden);
    let Windows { window, queries, .. } = windows;
    let learned = |name: &str, rows: usize| weights.rows(&format!("{prefix}.{name}"), rows, width);
    let (begin, places) = (learned("query", queries.pow(2)), learned("image_positions", window.pow(2)));
    let of = Former { settings, weights, prefix, heads: windows.heads };
    let mut square = vec![Row::new(); settings.visual_tokens()];
    let all = |side: usize| (0..side).flat_map(move |y| (0..side).map(move |x| (y, x)));
    for (top, left) in all(grid / window) {
        let patch = |y: usize, x: usize| &patches[(top * window + y) * grid + left * window + x];
        let per_query = window / queries;
        let begun = |(y, x): (usize, usize)| -> Row<'t> {
            let (y, x) = (y * per_query, x * per_query);
            if let Some(corner) = corner {
                return patch(y + corner / 2, x + corner % 2).clone();
            }
            let sum = all(per_query).map(|(down, right)| patch(y + down, x + right).clone());
            times(&sum.reduce(|a, b| plus(&a, &b)).unwrap(), (per_query.pow(2) as f64).recip())
        };
        let h: Rows<'t> = all(queries).zip(&begin).map(|(at, learned)| plus(&begun(at), learned)).collect();
        let seen: Rows<'t> =
            all(window).zip(&places).map(|((y, x), place)| plus(patch(y, x), place)).collect();
        for ((y, x), token) in all(queries).zip(of.layer(h, &seen)) {
            square[(top * queries + y) * settings.visual_grid() + left * queries + x] = token;
        }
    }
    square
}

/// The weights of a Q-Former.
struct Former<'w, 't> {
    settings: &'w Settings,
    weights: &'w Weights<'t>,
    prefix: &'w str,
    heads: usize,
}

impl<'t> Former<'_, 't> {
    fn linear(&self, name: &str, out: usize, columns: usize) -> Linear<'t> {
        self.weights.linear(&format!("{}.{name}", self.prefix), out, columns, self.settings.projector.bias)
    }

    fn normed(&self, name: &str, rows: impl Iterator<Item = Row<'t>>) -> Rows<'t> {
        let width = self.settings.vision.hidden;
        let eps = self.settings.projector.eps.unwrap_or(self.settings.vision.eps);
        let norm = self.weights.layer_norm(&format!("{}.{name}", self.prefix), width);
        rows.map(|x| layer_norm(&x, &norm, eps)).collect()
    }

    /// Queries among each other, queries to patches, and each by itself; a norm behind each, on the sum.
    fn layer(&self, queries: Rows<'t>, patches: &Rows<'t>) -> Rows<'t> {
        let (width, inner) = (self.settings.vision.hidden, self.settings.projector.hidden);
        let h = self.normed("qformer.layernorm", queries.into_iter());
        let layer = "qformer.encoder.layer.0";
        let h = self.attended(&format!("{layer}.attention"), &h, &h);
        let h = self.attended(&format!("{layer}.crossattention"), &h, patches);
        let first = self.linear(&format!("{layer}.intermediate_query.dense"), inner, width);
        let second = self.linear(&format!("{layer}.output_query.dense"), width, inner);
        let act = self.settings.projector.activation;
        let summed = h.iter().map(|h| {
            let hidden: Row<'t> = first.of(h).into_iter().map(|x| activate(act, x)).collect();
            plus(h, &second.of(&hidden))
        });
        let h = self.normed(&format!("{layer}.output_query.LayerNorm"), summed);
        let out = self.linear("out_linear", self.settings.language.hidden, width);
        h.iter().map(|h| out.of(h)).collect()
    }

    fn attended(&self, name: &str, h: &Rows<'t>, from: &Rows<'t>) -> Rows<'t> {
        let width = self.settings.vision.hidden;
        let [q, k, v] = ["query", "key", "value"]
            .map(|what| self.linear(&format!("{name}.attention.{what}"), width, width));
        let out = self.linear(&format!("{name}.output.dense"), width, width);
        let (keys, values): (Rows<'t>, Rows<'t>) = from.iter().map(|x| (k.of(x), v.of(x))).unzip();
        let head = width / self.heads;
        let summed = h.iter().map(|h| {
            let query = q.of(h);
            let mut mixed = Row::new();
            for own in (0..self.heads).map(|n| n * head..(n + 1) * head) {
                let scores: Row<'t> =
                    keys.iter().map(|key| dot(&query[own.clone()], &key[own.clone()])).collect();
                let values: Vec<_> = values.iter().map(|value| &value[own.clone()]).collect();
                mixed.extend(attend(&times(&scores, (head as f64).sqrt().recip()), &values));
            }
            plus(h, &out.of(&mixed))
        });
        self.normed(&format!("{name}.output.LayerNorm"), summed)
    }
}
