//! What a kernel sees of a step: operands, results, scratch.

use std::marker::PhantomData;

use super::memory::{as_ints, as_ints_mut};

/// A range of words: where it starts and how long it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawSlice {
    pub(super) start: *mut f32,
    pub(super) len: usize,
}

/// Why a kernel could not compute: operand contents it does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KernelError(pub String);

/// A kernel, bound to the shapes of one instruction.
pub trait CpuKernel: Send + Sync {
    /// Computes the step. Does not allocate.
    ///
    /// # Errors
    /// Operand contents the op does not accept, such as an id outside a table.
    fn run(&self, io: Io<'_>) -> Result<(), KernelError>;
}

/// A kernel with what the planner needs to know about it.
pub struct Lowered {
    /// The name shown in plans and profiles.
    pub name: &'static str,
    /// Scratch words it needs.
    pub scratch: usize,
    /// Pairs (input, output) it can compute in the same memory.
    pub in_place: Vec<(usize, usize)>,
    /// The kernel.
    pub kernel: Box<dyn CpuKernel>,
}

impl Lowered {
    /// A kernel that needs no scratch.
    pub fn new(name: &'static str, kernel: impl CpuKernel + 'static) -> Self {
        Self::with_scratch(name, 0, kernel)
    }

    /// A kernel that needs so many scratch words.
    pub fn with_scratch(name: &'static str, scratch: usize, kernel: impl CpuKernel + 'static) -> Self {
        Self { name, scratch, in_place: Vec::new(), kernel: Box::new(kernel) }
    }

    /// The same kernel, which can compute those pairs in the same memory.
    #[must_use]
    pub fn in_place(mut self, pairs: Vec<(usize, usize)>) -> Self {
        self.in_place = pairs;
        self
    }
}

/// Operands of a step.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    slices: &'a [RawSlice],
    in_place: &'a [(usize, usize)],
}

/// Operands, results and scratch of a step.
pub struct Io<'a> {
    pub(super) inputs: &'a [RawSlice],
    pub(super) outputs: &'a [RawSlice],
    pub(super) scratch: RawSlice,
    pub(super) in_place: &'a [(usize, usize)],
    pub(super) exclusive: PhantomData<&'a mut f32>,
}

impl<'a> Io<'a> {
    /// Starts of all operands and results, for kernels that read every element before they write the same one.
    pub(super) fn addresses(
        self,
    ) -> (impl ExactSizeIterator<Item = *const f32> + 'a, impl ExactSizeIterator<Item = *mut f32> + 'a) {
        (self.inputs.iter().map(|s| s.start.cast_const()), self.outputs.iter().map(|s| s.start))
    }

    /// Operands, the `N` results and scratch. A result that takes over an operand's memory holds that operand's
    /// elements, see [`Inputs::take`].
    ///
    /// # Errors
    /// The step does not have `N` results: a defect of the lowering.
    #[allow(clippy::type_complexity, reason = "a tuple is taken apart where it is made")]
    pub fn split<const N: usize>(
        self,
    ) -> Result<(Inputs<'a>, [&'a mut [f32]; N], &'a mut [f32]), KernelError> {
        if self.outputs.len() != N {
            return Err(KernelError(format!(
                "the kernel writes {N} results, the step has {}",
                self.outputs.len()
            )));
        }
        let outputs = std::array::from_fn(|o| {
            let slice = self.outputs[o];
            // SAFETY: the executor builds `Io` only for steps of a plan that passed `plan::check`: the range lies in a
            // live block, and no operand (but those declared in place, which `Inputs` does not hand out) and no other
            // result of the step overlaps it. `self` is consumed, so each result is borrowed once.
            unsafe { std::slice::from_raw_parts_mut(slice.start, slice.len) }
        });
        // SAFETY: scratch is a buffer of its own that only the running step uses; `self` is consumed.
        let scratch = unsafe { std::slice::from_raw_parts_mut(self.scratch.start, self.scratch.len) };
        Ok((Inputs { slices: self.inputs, in_place: self.in_place }, outputs, scratch))
    }
}

impl<'a> Inputs<'a> {
    /// Number of operands.
    pub fn len(&self) -> usize {
        self.slices.len()
    }

    /// Whether there are no operands.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Whether operand `i` is the memory of a result.
    pub fn is_taken(&self, i: usize) -> bool {
        self.in_place.iter().any(|&(input, _)| input == i)
    }

    /// Operand `i` as floats; empty if a result has taken over its memory.
    pub fn f32(&self, i: usize) -> &'a [f32] {
        if self.is_taken(i) {
            return &[];
        }
        let slice = self.slices[i];
        // SAFETY: as in `Io::split`: the range lies in a live block, and no result of the step overlaps it, because
        // operands whose memory a result has taken over are excluded above.
        unsafe { std::slice::from_raw_parts(slice.start, slice.len) }
    }

    /// Operand `i` as integers.
    pub fn i32(&self, i: usize) -> &'a [i32] {
        as_ints(self.f32(i))
    }

    /// Number of elements of operand `i`, also if its memory was taken over.
    pub fn elements(&self, i: usize) -> usize {
        self.slices[i].len
    }

    /// Makes `out` hold the elements of operand `i`: copies them, unless `out` is that very memory already.
    pub fn take(&self, i: usize, out: &mut [f32]) {
        if !self.is_taken(i) {
            out.copy_from_slice(self.f32(i));
        }
    }
}

/// A result as integers.
pub(super) fn ints(out: &mut [f32]) -> &mut [i32] {
    as_ints_mut(out)
}
