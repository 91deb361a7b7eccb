//! Random programs of all kinds of ops.

mod elementwise;
mod injection;
mod layers;
mod movement;

use crossloom_ir::op::{CrossEntropy, UnaryKind};
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
        match self.pick(28) {
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
            25 => self.written_attention(),
            26 => self.grids(),
            _ => self.gated(),
        }
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
