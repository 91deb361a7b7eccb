//! The program and its register allocation.

use crossloom_ir::op::Activation;

use super::{OPERANDS, REGISTERS};
use crate::kernels::error::{KernelError, need};

/// How an operand is read for element `(row, col)` of the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broadcast {
    /// `[rows, cols]`.
    Full,
    /// `[cols]`: one value per column.
    Row,
    /// `[rows]`: one value per row.
    Column,
    /// One value.
    Scalar,
}

/// The float type of an operand or output in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float {
    /// 4 bytes.
    F32,
    /// 2 bytes.
    Bf16,
}

impl Float {
    /// The size of a value.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::Bf16 => size_of::<half::bf16>(),
        }
    }
}

/// A function of one value.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum UnaryOp {
    /// `e^x`.
    Exp,
    /// `2^x`.
    Exp2,
    /// `ln x`.
    Log,
    /// `log2 x`.
    Log2,
    /// `sin x`.
    Sin,
    /// `sqrt x`.
    Sqrt,
    /// `1 / sqrt x`.
    Rsqrt,
    /// `1 / x`.
    Recip,
    /// `tanh x`.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// An activation.
    Act(Activation),
    /// The slope of an activation.
    ActGrad(Activation),
}

/// A function of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BinaryOp {
    /// `x + y`.
    Add,
    /// `x - y`.
    Sub,
    /// `x y`.
    Mul,
    /// `x / y`.
    Div,
    /// The smaller one; NaN where one is NaN.
    Min,
    /// The larger one; NaN where one is NaN.
    Max,
    /// The remainder of `x / y`, with the sign of `x`.
    Mod,
    /// 1 where `x < y`, else 0.
    LessThan,
}

/// One step. Its operands are numbers of values: operands of the program first, then one per step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// `f(x)`.
    Unary(UnaryOp, usize),
    /// `f(x, y)`.
    Binary(BinaryOp, usize, usize),
    /// `mul x + add`.
    Affine(usize, f32, f32),
    /// The same number everywhere.
    Constant(f32),
}

impl Step {
    /// The values it reads.
    pub(super) fn reads(&self) -> impl Iterator<Item = usize> + use<> {
        let (reads, count) = match *self {
            Self::Unary(_, x) | Self::Affine(x, ..) => ([x, 0], 1),
            Self::Binary(_, x, y) => ([x, y], 2),
            Self::Constant(_) => ([0; 2], 0),
        };
        reads.into_iter().take(count)
    }
}

/// Where a value is while a block is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a register.
    Register(usize),
    /// In the memory of an operand, at the block.
    Operand(usize),
    /// Nowhere: it is never used.
    Nowhere,
}

/// A checked program with registers assigned.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    pub(super) loads: Vec<(Broadcast, Float)>,
    pub(super) steps: Vec<Step>,
    pub(super) stores: Vec<(usize, Float)>,
    /// One per value.
    pub(super) places: Vec<Place>,
    /// The last step may write this output directly.
    pub(super) direct: Option<usize>,
}

/// What frees a register: nothing may reuse it before this step.
const FOREVER: usize = usize::MAX;

impl Program {
    /// A program on `f32` memory, see [`Program::typed`].
    ///
    /// # Errors
    /// As [`Program::typed`].
    pub fn new(loads: Vec<Broadcast>, steps: Vec<Step>, stores: Vec<usize>) -> Result<Self, KernelError> {
        let loads = loads.into_iter().map(|load| (load, Float::F32)).collect();
        let stores = stores.into_iter().map(|store| (store, Float::F32)).collect();
        Self::typed(loads, steps, stores)
    }

    /// Checks a program: `loads` says how each operand is read and of which type it is, `steps` run in order, `stores` are
    /// the numbers of the values that are the outputs, and their types. Numbers count the operands first, then the steps.
    /// Values are `f32`: an operand is widened, and an output rounded once.
    ///
    /// # Errors
    /// Where a number names no value before it, there are more than 64 operands or outputs, or more than 24 values
    /// live at once.
    pub fn typed(
        loads: Vec<(Broadcast, Float)>,
        steps: Vec<Step>,
        stores: Vec<(usize, Float)>,
    ) -> Result<Self, KernelError> {
        let name = "elementwise";
        need(name, "most operands", OPERANDS, loads.len())?;
        need(name, "most outputs", OPERANDS, stores.len())?;
        let values = loads.len() + steps.len();
        let outside = |operand, position, value: usize, bound| KernelError::Index {
            kernel: name,
            operand,
            position,
            index: value as i64,
            bound,
        };
        for (i, step) in steps.iter().enumerate() {
            let bound = loads.len() + i;
            if let Some(bad) = step.reads().find(|x| *x >= bound) {
                return Err(outside("steps", i, bad, bound));
            }
        }
        if let Some((i, bad)) = stores.iter().enumerate().find(|(_, x)| x.0 >= values) {
            return Err(outside("stores", i, bad.0, values));
        }
        let mut program = Self { loads, steps, stores, places: vec![Place::Nowhere; values], direct: None };
        program.assign()?;
        Ok(program)
    }

    /// The number of operands.
    pub fn operands(&self) -> usize {
        self.loads.len()
    }

    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.stores.len()
    }

    /// Gives every value that is used a place.
    fn assign(&mut self) -> Result<(), KernelError> {
        let operands = self.loads.len();
        let mut last_use: Vec<Option<usize>> = vec![None; self.places.len()];
        for (i, step) in self.steps.iter().enumerate() {
            for x in step.reads() {
                last_use[x] = Some(i);
            }
        }
        for &(x, _) in &self.stores {
            last_use[x] = Some(FOREVER);
        }
        // The last step may write its output in place of a register, if that is all that becomes of it.
        let last = self.places.len().wrapping_sub(1);
        let stored = self.stores.iter().filter(|x| x.0 == last).count();
        if !self.steps.is_empty() && stored == 1 {
            self.direct = self.stores.iter().position(|x| *x == (last, Float::F32));
        }
        // Registers: until which step each is taken.
        let mut busy: Vec<usize> = Vec::new();
        let mut take = |from: usize, until: usize| -> Result<Place, KernelError> {
            let free = busy.iter().position(|b| *b != FOREVER && *b <= from);
            let register = free.unwrap_or(busy.len());
            if register == busy.len() {
                need("elementwise", "most values alive", REGISTERS, register + 1)?;
                busy.push(until);
            } else {
                busy[register] = until;
            }
            Ok(Place::Register(register))
        };
        for (i, (load, float)) in self.loads.iter().enumerate() {
            let Some(until) = last_use[i] else { continue };
            // Outputs may share memory with operands, so an operand that is itself an output is copied first. Scalars
            // are loaded once, and stay.
            self.places[i] = match load {
                Broadcast::Full if *float == Float::F32 && until != FOREVER => Place::Operand(i),
                Broadcast::Scalar => take(0, FOREVER)?,
                _ => take(0, until.max(1))?,
            };
        }
        for i in 0..self.steps.len() {
            let value = operands + i;
            if let Some(until) = last_use[value]
                && !(self.direct.is_some() && value == last)
            {
                // A step may write over an operand that it is the last to read.
                self.places[value] = take(i, until)?;
            }
        }
        Ok(())
    }
}
