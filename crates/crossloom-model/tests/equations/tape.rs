//! Numbers that remember how they were computed: reverse-mode differentiation over scalars.

use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// What every number of a computation was made of: up to two numbers before it, with the derivative for each.
#[derive(Default)]
pub(crate) struct Tape(RefCell<Vec<[(u32, f64); 2]>>);

/// A number; a constant is on no tape.
#[derive(Clone, Copy)]
pub(crate) struct Num<'t> {
    value: f64,
    at: Option<(&'t Tape, u32)>,
}

impl Tape {
    /// A number with respect to which derivatives are taken.
    pub(crate) fn variable(&self, value: f64) -> Num<'_> {
        self.push(value, [(0, 0.0); 2])
    }

    fn push(&self, value: f64, from: [(u32, f64); 2]) -> Num<'_> {
        let mut nodes = self.0.borrow_mut();
        nodes.push(from);
        Num { value, at: Some((self, nodes.len() as u32 - 1)) }
    }

    /// The derivatives of a number with respect to all numbers of this tape.
    pub(crate) fn derivatives(&self, of: Num<'_>) -> Derivatives {
        let nodes = self.0.borrow();
        let mut all = vec![0.0; nodes.len()];
        if let Some((_, at)) = of.at {
            all[at as usize] = 1.0;
        }
        for (index, from) in nodes.iter().enumerate().rev() {
            let reached = all[index];
            for &(before, partial) in from.iter().filter(|_| reached != 0.0) {
                all[before as usize] += reached * partial;
            }
        }
        Derivatives(all)
    }
}

/// Derivatives by number.
pub(crate) struct Derivatives(Vec<f64>);

impl Derivatives {
    /// That with respect to a number.
    pub(crate) fn by(&self, number: Num<'_>) -> f64 {
        number.at.map_or(0.0, |(_, at)| self.0[at as usize])
    }
}

impl Num<'_> {
    /// A constant.
    pub(crate) fn constant(value: f64) -> Self {
        Self { value, at: None }
    }

    /// The number itself.
    pub(crate) fn value(self) -> f64 {
        self.value
    }

    /// A function of one number, with its derivative there.
    pub(crate) fn function(self, value: f64, derivative: f64) -> Self {
        match self.at {
            Some((tape, at)) => tape.push(value, [(at, derivative), (0, 0.0)]),
            None => Self::constant(value),
        }
    }

    fn with(self, other: Self, value: f64, partials: [f64; 2]) -> Self {
        match (self.at, other.at) {
            (Some((tape, a)), Some((_, b))) => tape.push(value, [(a, partials[0]), (b, partials[1])]),
            (Some(_), None) => self.function(value, partials[0]),
            (None, _) => other.function(value, partials[1]),
        }
    }
}

impl Add for Num<'_> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.with(other, self.value + other.value, [1.0, 1.0])
    }
}

impl Sub for Num<'_> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.with(other, self.value - other.value, [1.0, -1.0])
    }
}

impl Mul for Num<'_> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        self.with(other, self.value * other.value, [other.value, self.value])
    }
}

impl Div for Num<'_> {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let quotient = self.value / other.value;
        self.with(other, quotient, [other.value.recip(), -quotient / other.value])
    }
}

impl Mul<f64> for Num<'_> {
    type Output = Self;
    fn mul(self, factor: f64) -> Self {
        self.function(self.value * factor, factor)
    }
}

impl Add<f64> for Num<'_> {
    type Output = Self;
    fn add(self, other: f64) -> Self {
        self.function(self.value + other, 1.0)
    }
}

impl Neg for Num<'_> {
    type Output = Self;
    fn neg(self) -> Self {
        self * -1.0
    }
}

impl<'t> std::iter::Sum for Num<'t> {
    fn sum<I: Iterator<Item = Num<'t>>>(numbers: I) -> Self {
        numbers.fold(Self::constant(0.0), |sum, number| sum + number)
    }
}

#[test]
fn derivatives_are_those_of_the_formula() {
    let tape = Tape::default();
    let (x, y) = (tape.variable(1.5), tape.variable(-0.7));
    // f = (x y + 2 x) / (y - x²), by hand: f_x = ((y + 2)(y - x²) + 2x(xy + 2x)) / (y - x²)².
    let f = (x * y + x * 2.0) / (y - x * x);
    let given = tape.derivatives(f);
    let (a, b) = (1.5f64, -0.7f64);
    let below = b - a * a;
    let by_x = ((b + 2.0) * below + 2.0 * a * (a * b + 2.0 * a)) / below.powi(2);
    let by_y = (a * below - (a * b + 2.0 * a)) / below.powi(2);
    assert!((given.by(x) - by_x).abs() < 1e-12 && (given.by(y) - by_y).abs() < 1e-12);
}
