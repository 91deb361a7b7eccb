//! The same cases on a driver: that of a GPU, or one without.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossloom_cuda::launch::{Argument, Launch, Lowered};
use crossloom_cuda::{Driver, Module, Stream};
use crossloom_ir::{Tensor, TensorType};

use super::{Case, Operand, close};

/// Bytes behind every piece of memory that nothing may touch, and what they hold.
const BEHIND: usize = 256;
const UNTOUCHED: u8 = 0xa5;
/// What results and working memory hold before a kernel writes them.
const POISON: u8 = 0xff;

/// Memory of a driver.
struct Memory<'d> {
    driver: &'d dyn Driver,
    address: u64,
    len: usize,
}

impl<'d> Memory<'d> {
    fn new(driver: &'d dyn Driver, stream: &mut dyn Stream, content: &[u8]) -> Self {
        let address = driver.allocate(content.len() + BEHIND).unwrap();
        let this = Self { driver, address, len: content.len() };
        // SAFETY: so many bytes were just given by this driver.
        unsafe {
            stream.upload(address, content).unwrap();
            stream.fill(address + content.len() as u64, UNTOUCHED, BEHIND).unwrap();
        }
        this
    }

    fn poisoned(driver: &'d dyn Driver, stream: &mut dyn Stream, len: usize) -> Self {
        Self::new(driver, stream, &vec![POISON; len])
    }

    /// What it holds once all that was started is done.
    fn bytes(&self, stream: &mut dyn Stream, what: &str) -> Vec<u8> {
        let mut bytes = vec![0; self.len + BEHIND];
        // SAFETY: as many bytes as were given for it.
        unsafe { stream.download(self.address, &mut bytes) }
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let behind = bytes.split_off(self.len);
        assert!(behind.iter().all(|&byte| byte == UNTOUCHED), "{what}: something is written behind an end");
        bytes
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // SAFETY: it comes from this driver, and nothing is started on it any more.
        unsafe { self.driver.free(self.address) };
    }
}

/// What a step leaves.
#[derive(PartialEq)]
struct Left {
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    reported: Option<(u32, i32)>,
}

/// The kernels of all cases, made ready.
struct Ready<'d> {
    driver: &'d dyn Driver,
    module: Arc<dyn Module>,
}

impl<'d> Ready<'d> {
    fn new(driver: &'d dyn Driver, cases: &[Case]) -> Self {
        let mut launches: BTreeMap<String, Launch> = BTreeMap::new();
        let all: Vec<Lowered> = cases.iter().map(|case| case.lowered().0).collect();
        for launch in all.iter().flat_map(Lowered::launches) {
            launches.insert(launch.kernel.clone(), launch.clone());
        }
        let module = driver.load(&launches.values().collect::<Vec<_>>());
        Self { driver, module: module.unwrap_or_else(|error| panic!("{error}")) }
    }

    /// Runs a case once.
    fn run(
        &self,
        case: &Case,
        lowered: &Lowered,
        outputs: &[TensorType],
        in_place: Option<(usize, usize)>,
    ) -> Left {
        let mut owned = self.driver.stream().unwrap();
        let stream = &mut *owned;
        let bound = Bound::new(self.driver, stream, case, lowered, outputs, in_place);
        bound.start(&self.module, stream);
        let word = bound.words.bytes(stream, &case.name);
        let word = u64::from_ne_bytes(word[8..].try_into().unwrap());
        let reported = (word != u64::MAX).then_some(((word >> 32) as u32, word as u32 as i32));
        drop(bound.scratch.bytes(stream, &case.name));
        let mut read = |memory: &[Memory<'_>]| -> Vec<Vec<u8>> {
            memory.iter().map(|memory| memory.bytes(stream, &case.name)).collect()
        };
        Left { inputs: read(&bound.inputs), outputs: read(&bound.outputs), reported }
    }
}

/// Memory for a case, and its launches on that.
struct Bound<'d, 'l> {
    inputs: Vec<Memory<'d>>,
    outputs: Vec<Memory<'d>>,
    scratch: Memory<'d>,
    /// What an earlier step reported, which is nothing, and what this one does.
    words: Memory<'d>,
    _tables: Vec<Memory<'d>>,
    launches: Vec<(&'l Launch, Vec<u64>)>,
}

impl<'d, 'l> Bound<'d, 'l> {
    fn new(
        driver: &'d dyn Driver,
        stream: &mut dyn Stream,
        case: &Case,
        lowered: &'l Lowered,
        outputs: &[TensorType],
        in_place: Option<(usize, usize)>,
    ) -> Self {
        let operands = case.operands.iter().map(Operand::bytes);
        let inputs: Vec<Memory<'d>> = operands.map(|bytes| Memory::new(driver, stream, &bytes)).collect();
        let outputs: Vec<Memory<'d>> =
            outputs.iter().map(|ty| Memory::poisoned(driver, stream, ty.bytes())).collect();
        let scratch = Memory::poisoned(driver, stream, lowered.scratch);
        let words = Memory::poisoned(driver, stream, 16);
        let place = |argument: &Argument, table: u64| match *argument {
            Argument::Input(i) => inputs[i].address,
            Argument::Output(o) => match in_place {
                Some((i, taken)) if taken == o => inputs[i].address,
                _ => outputs[o].address,
            },
            Argument::InputFrom(i, offset) => inputs[i].address + offset as u64,
            Argument::OutputFrom(o, offset) => outputs[o].address + offset as u64,
            Argument::Scratch(offset) => scratch.address + offset as u64,
            Argument::Table => table,
            Argument::Stop => words.address,
            Argument::Fault => words.address + 8,
        };
        let (mut tables, mut launches) = (Vec::new(), Vec::new());
        for launch in lowered.launches() {
            let content: Vec<u8> = launch.table.iter().flat_map(|a| place(a, 0).to_ne_bytes()).collect();
            let table = Memory::new(driver, stream, &content);
            launches.push((launch, launch.arguments.iter().map(|a| place(a, table.address)).collect()));
            tables.push(table);
        }
        Self { inputs, outputs, scratch, words, _tables: tables, launches }
    }

    fn start(&self, module: &Arc<dyn Module>, stream: &mut dyn Stream) {
        for (launch, arguments) in &self.launches {
            // SAFETY: kernels take one address per argument of their launch, of memory that is this step's alone.
            let started = unsafe { stream.launch(module, &launch.kernel, launch.geometry, arguments) };
            started.unwrap_or_else(|error| panic!("{}: {error}", launch.kernel));
        }
    }
}

/// Every op gives what the reference gives, twice the same bits, in place too, changes no operand and writes behind no end.
pub(crate) fn agree(driver: &dyn Driver, cases: &[Case]) {
    let ready = Ready::new(driver, cases);
    for case in cases {
        let (lowered, outputs) = case.lowered();
        let tensors: Vec<Tensor<f64>> = case.operands.iter().map(Operand::tensor).collect();
        let expected = case.op.eval(&tensors.iter().collect::<Vec<_>>());
        let expected = expected.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let left = ready.run(case, &lowered, &outputs, None);
        assert_eq!(left.reported, None, "{}", case.name);
        for (operand, bytes) in case.operands.iter().zip(&left.inputs) {
            assert!(*bytes == operand.bytes(), "{} changes an operand", case.name);
        }
        for (o, ((bytes, expected), ty)) in left.outputs.iter().zip(&expected).zip(&outputs).enumerate() {
            close(&format!("{}, result {o}", case.name), bytes, expected, ty, case.tolerance);
        }
        let again = ready.run(case, &lowered, &outputs, None);
        assert!(again == left, "{} gives other bits the second time", case.name);
        let fits = |pair: &&(usize, usize)| case.operands[pair.0].ty.bytes() == outputs[pair.1].bytes();
        for &(i, o) in lowered.in_place.iter().filter(fits) {
            let over = ready.run(case, &lowered, &outputs, Some((i, o)));
            assert!(over.inputs[i] == left.outputs[o], "{} differs over operand {i}", case.name);
        }
    }
}

/// An op refuses its operands: the smallest position and what stands there are reported.
pub(crate) fn refused(driver: &dyn Driver, cases: &[Case], told: &[(u32, i32)]) {
    let ready = Ready::new(driver, cases);
    for (case, &told) in cases.iter().zip(told) {
        let (lowered, outputs) = case.lowered();
        let left = ready.run(case, &lowered, &outputs, None);
        assert_eq!(left.reported, Some(told), "{}", case.name);
    }
}

/// Seconds of a case whose launches are started so often in one graph, the least of three.
pub(crate) fn seconds(driver: &dyn Driver, case: &Case, times: usize) -> f64 {
    let ready = Ready::new(driver, std::slice::from_ref(case));
    let (lowered, outputs) = case.lowered();
    let mut owned = driver.stream().unwrap();
    let stream = &mut *owned;
    let bound = Bound::new(driver, stream, case, &lowered, &outputs, None);
    stream.wait().unwrap();
    stream.begin_capture().unwrap();
    (0..times).for_each(|_| bound.start(&ready.module, stream));
    let graph = stream.end_capture().unwrap();
    let mut once = || {
        let begin = std::time::Instant::now();
        // SAFETY: all memory lives until the end of this function.
        unsafe { stream.replay(&graph) }.unwrap();
        stream.wait().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        begin.elapsed().as_secs_f64() / times as f64
    };
    once();
    (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// Bytes of a case's operands and results.
pub(crate) fn bytes(case: &Case) -> usize {
    let results: usize = case.lowered().1.iter().map(TensorType::bytes).sum();
    case.operands.iter().map(|operand| operand.ty.bytes()).sum::<usize>() + results
}
