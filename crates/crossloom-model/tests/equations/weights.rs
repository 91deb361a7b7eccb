//! Parameters by name: the equations ask for them with the shape that they need, and get random numbers.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::algebra::{Linear, Row, Rows};
use crate::tape::{Num, Tape};

/// The numbers of one sequence depend on the seed and its name only.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let mix = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, mix))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A number between −1 and 1.
    pub(crate) fn signed(&mut self) -> f64 {
        self.next() as f64 / u64::MAX as f64 * 2.0 - 1.0
    }
}

/// A parameter's shape and numbers.
type Parameter<'t> = (Vec<usize>, Row<'t>);

/// The parameters that the equations have asked for so far.
pub(crate) struct Weights<'t> {
    tape: &'t Tape,
    seed: u64,
    known: RefCell<BTreeMap<String, Parameter<'t>>>,
}

impl<'t> Weights<'t> {
    pub(crate) fn new(tape: &'t Tape, seed: u64) -> Self {
        Self { tape, seed, known: RefCell::default() }
    }

    /// All that were asked for, by name.
    pub(crate) fn all(&self) -> BTreeMap<String, Parameter<'t>> {
        self.known.borrow().clone()
    }

    fn get(&self, name: &str, shape: &[usize], number: impl Fn(f64) -> f64) -> Row<'t> {
        let mut known = self.known.borrow_mut();
        let (declared, numbers) = known.entry(name.to_owned()).or_insert_with(|| {
            let mut random = Random::new(self.seed, name);
            let elements = shape.iter().product();
            let numbers = (0..elements).map(|_| self.tape.variable(number(random.signed()))).collect();
            (shape.to_vec(), numbers)
        });
        assert_eq!(declared, shape, "`{name}` is asked for in two shapes");
        numbers.clone()
    }

    /// A vector of numbers up to `scale`.
    pub(crate) fn vector(&self, name: &str, length: usize, scale: f64) -> Row<'t> {
        self.get(name, &[length], |x| scale * x)
    }

    /// A matrix whose product with a vector has about its magnitude; `shape` may cut the columns further.
    fn shaped(&self, name: &str, shape: &[usize]) -> Rows<'t> {
        let columns: usize = shape[1..].iter().product();
        let scale = (3.0 / columns as f64).sqrt();
        self.get(name, shape, |x| scale * x).chunks(columns).map(<[Num<'t>]>::to_vec).collect()
    }

    /// Learned rows `[1, rows, columns]`.
    pub(crate) fn rows(&self, name: &str, rows: usize, columns: usize) -> Rows<'t> {
        self.get(name, &[1, rows, columns], |x| x).chunks(columns).map(<[Num<'t>]>::to_vec).collect()
    }

    /// A matrix `[rows, columns]`.
    pub(crate) fn matrix(&self, name: &str, rows: usize, columns: usize) -> Rows<'t> {
        self.shaped(name, &[rows, columns])
    }

    /// The kernel `[out, channels, side, side]` of a convolution, or `[out, channels, frames, side, side]`, one row per output.
    pub(crate) fn kernel(&self, name: &str, [out, channels, frames, side]: [usize; 4]) -> Rows<'t> {
        match frames {
            1 => self.shaped(name, &[out, channels, side, side]),
            _ => self.shaped(name, &[out, channels, frames, side, side]),
        }
    }

    /// `{prefix}.weight` `[out, columns]` and `{prefix}.bias`.
    pub(crate) fn linear(&self, prefix: &str, out: usize, columns: usize, bias: bool) -> Linear<'t> {
        let b = bias.then(|| self.vector(&format!("{prefix}.bias"), out, 0.5));
        Linear { w: self.matrix(&format!("{prefix}.weight"), out, columns), b }
    }

    /// The gain of a norm.
    pub(crate) fn gain(&self, name: &str, width: usize) -> Row<'t> {
        self.get(name, &[width], |x| 1.0 + 0.4 * x)
    }

    /// `{prefix}.weight` and `{prefix}.bias` of a layer norm.
    pub(crate) fn layer_norm(&self, prefix: &str, width: usize) -> [Row<'t>; 2] {
        [self.gain(&format!("{prefix}.weight"), width), self.vector(&format!("{prefix}.bias"), width, 0.4)]
    }
}
