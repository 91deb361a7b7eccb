//! Injection of visual features.

use crossloom_ir::op::{
    Activation, AgfGate, AgfInject, AmpProject, Attach, AttnPool, DeformableAttention, PoolAttention,
    UnaryKind,
};
use crossloom_ir::{Role, Tensor, TensorType, Value};

use super::{B, D, Maker, N, T};

impl Maker {
    /// A tap `[B, N, D]`.
    pub(super) fn tap(&mut self) -> Value {
        let state = self.state();
        let start = self.pick(T - N + 1);
        self.b().slice(state, 1, start, N).unwrap()
    }

    pub(super) fn amp(&mut self) {
        let taps = 1 + self.pick(3);
        let attach = self.one_of(&[Attach::None, Attach::Parallel, Attach::PerLinear]);
        let bias = self.flag();
        let act = self.one_of(&Activation::ALL);
        let mut operands: Vec<Value> = (0..taps).map(|_| self.tap()).collect();
        for _ in 0..2 {
            operands.push(self.weight(&[D, D]));
            if bias {
                operands.push(self.weight(&[D]));
            }
        }
        for tap in 0..taps {
            let rank = 1 + tap % 2;
            for _ in 0..attach.matrices() / 2 {
                operands.extend([self.weight(&[rank, D]), self.weight(&[D, rank])]);
            }
        }
        let scale = self.one_of(&[1.0, 0.5]);
        let v = self.push(AmpProject { taps, act, scale, bias, attach }, &operands);
        self.features.push(v);
    }

    pub(super) fn agf(&mut self) {
        if self.features.is_empty() {
            self.amp();
        }
        let list = self.features.clone();
        let v = self.one_of(&list);
        let h = self.state();
        let attention = self.one_of(&[PoolAttention::None, PoolAttention::Shared, PoolAttention::Separate]);
        let heads = if attention == PoolAttention::None { 1 } else { 1 + self.pick(2) };
        let channel = self.flag();
        let number = self.func.params().len();
        let mask = self.func.add_param(format!("mask.{number}"), Role::Input, TensorType::f32([B, T]));
        self.args.push(Tensor::new([B, T], vec![1.0, 1.0, 0.0, 1.0, 0.0, 0.0]).unwrap());
        let mut operands = vec![h, v, mask, self.weight(&[D]), self.weight(&[D])];
        let sets = match attention {
            PoolAttention::None => 0,
            PoolAttention::Shared => 1,
            PoolAttention::Separate => 2,
        };
        for _ in 0..sets {
            for matrix in [true, false, true, true, false, true, false] {
                operands.push(if matrix { self.weight(&[D, D]) } else { self.weight(&[D]) });
            }
        }
        let gates = if channel { D } else { 1 };
        operands.extend([self.weight(&[gates, 2 * D]), self.weight(&[gates])]);
        let gate = self.push(AgfGate { heads, attention, channel, masked: false }, &operands);
        let index = self.whole(&[B, N], &[0, 1, 2, -1]);
        let convex = self.flag();
        self.push(AgfInject { convex, channel }, &[h, gate, v, index]);
    }

    /// Positions read points of grids, whose cells are positions too.
    pub(super) fn grids(&mut self) {
        let (queries, cells) = (self.state(), self.state());
        let one_grid = self.flag();
        let (sides, cells) =
            if one_grid { (vec![2], self.b().pad(cells, 1, 0, 1).unwrap()) } else { (vec![1, 1, 1], cells) };
        let (heads, points, levels) = (1 + self.pick(2), 1 + self.pick(2), sides.len());
        let mut of_points = |axes: &[usize]| {
            let w = self.weight(&[axes.iter().product(), D]);
            let b = &mut self.b();
            let x = b.linear(queries, w, None).unwrap();
            let x = b.unary(UnaryKind::Tanh, x).unwrap();
            b.reshape(x, &[&[B, T], axes].concat()).unwrap()
        };
        let places = of_points(&[heads, levels, points, 2]);
        let weights = of_points(&[heads, levels, points]);
        let places = self.b().affine(places, 0.7, 0.5).unwrap();
        self.push(DeformableAttention { heads, sides }, &[cells, places, weights]);
    }

    pub(super) fn pool(&mut self) {
        let x = self.state();
        // Sometimes a query that depends on what was pooled before.
        let queries = self.of_shape(&[2, D]).filter(|_| self.flag());
        let queries = queries.unwrap_or_else(|| self.weight(&[2, D]));
        let scale = self.one_of(&[0.5, 0.25]);
        let pooled = self.b().push(AttnPool { scale, masked: false }, &[x, queries]).unwrap();
        self.keep(pooled[0]);
        let first = self.b().slice(pooled[0], 0, 0, 1).unwrap();
        let first = self.b().reshape(first, &[2, D]).unwrap();
        self.keep(first);
        if self.flag() {
            self.keep(pooled[1]);
        }
    }
}
