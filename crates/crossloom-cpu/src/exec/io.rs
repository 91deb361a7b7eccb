//! What a kernel sees of a step: operands, results, scratch.

use std::marker::PhantomData;

use crossloom_ir::{DType, TensorType};
use crossloom_runtime::Element;

use super::ops::Tables;

/// A range of bytes that holds elements of a type: where it starts and how long it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawSlice {
    pub(super) start: *mut u8,
    pub(super) bytes: usize,
    pub(super) dtype: DType,
}

impl RawSlice {
    /// The elements, if they are of that type.
    ///
    /// # Safety
    /// The range is valid for reads and writes during `'a`, and aligned to its elements.
    unsafe fn get<'a, T: Element>(self) -> Result<*mut [T], KernelError> {
        if self.dtype != T::DTYPE {
            return Err(KernelError(format!("holds {}, the kernel asks for {}", self.dtype, T::DTYPE)));
        }
        Ok(std::ptr::slice_from_raw_parts_mut(self.start.cast::<T>(), self.bytes / size_of::<T>()))
    }
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
    /// Scratch bytes it needs.
    pub(super) scratch: usize,
    /// Pairs (input, output) it can compute in the same memory.
    pub(super) in_place: Vec<(usize, usize)>,
    /// Results it can leave out.
    pub(super) optional: Vec<usize>,
    types: Types,
    bind: Bind,
}

/// Element types of operands and results.
enum Types {
    /// Those, where they are not floats: (operand, type) and (result, type).
    Are(Vec<(usize, DType)>, Vec<(usize, DType)>),
    /// Any of four bytes, the same for all: it copies them.
    Words,
    /// Those that it was chosen for.
    Chosen,
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

    /// A kernel that needs scratch for so many floats.
    pub(super) fn with_scratch(name: &'static str, scratch: usize, kernel: impl CpuKernel + 'static) -> Self {
        Self {
            name,
            scratch: scratch * size_of::<f32>(),
            in_place: Vec::new(),
            optional: Vec::new(),
            types: Types::Are(Vec::new(), Vec::new()),
            bind: Bind::Ready(Box::new(kernel)),
        }
    }

    /// A kernel that is made when it is bound, from shared tables.
    pub(super) fn with_tables<K: CpuKernel + 'static>(
        name: &'static str,
        scratch: usize,
        bind: impl FnOnce(&mut Tables) -> Result<K, KernelError> + 'static,
    ) -> Self {
        let bind =
            |tables: &mut Tables| bind(tables).map(|kernel| -> Box<dyn CpuKernel> { Box::new(kernel) });
        Self {
            name,
            scratch: scratch * size_of::<f32>(),
            in_place: Vec::new(),
            optional: Vec::new(),
            types: Types::Are(Vec::new(), Vec::new()),
            bind: Bind::WithTables(Box::new(bind)),
        }
    }

    /// The same kernel, which can compute those pairs in the same memory.
    #[must_use]
    pub(super) fn in_place(mut self, pairs: Vec<(usize, usize)>) -> Self {
        self.in_place = pairs;
        self
    }

    /// The same kernel, which leaves those results out where nobody reads them.
    #[must_use]
    #[allow(dead_code, reason = "the kernels that can are on their way")]
    pub(super) fn optional(mut self, results: Vec<usize>) -> Self {
        self.optional = results;
        self
    }

    /// The same kernel, of which those operands and results are integers and all others floats.
    #[must_use]
    pub(super) fn ints(self, operands: &[usize], results: &[usize]) -> Self {
        let of = |indices: &[usize]| indices.iter().map(|&i| (i, DType::I32)).collect();
        Self { types: Types::Are(of(operands), of(results)), ..self }
    }

    /// The same kernel, which copies elements of any type of four bytes.
    #[must_use]
    pub(super) fn words(self) -> Self {
        Self { types: Types::Words, ..self }
    }

    /// The same kernel, which was chosen for the very types of its instruction.
    #[must_use]
    pub(super) fn chosen(self) -> Self {
        Self { types: Types::Chosen, ..self }
    }

    /// Whether it is a kernel for operands and results of those types.
    pub(super) fn takes(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> bool {
        let are = |types: &[&TensorType], but: &[(usize, DType)]| {
            let wanted =
                |i: usize| but.iter().find(|(at, _)| *at == i).map_or(DType::F32, |(_, dtype)| *dtype);
            types.iter().enumerate().all(|(i, ty)| ty.dtype == wanted(i))
        };
        match &self.types {
            Types::Are(operands, results) => are(inputs, operands) && are(outputs, results),
            Types::Chosen => true,
            Types::Words => {
                let mut all = inputs.iter().chain(outputs).map(|ty| ty.dtype);
                let first = all.next().unwrap_or(DType::F32);
                matches!(first, DType::F32 | DType::I32) && all.all(|dtype| dtype == first)
            }
        }
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
    inputs: &'a [RawSlice],
    outputs: &'a [RawSlice],
    scratch: RawSlice,
    in_place: &'a [(usize, usize)],
    exclusive: PhantomData<&'a mut f32>,
}

/// A result of a step. One that nobody reads, of a kernel that can leave it out, is empty.
pub(super) struct Out<'a> {
    slice: RawSlice,
    exclusive: PhantomData<&'a mut f32>,
}

impl<'a> Io<'a> {
    /// What a step sees. Made only for steps of a program that is bound to the memory of a queue, by whoever has that
    /// queue exclusively for `'a`.
    pub(super) fn new(
        inputs: &'a [RawSlice],
        outputs: &'a [RawSlice],
        scratch: RawSlice,
        in_place: &'a [(usize, usize)],
    ) -> Self {
        Self { inputs, outputs, scratch, in_place, exclusive: PhantomData }
    }

    /// Starts of all operands and results, for kernels that read every element before they write the same one.
    ///
    /// # Errors
    /// Not all of them are floats: a defect of the lowering.
    #[allow(clippy::type_complexity, reason = "a tuple is taken apart where it is made")]
    pub(super) fn addresses(
        self,
    ) -> Result<
        (impl ExactSizeIterator<Item = *const f32> + 'a, impl ExactSizeIterator<Item = *mut f32> + 'a),
        KernelError,
    > {
        if self.inputs.iter().chain(self.outputs).any(|slice| slice.dtype != DType::F32) {
            return Err(KernelError("the kernel takes and gives floats only".to_owned()));
        }
        let inputs = self.inputs.iter().map(|s| s.start.cast_const().cast());
        Ok((inputs, self.outputs.iter().map(|s| s.start.cast())))
    }

    /// Operands, the `N` results, and scratch as floats.
    ///
    /// # Errors
    /// The step does not have `N` results: a defect of the lowering.
    #[allow(clippy::type_complexity, reason = "a tuple is taken apart where it is made")]
    pub(super) fn take<const N: usize>(
        self,
    ) -> Result<(Inputs<'a>, [Out<'a>; N], &'a mut [f32]), KernelError> {
        if self.outputs.len() != N {
            return Err(KernelError(format!(
                "the kernel writes {N} results, the step has {}",
                self.outputs.len()
            )));
        }
        let outputs = std::array::from_fn(|o| Out { slice: self.outputs[o], exclusive: PhantomData });
        // SAFETY: scratch lies behind the arena, aligned, in a range of its own that only the running step uses; `self`
        // is consumed, so it is borrowed once.
        let scratch = unsafe { &mut *self.scratch.get::<f32>()? };
        Ok((Inputs { slices: self.inputs, in_place: self.in_place }, outputs, scratch))
    }

    /// As [`Io::take`], of a step whose results are all floats. A result that takes over an operand's memory holds that
    /// operand's elements, see [`Inputs::take`].
    ///
    /// # Errors
    /// The step does not have `N` float results: a defect of the lowering.
    #[allow(clippy::type_complexity, reason = "a tuple is taken apart where it is made")]
    pub(super) fn split<const N: usize>(
        self,
    ) -> Result<(Inputs<'a>, [&'a mut [f32]; N], &'a mut [f32]), KernelError> {
        let (inputs, outputs, scratch) = self.take::<N>()?;
        let mut floats = [const { None }; N];
        for (slot, output) in floats.iter_mut().zip(outputs) {
            *slot = Some(output.of::<f32>()?);
        }
        Ok((inputs, floats.map(Option::unwrap_or_default), scratch))
    }
}

impl<'a> Out<'a> {
    /// The elements, to be written.
    ///
    /// # Errors
    /// The result is of another type: a defect of the lowering.
    pub(super) fn of<T: Element>(self) -> Result<&'a mut [T], KernelError> {
        // SAFETY: `Io` is made only for steps of a verified plan: the range lies in live memory at a whole element, and no
        // operand (but those declared in place, which `Inputs` does not hand out) and no other result of the step
        // overlaps it. `self` is consumed, so the result is borrowed once.
        Ok(unsafe { &mut *self.slice.get::<T>()? })
    }

    /// The elements of four bytes, whatever they are, to be copied.
    ///
    /// # Errors
    /// The elements have another size.
    pub(super) fn words(self) -> Result<&'a mut [f32], KernelError> {
        match self.slice.dtype {
            DType::I32 => Ok(bytemuck::cast_slice_mut(self.of::<i32>()?)),
            _ => self.of(),
        }
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

    /// Operand `i`; empty if a result has taken over its memory.
    ///
    /// # Errors
    /// There is none, or it is of another type: a defect of the lowering.
    pub(super) fn of<T: Element>(&self, i: usize) -> Result<&'a [T], KernelError> {
        let missing = || KernelError(format!("the step has no operand {i}"));
        let slice = self.slices.get(i).ok_or_else(missing)?;
        // SAFETY: as in `Out::of`: the range lies in live memory at a whole element, and no result of the step overlaps
        // it, because operands whose memory a result has taken over are excluded here.
        let elements = unsafe { slice.get::<T>()? };
        if self.is_taken(i) {
            return Ok(&[]);
        }
        // SAFETY: as above.
        Ok(unsafe { &*elements })
    }

    /// Operand `i` as floats, see [`Inputs::of`].
    pub(super) fn f32(&self, i: usize) -> Result<&'a [f32], KernelError> {
        self.of(i)
    }

    /// Operand `i` as integers, see [`Inputs::of`].
    pub(super) fn i32(&self, i: usize) -> Result<&'a [i32], KernelError> {
        self.of(i)
    }

    /// Operand `i` as elements of four bytes, whatever they are, to be copied.
    ///
    /// # Errors
    /// The elements have another size.
    pub(super) fn words(&self, i: usize) -> Result<&'a [f32], KernelError> {
        match self.slices.get(i).map(|slice| slice.dtype) {
            Some(DType::I32) => Ok(bytemuck::cast_slice(self.of::<i32>(i)?)),
            _ => self.of(i),
        }
    }

    /// Operand `i` as floats, unless a result has taken over its memory and holds it.
    pub(super) fn unless_taken(&self, i: usize) -> Result<Option<&'a [f32]>, KernelError> {
        if self.is_taken(i) { Ok(None) } else { self.f32(i).map(Some) }
    }

    /// Operand `i` as floats, if the op has it.
    pub(super) fn f32_if(&self, has: bool, i: usize) -> Result<Option<&'a [f32]>, KernelError> {
        if has { self.f32(i).map(Some) } else { Ok(None) }
    }

    /// Operand `i` as integers, if the op has it.
    pub(super) fn i32_if(&self, has: bool, i: usize) -> Result<Option<&'a [i32]>, KernelError> {
        if has { self.i32(i).map(Some) } else { Ok(None) }
    }

    /// Makes `out` hold the elements of operand `i`: copies them, unless `out` is that very memory already.
    pub(super) fn take(&self, i: usize, out: &mut [f32]) -> Result<(), KernelError> {
        if !self.is_taken(i) {
            out.copy_from_slice(self.f32(i)?);
        }
        Ok(())
    }
}
