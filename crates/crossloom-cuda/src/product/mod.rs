//! Matrix products that NVIDIA's library computes, with what it can apply to their results.

mod reference;

use std::fmt;

use crossloom_ir::DType;

use crate::launch::Argument;

/// What computes matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    /// The kernels of this crate. A row's result has the same bits whatever the other rows of a call.
    #[default]
    Own,
    /// cuBLASLt, where it can do what a product asks for; kernels of this crate elsewhere. Numbers depend on the algorithm, and
    /// that on the number of rows.
    Library {
        /// Operands in `f32` are rounded to TF32, with 10 bits behind the point, which tensor cores multiply; sums are `f32`.
        tf32: bool,
    },
}

/// `result = f(op(A) op(B) + bias) + residual` for some pairs of matrices, row by row; `before` is what `f` is applied to.
#[allow(clippy::struct_excessive_bools, reason = "each says something of its own, and all go together")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    /// Pairs of matrices, one behind the other.
    pub batch: usize,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Products that are summed up for one element.
    pub k: usize,
    /// A lies in memory as `[k, m]`.
    pub transpose_a: bool,
    /// B lies in memory as `[n, k]`.
    pub transpose_b: bool,
    /// Type of A and B: `f32` or `bf16`.
    pub operands: DType,
    /// Type of all else: `f32` or `bf16`. Sums are `f32`.
    pub result: DType,
    /// A number per column is added.
    pub bias: bool,
    /// `f` is the GELU by `tanh`, and `before` is written too. There is no residual then.
    pub gelu: bool,
    /// `f` is a factor instead: the slope of the GELU by `tanh` at `before`, which is read. There is nothing else then.
    pub gelu_slope: bool,
    /// The sums of the rows of op(A) are written too, in `f32` as the result is. There is nothing else then.
    pub sums: bool,
    /// A matrix as large as the result is added, which may be where the result goes.
    pub residual: bool,
    /// Operands in `f32` are rounded to TF32.
    pub tf32: bool,
}

impl Product {
    /// Bytes of working memory: eight partial results in `f32`, at most what NVIDIA advises for its newest devices.
    pub fn workspace(&self) -> usize {
        (self.batch * self.m * self.n * 4 * 8).next_multiple_of(256).min(32 << 20)
    }
}

/// As it is named in files and errors.
impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch, m, n, k, operands, result, .. } = self;
        write!(f, "{batch} x {m} x {n} x {k} {} -> {}", operands.name(), result.name())?;
        let parts = [
            (self.transpose_a, " A^T"),
            (self.transpose_b, " B^T"),
            (self.bias, " bias"),
            (self.gelu, " gelu"),
            (self.gelu_slope, " gelu-slope"),
            (self.sums, " sums"),
            (self.residual, " residual"),
            (self.tf32, " tf32"),
        ];
        parts.iter().filter(|(is, _)| *is).try_for_each(|(_, name)| f.write_str(name))
    }
}

/// Where a product's matrices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operands<T> {
    /// The left matrices.
    pub a: T,
    /// The right ones.
    pub b: T,
    /// A number per column.
    pub bias: Option<T>,
    /// What is added last.
    pub residual: Option<T>,
    /// The result.
    pub result: T,
    /// What the activation is applied to, or, for its slope, was.
    pub before: Option<T>,
    /// The sums of the rows of op(A).
    pub sums: Option<T>,
    /// Working memory, see [`Product::workspace`].
    pub workspace: T,
}

impl<T> Operands<T> {
    /// The same with a function of every place.
    ///
    /// # Errors
    /// That of the function.
    pub fn try_map<U, E>(&self, mut f: impl FnMut(&T) -> Result<U, E>) -> Result<Operands<U>, E> {
        Ok(Operands {
            a: f(&self.a)?,
            b: f(&self.b)?,
            bias: self.bias.as_ref().map(&mut f).transpose()?,
            residual: self.residual.as_ref().map(&mut f).transpose()?,
            result: f(&self.result)?,
            before: self.before.as_ref().map(&mut f).transpose()?,
            sums: self.sums.as_ref().map(&mut f).transpose()?,
            workspace: f(&self.workspace)?,
        })
    }
}

/// A step that is one product of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiply {
    /// What is computed.
    pub product: Product,
    /// Of what.
    pub operands: Operands<Argument>,
}

/// How a product is computed, as it was chosen once.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Chosen {
    /// The product, in words.
    pub product: String,
    /// The library's version.
    pub library: String,
    /// The device's name and architecture.
    pub device: String,
    /// The library's own words for an algorithm, in hexadecimal digits; of this version alone.
    pub algorithm: String,
    /// How it was chosen among how many.
    pub how: String,
    /// Where they were measured, the seconds that each one took, in the library's order.
    pub seconds: Vec<f64>,
}
