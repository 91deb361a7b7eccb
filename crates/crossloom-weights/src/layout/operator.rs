//! What is done to a file's tensors to make ours of them, and back. Each operator has an inverse that gives back every byte.

use std::borrow::Cow;

use crossloom_ir::{DType, TensorType};

use super::extents::{Dims, Extents};
use crate::values::converted;

/// A tensor as bytes, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor<'a> {
    /// Element type and shape.
    pub ty: TensorType,
    /// As many bytes as the type has.
    pub bytes: Cow<'a, [u8]>,
}

/// One step from the file's tensors to ours. Shapes are written as `extents` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Rows become columns: files of ONNX keep a product's matrix as `[in, out]`.
    Transpose,
    /// The same numbers in the same order, of another shape: the file's, then ours.
    Reshape(&'static str, &'static str),
    /// One tensor of the file is several of ours, one below the other, of so many rows each.
    Split(&'static str),
    /// Several tensors of the file, of so many rows each, are one of ours.
    Concatenate(&'static str),
    /// Rows of a query or key matrix, by head: the file has the two numbers that rotary positions turn side by side, we have
    /// the first ones of all pairs before the second ones. Whole rows move, so they may be quantized.
    Rope,
    /// The file's second tensor is its first one again where the model ties its head to its word embedding: then it is none of
    /// ours, and is not written. Elsewhere each is one of ours.
    Tie,
    /// Elements of the first type become those of the second, which can hold all their numbers.
    Cast(DType, DType),
}

/// Which way an operator goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the file to us.
    Load,
    /// From us to the file.
    Save,
}

/// What an operator does once it is known which way it goes.
enum Act {
    Transpose,
    Reshape(&'static str, &'static str),
    Split(&'static str),
    Join(&'static str),
    /// Moves rows within blocks of one head: to halves, or to pairs.
    Rope {
        to_halves: bool,
    },
    Nothing,
    Cast(DType, DType),
}

impl Operator {
    fn act(self, way: Way) -> Act {
        match (self, way) {
            (Self::Transpose, _) => Act::Transpose,
            (Self::Reshape(from, to), Way::Load) | (Self::Reshape(to, from), Way::Save) => {
                Act::Reshape(from, to)
            }
            (Self::Split(rows), Way::Load) | (Self::Concatenate(rows), Way::Save) => Act::Split(rows),
            (Self::Split(rows), Way::Save) | (Self::Concatenate(rows), Way::Load) => Act::Join(rows),
            (Self::Rope, way) => Act::Rope { to_halves: way == Way::Load },
            (Self::Tie, _) => Act::Nothing,
            (Self::Cast(from, to), Way::Load) | (Self::Cast(to, from), Way::Save) => Act::Cast(from, to),
        }
    }

    /// The types that come out.
    pub(super) fn types(
        self,
        way: Way,
        given: &[TensorType],
        dims: &Dims,
    ) -> Result<Vec<TensorType>, String> {
        let act = self.act(way);
        match act {
            Act::Split(rows) => {
                let [ty] = given else { return Err(number(given.len(), "1")) };
                let parts = Extents::new(dims).parts(rows, first(ty)?)?;
                Ok(parts.into_iter().map(|rows| with_rows(ty, rows)).collect())
            }
            Act::Join(rows) => {
                let extents: Vec<usize> = given.iter().map(first).collect::<Result<_, _>>()?;
                let total = extents.iter().try_fold(0_usize, |sum, &rows| sum.checked_add(rows));
                let total = total.ok_or("has too many rows")?;
                let one = given.first().ok_or_else(|| number(0, "several"))?;
                if given.iter().any(|ty| ty.dtype != one.dtype || ty.shape[1..] != one.shape[1..]) {
                    return Err("has parts of different types or widths".to_owned());
                }
                if Extents::new(dims).parts(rows, total)? != extents {
                    return Err(format!("has parts of {extents:?} rows, which are no `{rows}`"));
                }
                Ok(vec![with_rows(one, total)])
            }
            _ => given.iter().map(|ty| act.type_of(ty, dims)).collect(),
        }
    }

    /// The tensors that come out; the types are those that [`Self::types`] gives.
    pub(super) fn apply<'a>(
        self,
        way: Way,
        given: Vec<Tensor<'a>>,
        dims: &Dims,
    ) -> Result<Vec<Tensor<'a>>, String> {
        let types: Vec<TensorType> = given.iter().map(|tensor| tensor.ty.clone()).collect();
        let types = self.types(way, &types, dims)?;
        let act = self.act(way);
        match act {
            Act::Split(_) => {
                let (mut at, mut parts) = (0, Vec::new());
                let whole = given.into_iter().next().ok_or_else(|| number(0, "1"))?;
                for ty in types {
                    let bytes = whole.bytes[at..at + ty.bytes()].to_vec();
                    at += bytes.len();
                    parts.push(Tensor { ty, bytes: Cow::Owned(bytes) });
                }
                Ok(parts)
            }
            Act::Join(_) => {
                let bytes: Vec<u8> = given.iter().flat_map(|part| part.bytes.iter().copied()).collect();
                Ok(types.into_iter().map(|ty| Tensor { ty, bytes: Cow::Owned(bytes.clone()) }).collect())
            }
            _ => given.into_iter().zip(types).map(|(tensor, ty)| act.tensor(tensor, ty, dims)).collect(),
        }
    }
}

impl Act {
    fn type_of(&self, ty: &TensorType, dims: &Dims) -> Result<TensorType, String> {
        let made = match *self {
            Self::Transpose => match ty.shape.as_slice() {
                _ if ty.dtype.is_quantized() => {
                    Err(format!("is {}, whose rows cannot become columns", ty.dtype))
                }
                &[rows, columns] => Ok(TensorType::new(ty.dtype, [columns, rows])),
                shape => Err(format!("has shape {shape:?}; a matrix is expected")),
            },
            Self::Reshape(from, to) => {
                let mut extents = Extents::new(dims);
                extents.take(from, &ty.shape)?;
                Ok(TensorType::new(ty.dtype, extents.shape(to)?))
            }
            Self::Rope { .. } => {
                let rows = first(ty)?;
                let whole = dims.head.is_multiple_of(2) && dims.head > 0 && rows.is_multiple_of(dims.head);
                let heads = || format!("has {rows} rows, which are no heads of {}", dims.head);
                if whole { Ok(ty.clone()) } else { Err(heads()) }
            }
            Self::Cast(from, _) if ty.dtype != from => Err(format!("is {}; {from} is expected", ty.dtype)),
            Self::Cast(from, to) => match (from, to) {
                (DType::F16 | DType::Bf16, DType::F32) | (DType::F32, DType::F16 | DType::Bf16) => {
                    Ok(ty.with_dtype(to))
                }
                _ => Err(format!("cannot become {to} from {from} and back without a loss")),
            },
            Self::Nothing => Ok(ty.clone()),
            Self::Split(_) | Self::Join(_) => Err(number(1, "several")),
        }?;
        if made.has_whole_blocks() && made.elements() == ty.elements() {
            Ok(made)
        } else {
            Err(format!("is {ty}, which cannot be {made}"))
        }
    }

    fn tensor<'a>(&self, tensor: Tensor<'a>, ty: TensorType, dims: &Dims) -> Result<Tensor<'a>, String> {
        let bytes = match *self {
            Self::Transpose => {
                let (size, rows) = (ty.dtype.bytes_of(1), tensor.ty.rows());
                let mut out = Vec::with_capacity(tensor.bytes.len());
                for column in 0..ty.rows() {
                    for row in 0..rows {
                        let at = (row * ty.rows() + column) * size;
                        out.extend_from_slice(&tensor.bytes[at..at + size]);
                    }
                }
                Cow::Owned(out)
            }
            Self::Rope { to_halves } => {
                let row = tensor.bytes.len() / ty.shape[0].max(1);
                let (head, half) = (dims.head, dims.head / 2);
                let mut out = Vec::with_capacity(tensor.bytes.len());
                for index in 0..ty.shape[0] {
                    let (first, i) = (index / head * head, index % head);
                    let from = if to_halves { i % half * 2 + i / half } else { i % 2 * half + i / 2 };
                    let at = (first + from) * row;
                    out.extend_from_slice(&tensor.bytes[at..at + row]);
                }
                Cow::Owned(out)
            }
            Self::Cast(from, to) => Cow::Owned(converted(from, &tensor.bytes, to)?),
            Self::Reshape(..) | Self::Nothing | Self::Split(_) | Self::Join(_) => tensor.bytes,
        };
        Ok(Tensor { ty, bytes })
    }
}

fn first(ty: &TensorType) -> Result<usize, String> {
    ty.shape.first().copied().ok_or_else(|| "is a single number; rows are expected".to_owned())
}

fn with_rows(ty: &TensorType, rows: usize) -> TensorType {
    let mut shape = ty.shape.clone();
    shape[0] = rows;
    TensorType { dtype: ty.dtype, shape }
}

fn number(given: usize, wanted: &str) -> String {
    format!("comes as {given} tensors; {wanted} are expected")
}
