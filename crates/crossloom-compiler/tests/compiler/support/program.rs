//! Random programs of all kinds of ops.

use crossloom_ir::op::{
    Activation, AgfGate, AgfInject, AmpProject, Attach, Attention, AttnPool, BinaryKind, CrossEntropy,
    Embedding, GatherRows, LayerNorm, LayerNormGrad, Linear, PoolAttention, RmsNorm, RmsNormGrad, Rope,
    ScatterMode, ScatterRows, Softmax, UnaryKind,
};
use crossloom_ir::{Builder, Func, Op, Role, Scope, Tensor, TensorType, Value};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Samples, positions, width, visual tokens, rows of the embedding table.
const B: usize = 2;
const T: usize = 3;
const D: usize = 4;
const N: usize = 2;
const VOCAB: usize = 5;

/// A function with the results `loss` and some others, and arguments for it.
pub(crate) struct Program {
    pub(crate) func: Func,
    pub(crate) args: Vec<Tensor<f64>>,
}

/// The program that a list of choices stands for; a shorter list is a shorter program.
pub(crate) fn program(choices: &[u16]) -> Program {
    let mut maker = Maker {
        func: Func::new("random"),
        args: Vec::new(),
        choices: choices.to_vec(),
        at: 0,
        rng: ChaCha8Rng::seed_from_u64(choices.len() as u64),
        floats: Vec::new(),
        features: Vec::new(),
        scope: 0,
    };
    maker.start();
    while maker.at < maker.choices.len() {
        maker.scope += 1;
        maker.step();
    }
    maker.finish()
}

struct Maker {
    func: Func,
    args: Vec<Tensor<f64>>,
    choices: Vec<u16>,
    at: usize,
    rng: ChaCha8Rng,
    /// Every float value so far.
    floats: Vec<Value>,
    /// Projected taps `[K, B, N, D]` among them.
    features: Vec<Value>,
    scope: usize,
}

impl Maker {
    /// A choice among so many; the first when there are no choices left.
    fn pick(&mut self, count: usize) -> usize {
        let choice = self.choices.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(choice) % count
    }

    fn flag(&mut self) -> bool {
        self.pick(2) == 1
    }

    fn one_of<X: Copy>(&mut self, list: &[X]) -> X {
        list[self.pick(list.len())]
    }

    fn b(&mut self) -> Builder<'_> {
        let scope = Scope::new(format!("part.{}", self.scope));
        let mut b = self.func.builder();
        b.set_scope(scope);
        b
    }

    fn keep(&mut self, value: Value) -> Value {
        self.floats.push(value);
        value
    }

    fn push(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Value {
        let value = self.b().one(op, inputs).unwrap();
        self.keep(value)
    }

    fn param(&mut self, role: Role, shape: &[usize]) -> Value {
        let number = self.func.params().len();
        let name = if role == Role::Weight { "weight" } else { "input" };
        let value = self.func.add_param(format!("{name}.{number}"), role, TensorType::f32(shape));
        let rng = &mut self.rng;
        self.args.push(Tensor::from_fn(shape, |_| rng.random_range(-0.8..0.8)));
        value
    }

    fn whole(&mut self, shape: &[usize], data: &[i32]) -> Value {
        let number = self.func.params().len();
        let value = self.func.add_param(format!("whole.{number}"), Role::Input, TensorType::i32(shape));
        self.args.push(Tensor::new(shape, data.iter().map(|&x| f64::from(x)).collect()).unwrap());
        value
    }

    /// A weight of that shape: a new one or one there is.
    fn weight(&mut self, shape: &[usize]) -> Value {
        let same: Vec<Value> = (self.func.params().iter())
            .filter(|p| p.role == Role::Weight && self.func.shape(p.value) == shape)
            .map(|p| p.value)
            .collect();
        if !same.is_empty() && self.pick(3) == 0 {
            self.one_of(&same)
        } else {
            self.param(Role::Weight, shape)
        }
    }

    fn shape(&self, value: Value) -> Vec<usize> {
        self.func.shape(value).to_vec()
    }

    fn any(&mut self) -> Value {
        // Rather a late one than an early one, so that chains grow.
        let window = if self.flag() { 6 } else { self.floats.len() };
        let from = self.floats.len().saturating_sub(window);
        let list = self.floats[from..].to_vec();
        self.one_of(&list)
    }

    /// A float value of that shape, if there is one.
    fn of_shape(&mut self, shape: &[usize]) -> Option<Value> {
        let same: Vec<Value> = self.floats.iter().copied().filter(|&v| self.func.shape(v) == shape).collect();
        if same.is_empty() { None } else { Some(self.one_of(&same)) }
    }

    /// A hidden state.
    fn state(&mut self) -> Value {
        self.of_shape(&[B, T, D]).unwrap()
    }

    /// Some value with rows.
    fn rows(&mut self) -> Value {
        let value = self.any();
        if self.func.shape(value).is_empty() { self.state() } else { value }
    }

    fn start(&mut self) {
        let x = self.param(Role::Input, &[B, T, D]);
        let h = self.param(Role::Weight, &[B, T, D]);
        self.floats.extend([x, h]);
        let w = self.weight(&[D, D]);
        let y = self.b().linear(x, w, None).unwrap();
        self.keep(y);
    }

    fn step(&mut self) {
        match self.pick(26) {
            0 => self.unary(),
            1 => self.affine(),
            2 | 3 => self.binary(),
            4 => self.with_constant(),
            5 => self.with_broadcast(),
            6 | 7 => self.linear(),
            8 | 9 => self.norm(),
            10 => self.reduce(),
            11 => self.reshape(),
            12 => self.transpose(),
            13 => self.slice(),
            14 => self.concat(),
            15 => self.pad(),
            16 => self.matmul(),
            17 => self.attention(),
            18 => self.rows_by_index(),
            19 => self.softmax(),
            20 => self.amp(),
            21 | 22 => self.agf(),
            23 => self.pool(),
            24 => self.norm_gradient(),
            _ => self.gated(),
        }
    }

    fn unary(&mut self) {
        let x = self.any();
        let smooth = [
            UnaryKind::Tanh,
            UnaryKind::Sigmoid,
            UnaryKind::Sin,
            UnaryKind::Act(Activation::Silu),
            UnaryKind::Act(Activation::GeluTanh),
            UnaryKind::Act(Activation::GeluErf),
            UnaryKind::Act(Activation::QuickGelu),
            UnaryKind::Exp,
            UnaryKind::Sqrt,
            UnaryKind::Rsqrt,
            UnaryKind::Log,
            UnaryKind::Recip,
        ];
        let kind = self.one_of(&smooth);
        let domain = match kind {
            UnaryKind::Exp => self.b().unary(UnaryKind::Tanh, x).unwrap(),
            UnaryKind::Sqrt | UnaryKind::Rsqrt | UnaryKind::Log | UnaryKind::Recip => {
                let b = &mut self.b();
                let squares = b.mul(x, x).unwrap();
                b.affine(squares, 1.0, 0.5).unwrap()
            }
            _ => x,
        };
        let y = self.b().unary(kind, domain).unwrap();
        self.keep(y);
    }

    fn affine(&mut self) {
        let x = self.any();
        let (mul, add) =
            self.one_of(&[(1.0, 0.0), (-1.0, 0.0), (0.5, 0.0), (0.25, 1.0), (1.0, 0.25), (0.0, 0.5)]);
        let y = self.b().affine(x, mul, add).unwrap();
        self.keep(y);
    }

    fn kind(&mut self) -> BinaryKind {
        let kinds = [
            BinaryKind::Add,
            BinaryKind::Add,
            BinaryKind::Sub,
            BinaryKind::Mul,
            BinaryKind::Mul,
            BinaryKind::Div,
            BinaryKind::Min,
            BinaryKind::Max,
            BinaryKind::LessThan,
        ];
        self.one_of(&kinds)
    }

    fn combine(&mut self, kind: BinaryKind, x: Value, y: Value) {
        let y = if kind == BinaryKind::Div {
            let b = &mut self.b();
            let squares = b.mul(y, y).unwrap();
            b.affine(squares, 1.0, 0.5).unwrap()
        } else {
            y
        };
        let z = self.b().binary(kind, x, y).unwrap();
        // Products of products grow beyond what a difference quotient can follow.
        let z = if kind == BinaryKind::Mul && self.flag() {
            self.b().unary(UnaryKind::Tanh, z).unwrap()
        } else {
            z
        };
        self.keep(z);
    }

    fn binary(&mut self) {
        let x = self.any();
        let shape = self.shape(x);
        let y = self.of_shape(&shape).unwrap_or(x);
        let kind = self.kind();
        self.combine(kind, x, y);
    }

    fn with_constant(&mut self) {
        let x = self.any();
        let shape = self.shape(x);
        let number = self.one_of(&[0.0, 1.0, 0.5, -2.0]);
        let c = self.b().constant(number, &shape).unwrap();
        let kind = self.kind();
        if self.flag() {
            self.combine(kind, c, x);
        } else {
            self.combine(kind, x, c);
        }
        if self.pick(4) == 0 {
            self.keep(c);
        }
    }

    fn with_broadcast(&mut self) {
        let x = self.rows();
        let shape = self.shape(x);
        let rank = shape.len();
        let (source, axes): (Value, Vec<usize>) = match self.pick(4) {
            0 => (self.weight(&[]), vec![]),
            1 => (self.weight(&shape[rank - 1..]), vec![rank - 1]),
            2 => (self.b().reduce_sum(x, &[rank - 1]).unwrap(), (0..rank - 1).collect()),
            _ => (self.weight(&shape[..1]), vec![0]),
        };
        let y = self.b().broadcast(source, &shape, &axes).unwrap();
        let kind = self.kind();
        self.combine(kind, x, y);
        if self.pick(4) == 0 {
            self.keep(y);
        }
    }

    fn linear(&mut self) {
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

    fn norm(&mut self) {
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

    fn norm_gradient(&mut self) {
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

    fn reduce(&mut self) {
        let x = self.rows();
        let axis = self.pick(self.func.shape(x).len());
        let y =
            if self.pick(3) == 0 { self.b().reduce_max(x, &[axis]) } else { self.b().reduce_sum(x, &[axis]) };
        self.keep(y.unwrap());
    }

    fn reshape(&mut self) {
        let x = self.any();
        let shape = self.shape(x);
        let elements: usize = shape.iter().product();
        let to = match self.pick(4) {
            0 => vec![elements],
            1 if elements == B * T * D => vec![B, T, D],
            2 if elements.is_multiple_of(D) => vec![elements / D, D],
            3 => vec![1, elements],
            _ => shape.iter().rev().copied().collect(),
        };
        let y = self.b().reshape(x, &to).unwrap();
        self.keep(y);
    }

    fn transpose(&mut self) {
        let x = self.any();
        let mut perm: Vec<usize> = (0..self.func.shape(x).len()).collect();
        for i in (1..perm.len()).rev() {
            let j = self.pick(i + 1);
            perm.swap(i, j);
        }
        let y = self.b().transpose(x, &perm).unwrap();
        self.keep(y);
    }

    /// A part along some axis.
    fn part(&mut self, x: Value) -> Value {
        let shape = self.shape(x);
        let axis = self.pick(shape.len());
        let start = self.pick(shape[axis]);
        let len = 1 + self.pick(shape[axis] - start);
        self.b().slice(x, axis, start, len).unwrap()
    }

    fn slice(&mut self) {
        let x = self.rows();
        let y = self.part(x);
        self.keep(y);
    }

    fn concat(&mut self) {
        let x = self.rows();
        let shape = self.shape(x);
        let axis = self.pick(shape.len());
        if self.flag() {
            // Taken apart and put together again.
            let cut = self.pick(shape[axis] + 1);
            let b = &mut self.b();
            let parts =
                [b.slice(x, axis, 0, cut).unwrap(), b.slice(x, axis, cut, shape[axis] - cut).unwrap()];
            let y = b.concat(&parts, axis).unwrap();
            self.keep(y);
        } else if shape.iter().product::<usize>() < 100 {
            let other = self.of_shape(&shape).unwrap_or(x);
            let y = self.b().concat(&[x, other], axis).unwrap();
            self.keep(y);
        }
    }

    fn pad(&mut self) {
        let x = self.rows();
        let axis = self.pick(self.func.shape(x).len());
        let (before, after) = (self.pick(2), self.pick(2));
        if self.shape(x).iter().product::<usize>() < 100 {
            let y = self.b().pad(x, axis, before, after).unwrap();
            self.keep(y);
        }
    }

    fn matmul(&mut self) {
        let x = self.any();
        if self.func.shape(x).len() < 2 {
            return;
        }
        let first = self.flag();
        let y = self.b().matmul(x, x, first, !first).unwrap();
        let y = self.b().unary(UnaryKind::Tanh, y).unwrap();
        self.keep(y);
    }

    fn attention(&mut self) {
        let x = self.state();
        let (heads, kv_heads) = self.one_of(&[(2, 2), (2, 1)]);
        let (causal, segments) = (self.flag(), self.flag());
        let width = kv_heads * D / heads;
        let weights = [self.weight(&[D, D]), self.weight(&[width, D]), self.weight(&[width, D])];
        let mut operands: Vec<Value> =
            weights.into_iter().map(|w| self.b().linear(x, w, None).unwrap()).collect();
        if self.flag() {
            let positions = self.whole(&[B, T], &[0, 1, 2, 0, 1, 1]);
            let rope = Rope { head_dim: D / heads, theta: 100.0, inverse: false };
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

    fn rows_by_index(&mut self) {
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

    fn softmax(&mut self) {
        let x = self.rows();
        self.push(Softmax, &[x]);
    }

    /// A tap `[B, N, D]`.
    fn tap(&mut self) -> Value {
        let state = self.state();
        let start = self.pick(T - N + 1);
        self.b().slice(state, 1, start, N).unwrap()
    }

    fn amp(&mut self) {
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

    fn agf(&mut self) {
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
        let gate = self.push(AgfGate { heads, attention, channel }, &operands);
        let index = self.whole(&[B, N], &[0, 1, 2, -1]);
        let convex = self.flag();
        self.push(AgfInject { convex, channel }, &[h, gate, v, index]);
    }

    fn pool(&mut self) {
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

    /// The feed-forward layer of a decoder.
    fn gated(&mut self) {
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

    /// The loss reads everything that nothing else reads.
    fn finish(mut self) -> Program {
        self.scope = 0;
        let uses = self.func.use_counts();
        let ends: Vec<Value> =
            self.floats.iter().copied().filter(|v| uses.get(v.index()).is_some_and(|&n| n == 0)).collect();
        let mut loss = self.b().constant(0.0, &[]).unwrap();
        for value in ends {
            let shape = self.shape(value);
            let elements: usize = shape.iter().product();
            let b = &mut self.b();
            let squashed = b.unary(UnaryKind::Tanh, value).unwrap();
            let axes: Vec<usize> = (0..shape.len()).collect();
            let sum = b.reduce_sum(squashed, &axes).unwrap();
            let mean = b.affine(sum, 1.0 / elements.max(1) as f64, 0.0).unwrap();
            loss = b.add(loss, mean).unwrap();
        }
        let state = self.state();
        let targets = self.whole(&[B * T], &[0, 1, -1, 3, 2, 2]);
        let b = &mut self.b();
        let logits = b.reshape(state, &[B * T, D]).unwrap();
        let entropy = b.one(CrossEntropy, &[logits, targets]).unwrap();
        loss = b.add(loss, entropy).unwrap();
        self.func.add_result("loss", loss);
        for number in 0..2 {
            let value = self.any();
            self.func.add_result(format!("r{number}"), value);
        }
        Program { func: self.func, args: self.args }
    }
}
