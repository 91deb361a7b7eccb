//! Layers of models and their parts.

use crossloom_ir::Value;
use crossloom_ir::op::{
    Activation, Attention, BinaryKind, Embedding, GatherRows, Iota, LayerNorm, LayerNormGrad, Linear,
    RmsNorm, RmsNormGrad, Rope, ScatterMode, ScatterRows, Softmax, UnaryKind,
};

use super::{B, D, Maker, N, T, VOCAB};

impl Maker {
    pub(super) fn linear(&mut self) {
        let x = self.rows();
        let mut shape = self.shape(x);
        let width = shape[shape.len() - 1];
        let out = if self.pick(3) == 0 { D } else { width };
        let w = self.weight(&[out, width]);
        let bias = if self.flag() { Some(self.weight(&[out])) } else { None };
        let mut y = self.b().linear(x, w, bias).unwrap();
        if self.pick(4) == 0 {
            self.keep(y);
        }
        if self.flag() {
            let act = self.one_of(&Activation::ALL);
            y = self.b().unary(UnaryKind::Act(act), y).unwrap();
        }
        *shape.last_mut().unwrap() = out;
        let residual = if self.flag() { self.of_shape(&shape) } else { None };
        if let Some(residual) = residual {
            let (first, second) = if self.flag() { (y, residual) } else { (residual, y) };
            y = self.b().add(first, second).unwrap();
        }
        self.keep(y);
    }

    pub(super) fn norm(&mut self) {
        let mut x = self.rows();
        let shape = self.shape(x);
        let residual = if self.flag() { self.of_shape(&shape) } else { None };
        if let Some(residual) = residual {
            x = self.b().add(x, residual).unwrap();
            self.keep(x);
        }
        let width = shape[shape.len() - 1];
        let gamma = self.weight(&[width]);
        let y = if self.flag() {
            let beta = self.weight(&[width]);
            self.b().push(LayerNorm { eps: 0.1 }, &[x, gamma, beta]).unwrap()
        } else {
            self.b().push(RmsNorm { eps: 0.1 }, &[x, gamma]).unwrap()
        };
        self.keep(y[0]);
        if self.pick(4) == 0 {
            self.keep(y[y.len() - 1]);
        }
    }

    pub(super) fn norm_gradient(&mut self) {
        let x = self.rows();
        let shape = self.shape(x);
        let dy = self.of_shape(&shape).unwrap_or(x);
        let gamma = self.weight(&shape[shape.len() - 1..]);
        let b = &mut self.b();
        let grads = if shape.len() == 2 {
            let stats = b.push(LayerNorm { eps: 0.1 }, &[x, gamma, gamma]).unwrap();
            b.push(LayerNormGrad { residual: false }, &[dy, x, gamma, stats[1], stats[2]]).unwrap()
        } else {
            let stats = b.push(RmsNorm { eps: 0.1 }, &[x, gamma]).unwrap();
            b.push(RmsNormGrad { residual: false }, &[dy, x, gamma, stats[1]]).unwrap()
        };
        let mut other = self.of_shape(&shape).unwrap_or(x);
        match self.pick(4) {
            0 => {}
            1 => {
                self.keep(grads[1]);
            }
            _ => {
                // The gradient of the scale is read before the sum is made.
                let spread = self.b().broadcast(grads[1], &shape, &[shape.len() - 1]).unwrap();
                other = self.b().add(other, spread).unwrap();
            }
        }
        let sum = self.b().add(grads[0], other).unwrap();
        self.keep(sum);
    }

    pub(super) fn attention(&mut self) {
        let x = self.state();
        let (heads, kv_heads) = self.one_of(&[(2, 2), (2, 1)]);
        let (causal, segments) = (self.flag(), self.flag());
        let width = kv_heads * D / heads;
        let weights = [self.weight(&[D, D]), self.weight(&[width, D]), self.weight(&[width, D])];
        let mut operands: Vec<Value> =
            weights.into_iter().map(|w| self.b().linear(x, w, None).unwrap()).collect();
        if self.flag() {
            let positions = self.whole(&[B, T], &[0, 1, 2, 0, 1, 1]);
            let rope = Rope { head_dim: D / heads, theta: 100.0, inverse: false, sections: None };
            for operand in &mut operands[..2] {
                *operand = self.b().one(rope, &[*operand, positions]).unwrap();
            }
        }
        if segments {
            operands.push(self.whole(&[B, T], &[0, 1, 2, 0, 1, -1]));
        }
        let op = Attention { heads, kv_heads, causal, segments, scale: 0.7 };
        let y = self.push(op, &operands);
        let y = self.b().add(x, y).unwrap();
        self.keep(y);
    }

    /// Attention written out of products and a softmax; sometimes a part of it is read elsewhere.
    pub(super) fn written_attention(&mut self) {
        let x = self.state();
        let (heads, causal, primitive, kept) = (1 + self.pick(2), self.flag(), self.flag(), self.pick(6));
        let weights = [0; 3].map(|_| self.weight(&[D, D]));
        let b = &mut self.b();
        let [q, k, v] = weights.map(|w| {
            let y = b.linear(x, w, None).unwrap();
            let y = b.reshape(y, &[B, T, heads, D / heads]).unwrap();
            b.transpose(y, &[0, 2, 1, 3]).unwrap()
        });
        let shape = [B, heads, T, T];
        let scores = b.matmul(q, k, false, true).unwrap();
        let mut scaled = b.affine(scores, 0.6, 0.0).unwrap();
        if causal {
            let [query, key] = [2, 3].map(|axis| b.one(Iota { shape: shape.to_vec(), axis }, &[]).unwrap());
            let later = b.binary(BinaryKind::LessThan, query, key).unwrap();
            let bias = b.affine(later, -1e30, 0.0).unwrap();
            scaled = b.add(scaled, bias).unwrap();
        }
        let probabilities = if primitive {
            let largest = b.reduce_max(scaled, &[3]).unwrap();
            let largest = b.broadcast(largest, &shape, &[0, 1, 2]).unwrap();
            let shifted = b.sub(scaled, largest).unwrap();
            let powers = b.exp(shifted).unwrap();
            let sum = b.reduce_sum(powers, &[3]).unwrap();
            let sum = b.broadcast(sum, &shape, &[0, 1, 2]).unwrap();
            b.div(powers, sum).unwrap()
        } else {
            b.one(Softmax, &[scaled]).unwrap()
        };
        let o = b.matmul(probabilities, v, false, false).unwrap();
        let merged = b.transpose(o, &[0, 2, 1, 3]).unwrap();
        let merged = b.reshape(merged, &[B, T, D]).unwrap();
        let y = b.add(x, merged).unwrap();
        self.keep(y);
        match kept {
            0 => self.keep(probabilities),
            1 => self.keep(scores),
            2 => self.keep(o),
            _ => y,
        };
    }

    pub(super) fn rows_by_index(&mut self) {
        let h = self.state();
        match self.pick(3) {
            0 => {
                let table = self.weight(&[VOCAB, D]);
                let ids = self.whole(&[B, T], &[0, 4, 2, 2, 1, 0]);
                self.push(Embedding, &[table, ids]);
            }
            1 => {
                let index = self.whole(&[B, N], &[2, -1, 0, 0]);
                self.push(GatherRows, &[h, index]);
            }
            _ => {
                let index = self.whole(&[B, N], &[2, -1, 0, 1]);
                let mode = self.one_of(&[ScatterMode::Set, ScatterMode::Add]);
                let rows = self.tap();
                self.push(ScatterRows { mode }, &[h, index, rows]);
            }
        }
    }

    pub(super) fn softmax(&mut self) {
        let x = self.rows();
        self.push(Softmax, &[x]);
    }

    /// The feed-forward layer of a decoder.
    pub(super) fn gated(&mut self) {
        let x = self.state();
        let weights = [self.weight(&[6, D]), self.weight(&[6, D]), self.weight(&[D, 6])];
        let b = &mut self.b();
        let gate = b.linear(x, weights[0], None).unwrap();
        let gate = b.unary(UnaryKind::Act(Activation::Silu), gate).unwrap();
        let up = b.linear(x, weights[1], None).unwrap();
        let hidden = b.mul(gate, up).unwrap();
        let down = b.one(Linear::default(), &[hidden, weights[2]]).unwrap();
        let y = b.add(x, down).unwrap();
        self.keep(y);
    }
}
