//! Ops through the shim, compared with the reference.

use std::collections::BTreeMap;
use std::ffi::c_void;

use crate::compiler::has_compiler;
use crate::on_gpu;
use crossloom_cuda::launch::{Argument, Launch, Lowered};
use crossloom_cuda::lower::{Rules, lower_by};
use crossloom_cuda::shim::{Guarded, Order, Program};
use crossloom_ir::quantized::dequantize;
use crossloom_ir::{DType, Op, Tensor, TensorType};

pub(crate) mod driven;

/// An operand.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    ty: TensorType,
    values: Vec<f64>,
    /// The blocks of quantized numbers.
    blocks: Vec<u8>,
}

/// Floats between -2 and 2 that look random, other ones for every seed.
pub(crate) fn floats(shape: &[usize], seed: u64) -> Operand {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let ty = TensorType::f32(shape);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from((state >> 40) as f32 / (1_u64 << 22) as f32 - 2.0)
    };
    let values = (0..ty.elements()).map(|_| next()).collect();
    Operand { ty, values, blocks: Vec::new() }
}

/// Blocks that look random, with factors of a usual size.
pub(crate) fn quantized(shape: &[usize], dtype: DType, seed: u64) -> Operand {
    let ty = TensorType::f32(shape).with_dtype(dtype);
    let noise = floats(&[ty.bytes()], seed).values;
    let mut blocks: Vec<u8> = noise.iter().map(|x| (x * 1e6) as i64 as u8).collect();
    let factors: &[usize] = match dtype {
        DType::Q4_1 | DType::Q4K => &[0, 2],
        DType::Q6K => &[208],
        _ => &[0],
    };
    let (_, bytes) = dtype.block();
    for (i, block) in blocks.chunks_exact_mut(bytes).enumerate() {
        for &at in factors {
            let factor = half::f16::from_f64(noise[i] / 100.0);
            block[at..at + 2].copy_from_slice(&factor.to_le_bytes());
        }
    }
    let values = dequantize(dtype, &blocks).into_iter().map(f64::from).collect();
    Operand { ty, values, blocks }
}

/// Floats that are given.
pub(crate) fn given(shape: &[usize], values: &[f32]) -> Operand {
    Operand {
        ty: TensorType::f32(shape),
        values: values.iter().map(|&x| f64::from(x)).collect(),
        blocks: Vec::new(),
    }
}

/// Whole numbers.
pub(crate) fn ints(shape: &[usize], values: impl IntoIterator<Item = i32>) -> Operand {
    Operand {
        ty: TensorType::i32(shape),
        values: values.into_iter().map(f64::from).collect(),
        blocks: Vec::new(),
    }
}

impl Operand {
    /// The same with a function of every value.
    pub(crate) fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        self.values.iter_mut().for_each(|x| *x = f64::from(f(*x) as f32));
        self
    }

    /// The same with a function of every position and value.
    pub(crate) fn with(mut self, f: impl Fn(usize, f64) -> f64) -> Self {
        self.values.iter_mut().enumerate().for_each(|(i, x)| *x = f64::from(f(i, *x) as f32));
        self
    }

    /// The same as `bf16`, every number rounded.
    pub(crate) fn narrow(self) -> Self {
        self.rounded(DType::Bf16)
    }

    /// The same as numbers of a float type, every one rounded.
    pub(crate) fn rounded(mut self, dtype: DType) -> Self {
        self.values.iter_mut().for_each(|x| *x = dtype.round(*x));
        Self { ty: self.ty.with_dtype(dtype), ..self }
    }

    fn tensor(&self) -> Tensor<f64> {
        Tensor::new(self.ty.shape.clone(), self.values.clone()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        if self.ty.dtype.is_quantized() {
            return self.blocks.clone();
        }
        let word = |x: f64| match self.ty.dtype {
            DType::I32 => (x as i32).to_ne_bytes().to_vec(),
            DType::Bf16 => half::bf16::from_f64(x).to_ne_bytes().to_vec(),
            DType::F16 => half::f16::from_f64(x).to_ne_bytes().to_vec(),
            DType::U8 => vec![x as u8],
            _ => (x as f32).to_ne_bytes().to_vec(),
        };
        self.values.iter().flat_map(|&x| word(x)).collect()
    }
}

/// An op with its operands.
pub(crate) struct Case {
    name: String,
    op: Op,
    operands: Vec<Operand>,
    /// How far a result may be from the reference, as a part of its largest number.
    tolerance: f64,
    /// The types of its float results, the last for all others too; `f32` if there are none.
    results: Vec<DType>,
    /// Bytes of logits that exist at once.
    logits: usize,
}

/// An op with its operands, whose results are as exact as a sum in f32 is.
pub(crate) fn case(name: impl Into<String>, op: impl Into<Op>, operands: Vec<Operand>) -> Case {
    Case { name: name.into(), op: op.into(), operands, tolerance: 4e-6, results: Vec::new(), logits: 1 << 28 }
}

impl Case {
    /// The same, less exact.
    pub(crate) fn within(self, tolerance: f64) -> Self {
        Self { tolerance, ..self }
    }

    /// The same with so many bytes of logits at once.
    pub(crate) fn logits(self, logits: usize) -> Self {
        Self { logits, ..self }
    }

    /// The same with `bf16` results.
    pub(crate) fn narrow(self) -> Self {
        self.results(&[DType::Bf16])
    }

    /// The same with results of those types, the last for all others too.
    pub(crate) fn results(self, results: &[DType]) -> Self {
        Self { results: results.to_vec(), ..self }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn lowered(&self) -> (Lowered, Vec<TensorType>) {
        let inputs: Vec<&TensorType> = self.operands.iter().map(|operand| &operand.ty).collect();
        let outputs = self.op.infer(&inputs).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let asked = |(o, ty): (usize, TensorType)| match self.results.get(o).or(self.results.last()) {
            Some(&dtype) if ty.dtype.is_float() => ty.with_dtype(dtype),
            _ => ty,
        };
        let outputs: Vec<TensorType> = outputs.into_iter().enumerate().map(asked).collect();
        let rules = Rules { logits: self.logits, ..Rules::default() };
        let lowered = lower_by(rules, &self.op, &inputs, &outputs.iter().collect::<Vec<_>>());
        (lowered.unwrap_or_else(|| panic!("{}: there is no kernel", self.name)), outputs)
    }
}

/// Memory of a step.
struct Step {
    inputs: Vec<Guarded>,
    outputs: Vec<Guarded>,
    scratch: Guarded,
    fault: Guarded,
    /// What an earlier step reported: nothing.
    stop: Guarded,
}

impl Step {
    fn new(case: &Case, outputs: &[TensorType], scratch: usize) -> Self {
        Self {
            inputs: case.operands.iter().map(|operand| Guarded::of(&operand.bytes()).unwrap()).collect(),
            outputs: outputs.iter().map(|ty| Guarded::new(ty.bytes()).unwrap()).collect(),
            scratch: Guarded::new(scratch).unwrap(),
            fault: Guarded::new(8).unwrap(),
            stop: Guarded::new(8).unwrap(),
        }
    }

    /// Runs the launches; results that are in place lie in the memory of an operand.
    fn run(
        &self,
        case: &Case,
        program: &Program,
        lowered: &Lowered,
        in_place: Option<(usize, usize)>,
        order: Order,
    ) {
        for launch in lowered.launches() {
            let mut table = Guarded::new(launch.table.len() * 8).unwrap();
            let at_table = table.start();
            let start = |argument: &Argument| match *argument {
                Argument::Input(i) => self.inputs[i].start(),
                Argument::Output(o) => match in_place {
                    Some((i, taken)) if taken == o => self.inputs[i].start(),
                    _ => self.outputs[o].start(),
                },
                Argument::InputFrom(i, offset) => self.inputs[i].start().wrapping_add(offset),
                Argument::OutputFrom(o, offset) => self.outputs[o].start().wrapping_add(offset),
                Argument::Scratch(offset) => self.scratch.start().wrapping_add(offset),
                Argument::Table => at_table,
                Argument::Fault => self.fault.start(),
                Argument::Stop => self.stop.start(),
            };
            let addresses = launch.table.iter().map(|argument| start(argument).expose_provenance() as u64);
            let addresses: Vec<u8> = addresses.flat_map(u64::to_ne_bytes).collect();
            table.bytes_mut().copy_from_slice(&addresses);
            let mut starts: Vec<*mut u8> = launch.arguments.iter().map(start).collect();
            let mut pointers: Vec<*mut c_void> =
                starts.iter_mut().map(|start| std::ptr::from_mut(start).cast()).collect();
            // SAFETY: kernels take one address per argument of their launch; the memory is guarded and this step's alone.
            let done = unsafe { program.launch(&launch.kernel, launch.geometry, &mut pointers, order) };
            if let Err(fault) = done {
                let all = || self.inputs.iter().chain(&self.outputs).chain([&self.scratch, &self.fault]);
                let near = fault.address.and_then(|at| all().position(|memory| memory.tell(at).is_some()));
                let told = near.and_then(|n| all().nth(n)?.tell(fault.address?));
                panic!("{}: {fault} (memory {near:?}: {told:?})\n{}", case.name, launch.source);
            }
        }
        let all = self.inputs.iter().chain(&self.outputs).chain([&self.scratch]);
        assert!(all.into_iter().all(Guarded::is_whole), "{}: something is written behind its end", case.name);
    }

    fn reported(&self) -> Option<(u32, i32)> {
        let word = u64::from_ne_bytes(self.fault.bytes().try_into().unwrap());
        (word != u64::MAX).then_some(((word >> 32) as u32, word as u32 as i32))
    }
}

/// The kernels of all cases as one program.
fn program(cases: &[Case]) -> Program {
    let mut launches: BTreeMap<String, Launch> = BTreeMap::new();
    for case in cases {
        for launch in case.lowered().0.launches() {
            launches.insert(launch.kernel.clone(), launch.clone());
        }
    }
    Program::of(launches.values()).unwrap_or_else(|error| panic!("{error}"))
}

/// Every op gives what the reference gives, in every order of threads the same bits, in place too, and changes no operand.
pub(crate) fn agree(cases: &[Case]) {
    if let Some(driver) = on_gpu::driver() {
        return driven::agree(&*driver, cases);
    }
    if !has_compiler() {
        return;
    }
    let program = program(cases);
    for case in cases {
        let (lowered, outputs) = case.lowered();
        let tensors: Vec<Tensor<f64>> = case.operands.iter().map(Operand::tensor).collect();
        let expected = case.op.eval(&tensors.iter().collect::<Vec<_>>());
        let expected = expected.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let mut first: Option<Vec<Vec<u8>>> = None;
        for order in Order::ALL {
            let step = Step::new(case, &outputs, lowered.scratch);
            step.run(case, &program, &lowered, None, order);
            assert_eq!(step.reported(), None, "{}", case.name);
            for (operand, memory) in case.operands.iter().zip(&step.inputs) {
                assert_eq!(memory.bytes(), operand.bytes(), "{} changes an operand", case.name);
            }
            let results: Vec<Vec<u8>> = step.outputs.iter().map(|memory| memory.bytes().to_vec()).collect();
            let first = first.get_or_insert_with(|| results.clone());
            assert!(*first == results, "{} depends on the order of threads ({order:?})", case.name);
        }
        let first = first.unwrap();
        for (o, ((bytes, expected), ty)) in first.iter().zip(&expected).zip(&outputs).enumerate() {
            close(&format!("{}, result {o}", case.name), bytes, expected, ty, case.tolerance);
        }
        // The planner puts a result over an operand only where both have as many bytes.
        let fits = |pair: &&(usize, usize)| case.operands[pair.0].ty.bytes() == outputs[pair.1].bytes();
        for &(i, o) in lowered.in_place.iter().filter(fits) {
            let step = Step::new(case, &outputs, lowered.scratch);
            step.run(case, &program, &lowered, Some((i, o)), Order::Backwards);
            assert!(step.inputs[i].bytes() == first[o], "{} differs over operand {i}", case.name);
        }
    }
}

fn close(what: &str, bytes: &[u8], expected: &Tensor<f64>, ty: &TensorType, tolerance: f64) {
    let words = bytes.chunks_exact(4).map(|bytes| <[u8; 4]>::try_from(bytes).unwrap());
    let halves = bytes.chunks_exact(2).map(|bytes| <[u8; 2]>::try_from(bytes).unwrap());
    let values: Vec<f64> = match ty.dtype {
        DType::Bf16 => halves.map(|half| half::bf16::from_ne_bytes(half).to_f64()).collect(),
        DType::F16 => halves.map(|half| half::f16::from_ne_bytes(half).to_f64()).collect(),
        DType::I32 => words.map(|word| f64::from(i32::from_ne_bytes(word))).collect(),
        _ => words.map(|word| f64::from(f32::from_ne_bytes(word))).collect(),
    };
    assert_eq!(values.len(), expected.data.len(), "{what}");
    let largest = expected.data.iter().filter(|x| x.is_finite()).fold(1.0, |most: f64, x| most.max(x.abs()));
    // Half a unit in the last of eight or of eleven bits.
    let rounding = match ty.dtype {
        DType::Bf16 => 1.0 / 256.0,
        DType::F16 => 1.0 / 2048.0,
        _ => 0.0,
    };
    for (i, (&value, &expected)) in values.iter().zip(&expected.data).enumerate() {
        let alike = value == ty.dtype.round(expected)
            || value.is_nan() && expected.is_nan()
            || (value - expected).abs() <= tolerance * largest + rounding * expected.abs();
        assert!(alike, "{what}: element {i} is {value}, not {expected} (largest {largest})");
    }
}

/// An op refuses its operands: the smallest position and what stands there are reported, whatever the order.
pub(crate) fn refused(cases: Vec<(Case, u32, i32)>) {
    if !has_compiler() {
        return;
    }
    let cases: (Vec<Case>, Vec<(u32, i32)>) =
        cases.into_iter().map(|(case, at, what)| (case, (at, what))).unzip();
    if let Some(driver) = on_gpu::driver() {
        return driven::refused(&*driver, &cases.0, &cases.1);
    }
    let program = program(&cases.0);
    for (case, told) in cases.0.iter().zip(cases.1) {
        let tensors: Vec<Tensor<f64>> = case.operands.iter().map(Operand::tensor).collect();
        assert!(case.op.eval(&tensors.iter().collect::<Vec<_>>()).is_err(), "{}", case.name);
        let (lowered, outputs) = case.lowered();
        for order in Order::ALL {
            let step = Step::new(case, &outputs, lowered.scratch);
            step.run(case, &program, &lowered, None, order);
            assert_eq!(step.reported(), Some(told), "{}", case.name);
        }
    }
}
