//! What a kernel sees of a step: operands, results, scratch.

use std::marker::PhantomData;

use bytemuck::Pod;
use crossloom_compiler::Kernel;
use crossloom_ir::{DType, TensorType};
use crossloom_runtime::Element;
use half::bf16;

use super::ops::Tables;
use crate::element::{Floats, FloatsMut};
use crate::kernels::{Blocks, KernelError};

/// A range of bytes that holds elements of a type: where it starts and how long it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawSlice {
    pub(super) start: *mut u8,
    pub(super) bytes: usize,
    pub(super) dtype: DType,
}

impl RawSlice {
    /// The elements, if they are of that type.
    fn get<T: Element>(self) -> Result<*mut [T], KernelError> {
        if self.dtype != T::DTYPE {
            return Err(KernelError::Step(format!("holds {}, the kernel asks for {}", self.dtype, T::DTYPE)));
        }
        Ok(std::ptr::slice_from_raw_parts_mut(self.start.cast::<T>(), self.bytes / size_of::<T>()))
    }

    /// The elements as bits, if they are of that size.
    fn bits<T: Pod>(self) -> Result<*mut [T], KernelError> {
        if self.dtype.block() != (1, size_of::<T>()) {
            let size = size_of::<T>();
            return Err(KernelError::Step(format!(
                "holds {}, the kernel moves {size} bytes at a time",
                self.dtype
            )));
        }
        Ok(std::ptr::slice_from_raw_parts_mut(self.start.cast::<T>(), self.bytes / size_of::<T>()))
    }
}

/// A kernel, bound to the shapes of one instruction.
pub(super) trait CpuKernel: Send + Sync {
    /// Computes the step. Does not allocate.
    ///
    /// # Errors
    /// Operand contents the op does not accept, such as an id outside a table.
    fn run(&self, io: Io<'_>) -> Result<(), KernelError>;
}

/// A kernel that copies elements, whatever they stand for.
pub(super) trait Move: Send + Sync {
    /// Writes `out`, elements of a size, from operands of the same size, see [`Inputs::bits`].
    ///
    /// # Errors
    /// An operand of another size, or contents that the op does not accept.
    fn run<T: Pod + Send + Sync>(&self, inputs: &Inputs<'_>, out: &mut [T]) -> Result<(), KernelError>;
}

/// A [`Move`] for elements of one, two or four bytes.
pub(super) struct Moved<M>(pub(super) M);

impl<M: Move> CpuKernel for Moved<M> {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.take()?;
        match out.slice.dtype.block() {
            (1, 1) => self.0.run::<u8>(&inputs, out.bits()?),
            (1, 2) => self.0.run::<u16>(&inputs, out.bits()?),
            _ => self.0.run::<u32>(&inputs, out.bits()?),
        }
    }
}

/// Evaluates an expression on slices of the types that operands ([`Floats`]) and results ([`FloatsMut`]) have.
macro_rules! typed {
    (; $body:expr) => { $body };
    ($x:ident: $kind:ident = $floats:expr $(, $next:ident: $next_kind:ident = $rest:expr)*; $body:expr) => {
        match $floats {
            $kind::F32($x) => typed!($($next: $next_kind = $rest),*; $body),
            $kind::Bf16($x) => typed!($($next: $next_kind = $rest),*; $body),
        }
    };
}
pub(super) use typed;

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
    /// `f32`, but for those: operands and results with what they may be.
    Are(Vec<(usize, May)>, Vec<(usize, May)>),
    /// Any but blocks, the same for all: it copies them.
    Moved,
}

/// What the elements of an operand or result may be.
#[derive(Clone, Copy)]
enum May {
    /// Of that type.
    Be(DType),
    /// Of the float types that kernels load and store.
    Float,
    /// Of these, or quantized.
    Weight,
    /// Of any float type.
    AnyFloat,
}

impl May {
    fn be(self, dtype: DType) -> bool {
        match self {
            Self::Be(only) => dtype == only,
            Self::Float => matches!(dtype, DType::F32 | DType::Bf16),
            Self::Weight => Self::Float.be(dtype) || dtype.is_quantized(),
            Self::AnyFloat => dtype.is_float(),
        }
    }
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
    /// What the planner needs to know of it.
    pub(super) fn told(&self) -> Kernel {
        let optional = self.optional.clone();
        Kernel {
            name: self.name.to_owned(),
            scratch: self.scratch,
            in_place: self.in_place.clone(),
            optional,
        }
    }

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
    pub(super) fn optional(mut self, results: Vec<usize>) -> Self {
        self.optional = results;
        self
    }

    /// The same kernel, of which those operands and results are integers.
    #[must_use]
    pub(super) fn ints(self, operands: &[usize], results: &[usize]) -> Self {
        self.may(May::Be(DType::I32), operands, results)
    }

    /// The same kernel, of which those operands and results are of that type.
    #[must_use]
    pub(super) fn of(self, dtype: DType, operands: &[usize], results: &[usize]) -> Self {
        self.may(May::Be(dtype), operands, results)
    }

    /// The same kernel, of which those operands and results are `f32` or `bf16`, in any mix.
    #[must_use]
    pub(super) fn floats(self, operands: &[usize], results: &[usize]) -> Self {
        self.may(May::Float, operands, results)
    }

    /// The same kernel, of which those operands are `f32`, `bf16` or quantized.
    #[must_use]
    pub(super) fn weights(self, operands: &[usize]) -> Self {
        self.may(May::Weight, operands, &[])
    }

    /// The same kernel, of which those operands and results are of any float type.
    #[must_use]
    pub(super) fn any_floats(self, operands: &[usize], results: &[usize]) -> Self {
        self.may(May::AnyFloat, operands, results)
    }

    fn may(mut self, may: May, operands: &[usize], results: &[usize]) -> Self {
        if let Types::Are(from, to) = &mut self.types {
            from.extend(operands.iter().map(|&i| (i, may)));
            to.extend(results.iter().map(|&o| (o, may)));
        }
        self
    }

    /// A kernel that copies elements of any type.
    pub(super) fn moved(name: &'static str, kernel: impl Move + 'static) -> Self {
        Self { types: Types::Moved, ..Self::new(name, Moved(kernel)) }
    }

    /// Whether it is a kernel for operands and results of those types.
    pub(super) fn takes(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> bool {
        let are = |types: &[&TensorType], but: &[(usize, May)]| {
            let may =
                |i: usize| but.iter().find(|(at, _)| *at == i).map_or(May::Be(DType::F32), |(_, may)| *may);
            types.iter().enumerate().all(|(i, ty)| may(i).be(ty.dtype))
        };
        match &self.types {
            Types::Are(operands, results) => are(inputs, operands) && are(outputs, results),
            Types::Moved => {
                let mut all = inputs.iter().chain(outputs).map(|ty| ty.dtype);
                let first = all.next().unwrap_or(DType::F32);
                !first.is_quantized() && all.all(|dtype| dtype == first)
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
    pub(super) fn addresses(
        self,
    ) -> (impl ExactSizeIterator<Item = *const ()> + 'a, impl ExactSizeIterator<Item = *mut ()> + 'a) {
        let inputs = self.inputs.iter().map(|s| s.start.cast_const().cast());
        (inputs, self.outputs.iter().map(|s| s.start.cast()))
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
            return Err(KernelError::Step(format!(
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

    /// The elements as bits, to be copied.
    ///
    /// # Errors
    /// The elements have another size.
    pub(super) fn bits<T: Pod>(self) -> Result<&'a mut [T], KernelError> {
        // SAFETY: as in `of`; any bits are a `T`.
        Ok(unsafe { &mut *self.slice.bits::<T>()? })
    }

    /// The elements, of either type.
    ///
    /// # Errors
    /// They are no floats that kernels store: a defect of the lowering.
    pub(super) fn floats(self) -> Result<FloatsMut<'a>, KernelError> {
        match self.slice.dtype {
            DType::Bf16 => self.of::<bf16>().map(FloatsMut::Bf16),
            _ => self.of::<f32>().map(FloatsMut::F32),
        }
    }

    /// Copies floats of the same type and number into it; says whether they are such.
    ///
    /// # Errors
    /// The result is of a type that it does not say: a defect of the lowering.
    pub(super) fn holds(&mut self, floats: &Floats<'_>) -> Result<bool, KernelError> {
        fn copied<T: Copy>(to: &mut [T], from: &[T]) -> bool {
            let fits = to.len() == from.len();
            if fits {
                to.copy_from_slice(from);
            }
            fits
        }
        match (self.slice.dtype, floats) {
            // SAFETY: as in `of`; the borrow of `self` is exclusive and ends here.
            (DType::F32, Floats::F32(from)) => Ok(copied(unsafe { &mut *self.slice.get::<f32>()? }, from)),
            // SAFETY: as above.
            (DType::Bf16, Floats::Bf16(from)) => Ok(copied(unsafe { &mut *self.slice.get::<bf16>()? }, from)),
            _ => Ok(false),
        }
    }

    /// The element type.
    pub(super) fn dtype(&self) -> DType {
        self.slice.dtype
    }

    /// Whether nobody wants it.
    pub(super) fn is_empty(&self) -> bool {
        self.slice.bytes == 0
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
        let elements = self.slice(i)?.get::<T>()?;
        if self.is_taken(i) {
            return Ok(&[]);
        }
        // SAFETY: as in `Out::of`: the range lies in live memory at a whole element, and no result of the step overlaps
        // it, because operands whose memory a result has taken over are excluded here.
        Ok(unsafe { &*elements })
    }

    fn slice(&self, i: usize) -> Result<RawSlice, KernelError> {
        self.slices.get(i).copied().ok_or_else(|| KernelError::Step(format!("the step has no operand {i}")))
    }

    /// Operand `i`, of either type, see [`Inputs::of`].
    pub(super) fn floats(&self, i: usize) -> Result<Floats<'a>, KernelError> {
        match self.dtype(i)? {
            DType::Bf16 => self.of::<bf16>(i).map(Floats::Bf16),
            _ => self.of::<f32>(i).map(Floats::F32),
        }
    }

    /// Operand `i` as quantized blocks, if it is; none if it is of another type.
    ///
    /// # Errors
    /// There is none: a defect of the lowering.
    pub(super) fn blocks(&self, i: usize) -> Result<Option<Blocks<'a>>, KernelError> {
        let slice = self.slice(i)?;
        if !slice.dtype.is_quantized() || self.is_taken(i) {
            return Ok(None);
        }
        let bytes = std::ptr::slice_from_raw_parts(slice.start.cast_const(), slice.bytes);
        // SAFETY: as in `of`; any bits are bytes.
        Ok(Some(Blocks { dtype: slice.dtype, bytes: unsafe { &*bytes } }))
    }

    /// The element type of operand `i`.
    ///
    /// # Errors
    /// There is none: a defect of the lowering.
    pub(super) fn dtype(&self, i: usize) -> Result<DType, KernelError> {
        self.slice(i).map(|slice| slice.dtype)
    }

    /// Operand `i` as floats, see [`Inputs::of`].
    pub(super) fn f32(&self, i: usize) -> Result<&'a [f32], KernelError> {
        self.of(i)
    }

    /// Operand `i` as integers, see [`Inputs::of`].
    pub(super) fn i32(&self, i: usize) -> Result<&'a [i32], KernelError> {
        self.of(i)
    }

    /// Operand `i` as bits, to be copied; empty if a result has taken over its memory.
    ///
    /// # Errors
    /// There is none, or its elements have another size.
    pub(super) fn bits<T: Pod>(&self, i: usize) -> Result<&'a [T], KernelError> {
        let elements = self.slice(i)?.bits::<T>()?;
        if self.is_taken(i) {
            return Ok(&[]);
        }
        // SAFETY: as in `of`; any bits are a `T`.
        Ok(unsafe { &*elements })
    }

    /// Operand `i` as floats, unless a result has taken over its memory and holds it.
    pub(super) fn unless_taken(&self, i: usize) -> Result<Option<&'a [f32]>, KernelError> {
        if self.is_taken(i) { Ok(None) } else { self.f32(i).map(Some) }
    }

    /// Operand `i`, of either type, if the op has it.
    pub(super) fn floats_if(&self, has: bool, i: usize) -> Result<Option<Floats<'a>>, KernelError> {
        if has { self.floats(i).map(Some) } else { Ok(None) }
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
    pub(super) fn take<T: Element>(&self, i: usize, out: &mut [T]) -> Result<(), KernelError> {
        if !self.is_taken(i) {
            out.copy_from_slice(self.of(i)?);
        }
        Ok(())
    }
}
