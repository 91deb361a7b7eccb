//! What a kernel sees of a step: operands, results, scratch.

use std::marker::PhantomData;

use super::memory::{as_ints, as_ints_mut};
use super::ops::Tables;

/// A range of words: where it starts and how long it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawSlice {
    pub(super) start: *mut f32,
    pub(super) len: usize,
}

/// Why a kernel could not compute: operand contents it does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct KernelError(pub(super) String);

/// A kernel, bound to the shapes of one instruction.
pub(super) trait CpuKernel: Send + Sync {
    /// Computes the step. Does not allocate.
    ///
    /// # Errors
    /// Operand contents the op does not accept, such as an id outside a table.
    fn run(&self, io: Io<'_>) -> Result<(), KernelError>;
}

/// A kernel with what the planner needs to know about it. Planners ask often, so what a kernel keeps between runs is made
/// only when it is bound.
pub(super) struct Lowered {
    /// The name shown in plans and profiles.
    pub(super) name: &'static str,
    /// Scratch words it needs.
    pub(super) scratch: usize,
    /// Pairs (input, output) it can compute in the same memory.
    pub(super) in_place: Vec<(usize, usize)>,
    bind: Bind,
}

/// A kernel that is ready to run.
type Bound = Result<Box<dyn CpuKernel>, KernelError>;

/// How a kernel is made.
enum Bind {
    /// It is no more than its shapes.
    Ready(Box<dyn CpuKernel>),
    /// It reads tables, which kernels of one executable share.
    WithTables(Box<dyn FnOnce(&mut Tables) -> Bound>),
}

impl Lowered {
    /// A kernel that needs no scratch.
    pub(super) fn new(name: &'static str, kernel: impl CpuKernel + 'static) -> Self {
        Self::with_scratch(name, 0, kernel)
    }

    /// A kernel that needs so many scratch words.
    pub(super) fn with_scratch(name: &'static str, scratch: usize, kernel: impl CpuKernel + 'static) -> Self {
        Self { name, scratch, in_place: Vec::new(), bind: Bind::Ready(Box::new(kernel)) }
    }

    /// A kernel that is made when it is bound, from shared tables.
    pub(super) fn with_tables<K: CpuKernel + 'static>(
        name: &'static str,
        scratch: usize,
        bind: impl FnOnce(&mut Tables) -> Result<K, KernelError> + 'static,
    ) -> Self {
        let bind =
            |tables: &mut Tables| bind(tables).map(|kernel| -> Box<dyn CpuKernel> { Box::new(kernel) });
        Self { name, scratch, in_place: Vec::new(), bind: Bind::WithTables(Box::new(bind)) }
    }

    /// The same kernel, which can compute those pairs in the same memory.
    #[must_use]
    pub(super) fn in_place(mut self, pairs: Vec<(usize, usize)>) -> Self {
        self.in_place = pairs;
        self
    }

    /// The kernel, with the tables it reads.
    pub(super) fn bind(self, tables: &mut Tables) -> Bound {
        match self.bind {
            Bind::Ready(kernel) => Ok(kernel),
            Bind::WithTables(bind) => bind(tables),
        }
    }
}

/// Operands of a step.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    slices: &'a [RawSlice],
    in_place: &'a [(usize, usize)],
}

/// Operands, results and scratch of a step.
pub(super) struct Io<'a> {
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
    pub(super) fn split<const N: usize>(
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
    pub(super) fn len(&self) -> usize {
        self.slices.len()
    }

    /// Whether operand `i` is the memory of a result.
    pub(super) fn is_taken(&self, i: usize) -> bool {
        self.in_place.iter().any(|&(input, _)| input == i)
    }

    /// Operand `i` as floats; empty if a result has taken over its memory.
    pub(super) fn f32(&self, i: usize) -> &'a [f32] {
        if self.is_taken(i) {
            return &[];
        }
        let slice = self.slices[i];
        // SAFETY: as in `Io::split`: the range lies in a live block, and no result of the step overlaps it, because
        // operands whose memory a result has taken over are excluded above.
        unsafe { std::slice::from_raw_parts(slice.start, slice.len) }
    }

    /// Operand `i` as integers.
    pub(super) fn i32(&self, i: usize) -> &'a [i32] {
        as_ints(self.f32(i))
    }

    /// Makes `out` hold the elements of operand `i`: copies them, unless `out` is that very memory already.
    pub(super) fn take(&self, i: usize, out: &mut [f32]) {
        if !self.is_taken(i) {
            out.copy_from_slice(self.f32(i));
        }
    }
}

/// A result as integers.
pub(super) fn ints(out: &mut [f32]) -> &mut [i32] {
    as_ints_mut(out)
}
