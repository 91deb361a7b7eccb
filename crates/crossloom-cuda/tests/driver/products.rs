//! Products of the library, on the one that stands for NVIDIA's and on the driver without a GPU, beside the kernels of this crate.

use std::path::Path;
use std::sync::Arc;

use crossloom_cuda::probe::Places;
use crossloom_cuda::product::{Chosen, Products};
use crossloom_cuda::shim::Order;
use crossloom_cuda::{Choice, CudaDevice, FakeDriver, GpuDriver};
use crossloom_ir::func::Param;
use crossloom_ir::{Tensor, interp, text};
use crossloom_runtime::testing::suite;
use crossloom_runtime::{Arena, Budget, Device, Session, Store};

use crate::compiler::has_compiler;
use crate::on_gpu;
use crate::stand_in::StandIn;

const LIBRARY: Products = Products::Library { tf32: false };

fn driver(stand_in: &StandIn, choice: Choice, tf32: bool, folder: Option<&Path>) -> GpuDriver {
    let driver = GpuDriver::open(0, &stand_in.places(), None).unwrap_or_else(|error| panic!("{error}"));
    let folder = folder.map(Path::to_owned);
    let with = driver.with_library(&stand_in.places(), choice, tf32, folder);
    with.unwrap_or_else(|(_, reason)| panic!("{reason}"))
}

fn device(driver: GpuDriver) -> Arc<dyn Device> {
    Arc::new(CudaDevice::new(Arc::new(driver), Budget::unlimited()))
}

fn fake(products: Products) -> Arc<dyn Device> {
    let driver = FakeDriver::new(Order::Forwards).with_products(products);
    Arc::new(CudaDevice::new(Arc::new(driver), Budget::unlimited()))
}

/// Every form: sides that are turned, pairs, bias, activation, residual.
const FORMS: &str = r#"func @forms {
  input  %x "x": f32[5, 24]
  input  %t "t": f32[24, 5]
  input  %p "p": f32[3, 5, 7]
  input  %q "q": f32[3, 7, 4]
  weight %w "w": f32[16, 24]
  weight %v "v": f32[24, 16]
  weight %b "b": f32[16]
  weight %r "r": f32[5, 16]
  forms:
    %plain = linear %x, %w : f32[5, 16]
    %bias = linear %x, %w, %b {bias = true} : f32[5, 16]
    %residual = linear %x, %w, %r {residual = true} : f32[5, 16]
    %both = linear %x, %w, %b, %r {bias = true, residual = true} : f32[5, 16]
    %gelu, %before = linear %x, %w, %b {bias = true, act = gelu_tanh} : f32[5, 16], f32[5, 16]
    %gelu2, %before2 = linear %x, %w {act = gelu_tanh} : f32[5, 16], f32[5, 16]
    %own, %before3 = linear %x, %w, %b {bias = true, act = silu} : f32[5, 16], f32[5, 16]
    %nn = matmul %x, %v : f32[5, 16]
    %tn = matmul %t, %v {transpose_a = true} : f32[5, 16]
    %nt = matmul %x, %w {transpose_b = true} : f32[5, 16]
    %tt = matmul %t, %w {transpose_a = true, transpose_b = true} : f32[5, 16]
    %pairs = matmul %p, %q : f32[3, 5, 4]
    %slope = matmul_act_grad %x, %v, %r {act = gelu_tanh, rounded = f32} : f32[5, 16]
    %own2 = matmul_act_grad %x, %v, %r {act = silu, rounded = f32} : f32[5, 16]
    %dw, %db = weight_grad %x, %r : f32[24, 16], f32[24]
  return "plain" = %plain
  return "bias" = %bias
  return "residual" = %residual
  return "both" = %both
  return "gelu" = %gelu
  return "before" = %before
  return "gelu2" = %gelu2
  return "before2" = %before2
  return "own" = %own
  return "nn" = %nn
  return "tn" = %tn
  return "nt" = %nt
  return "tt" = %tt
  return "pairs" = %pairs
  return "slope" = %slope
  return "own2" = %own2
  return "dw" = %dw
  return "db" = %db
}
"#;

/// Numbers between -1 and 1 that differ.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed * 101) % 257) as f32 / 127.3 - 1.0).collect()
}

/// Runs a function three times, so that the third is a graph where there are some; all results, and the kernels of its plan.
fn run(device: &Arc<dyn Device>, source: &str) -> (Vec<Vec<f32>>, Vec<String>) {
    let store = Store::new(device).unwrap();
    let mut session = Session::new(&suite::executable(device, source), &Arena::new(&store)).unwrap();
    let func = text::parse(source).unwrap();
    for (seed, param) in func.params().iter().enumerate() {
        let values = numbers(func.ty(param.value).elements(), seed);
        if session.has_input(&param.name) {
            session.write(&param.name, &values).unwrap();
        } else {
            store.write(&param.name, &values).unwrap();
        }
    }
    let mut results = Vec::new();
    for time in 0..3 {
        session.run().unwrap();
        let now: Vec<Vec<f32>> =
            func.results().iter().map(|result| session.read(&result.name).unwrap()).collect();
        assert!(time == 0 || results == now, "run {time} gives other bits");
        results = now;
    }
    let kernels = session.plan().steps.iter().map(|step| step.kernel.clone()).collect();
    (results, kernels)
}

/// What the reference gives for all forms.
fn reference() -> Vec<Vec<f32>> {
    let func = text::parse(FORMS).unwrap();
    let of = |(seed, param): (usize, &Param)| {
        let ty = func.ty(param.value);
        Tensor::<f64>::new(
            ty.shape.clone(),
            numbers(ty.elements(), seed).into_iter().map(f64::from).collect(),
        )
    };
    let args: Vec<_> = func.params().iter().enumerate().map(|param| of(param).unwrap()).collect();
    let results = interp::run(&func, &args).unwrap();
    results.iter().map(|result| result.data.iter().map(|&x| x as f32).collect()).collect()
}

/// Whether a product is a kernel of this crate.
fn is_own(kernel: &str) -> bool {
    kernel.starts_with("gemm") || kernel.starts_with("gemv")
}

fn close(given: &[Vec<f32>], expected: &[Vec<f32>], tolerance: f32) {
    let names = text::parse(FORMS).unwrap();
    for ((given, expected), result) in given.iter().zip(expected).zip(names.results()) {
        assert_eq!(given.len(), expected.len());
        for (i, (x, y)) in given.iter().zip(expected).enumerate() {
            let name = &result.name;
            assert!((x - y).abs() <= tolerance * y.abs().max(1.0), "{name}[{i}]: {x}, not {y}");
        }
    }
}

#[test]
fn every_form_is_what_the_reference_gives() {
    if !has_compiler() {
        return;
    }
    let (stand_in, _turn) = StandIn::take();
    let expected = reference();
    let before = stand_in.asked("cublasLtMatmul");
    let (of_library, kernels) = run(&device(driver(stand_in, Choice::First, false, None)), FORMS);
    close(&of_library, &expected, 1e-5);
    // Each of the thirteen once when it was started and once when it was captured; a graph asks nobody.
    assert_eq!(stand_in.asked("cublasLtMatmul") - before, 26);
    let count = |name: &str| kernels.iter().filter(|kernel| *kernel == name).count();
    let counts =
        ["cublaslt", "cublaslt_bias", "cublaslt_residual", "cublaslt_gelu", "gemv_activation"].map(count);
    assert_eq!(counts, [6, 1, 2, 2, 1], "{kernels:?}");
    let counts = ["cublaslt_act_grad", "cublaslt_weight_grad", "gemm_act_grad"].map(count);
    assert_eq!(counts, [1, 1, 1], "{kernels:?}");
    let (of_fake, same) = run(&fake(LIBRARY), FORMS);
    assert_eq!(kernels, same);
    close(&of_fake, &expected, 1e-5);
    let (_, own) = run(&fake(Products::Own), FORMS);
    assert!(own.iter().all(|kernel| is_own(kernel)), "{own:?}");
}

#[test]
fn tf32_rounds_operands_alike_on_both() {
    if !has_compiler() {
        return;
    }
    let (stand_in, _turn) = StandIn::take();
    let exact = run(&fake(LIBRARY), FORMS).0;
    let of_fake = run(&fake(Products::Library { tf32: true }), FORMS).0;
    let of_library = run(&device(driver(stand_in, Choice::First, true, None)), FORMS).0;
    close(&of_library, &of_fake, 1e-5);
    close(&of_fake, &exact, 2e-2);
    assert_ne!(of_fake[0], exact[0]);
    // A kernel of this crate rounds nothing.
    assert_eq!(of_fake[8], exact[8]);
}

#[test]
fn the_device_keeps_what_sessions_promise_with_the_library() {
    if !has_compiler() {
        return;
    }
    let (stand_in, _turn) = StandIn::take();
    suite::all(&|budget| {
        let driver = driver(stand_in, Choice::First, false, None);
        Arc::new(CudaDevice::new(Arc::new(driver), budget))
    });
    let of_library = suite::training_run(&device(driver(stand_in, Choice::First, false, None)));
    let own = suite::training_run(&fake(Products::Own));
    for (one, other) in of_library.0.iter().zip(&own.0) {
        let (one, other) = (f32::from_bits(*one), f32::from_bits(*other));
        assert!((one - other).abs() <= 2e-5 * other.abs().max(1.0), "{one} beside {other}");
    }
}

#[test]
fn an_algorithm_is_chosen_once_and_kept() {
    if !has_compiler() {
        return;
    }
    let (stand_in, _turn) = StandIn::take();
    let folder = tempfile::tempdir().unwrap();
    let chosen = |choice| {
        let offered = stand_in.asked("cublasLtMatmulAlgoGetHeuristic");
        let driver = Arc::new(driver(stand_in, choice, false, Some(folder.path())));
        let device: Arc<dyn Device> = Arc::new(CudaDevice::new(
            Arc::clone(&driver) as Arc<dyn crossloom_cuda::Driver>,
            Budget::unlimited(),
        ));
        let results = run(&device, FORMS).0;
        (driver.chosen(), results, stand_in.asked("cublasLtMatmulAlgoGetHeuristic") - offered)
    };
    let number = |chosen: &Chosen| chosen.algorithm[..16].trim_start_matches('0').to_owned();
    let (first, of_first, asked) = chosen(Choice::First);
    // Of thirteen products some are the same.
    assert_eq!((first.len(), asked), (12, 12), "{first:?}");
    assert!(first.iter().all(|one| number(one) == "1" && one.how == "the first of 2"), "{first:?}");
    assert!(first.iter().all(|one| one.library == "13.0.2" && one.device == "Stand-in (sm_90a)"));
    // The second one is faster, and sums the other way round.
    let (measured, of_measured, _) = chosen(Choice::Measured);
    assert!(measured.iter().all(|one| number(one) == "2" && one.seconds.len() == 2), "{measured:?}");
    assert_ne!(of_first, of_measured);
    close(&of_measured, &of_first, 1e-5);
    for (choice, known, bits) in
        [(Choice::First, &first, &of_first), (Choice::Measured, &measured, &of_measured)]
    {
        let (again, results, asked) = chosen(choice);
        assert_eq!((&again, asked), (known, 0));
        assert!(results == *bits, "{choice:?} gives other bits");
    }
    // A file that is damaged is no choice.
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap().replace("1234567890abcdef", "1234567890abcdee");
        std::fs::write(path, text).unwrap();
    }
    assert_eq!(chosen(Choice::First).2, 12);
}

/// A product that is written to what lives on, behind an op that may refuse its operands.
const KEPT: &str = r#"func @kept {
  input  %ids "ids": i32[2]
  weight %table "table": f32[3, 2]
  weight %w "w": f32[2, 2]
  state  %s "s": f32[2, 2]
  kept:
    %rows = embedding %table, %ids : f32[2, 2]
    %new = linear %rows, %w : f32[2, 2]
  return "rows" = %rows
  update %s = %new
}
"#;

#[test]
fn a_product_of_the_library_never_writes_what_is_kept() {
    if !has_compiler() {
        return;
    }
    for device in [fake(LIBRARY), fake(Products::Own)] {
        let store = Store::new(&device).unwrap();
        let mut session = Session::new(&suite::executable(&device, KEPT), &Arena::new(&store)).unwrap();
        store.write("table", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        store.write("w", &[1.0, 0.0, 0.0, 1.0]).unwrap();
        session.write("ids", &[0, 7]).unwrap();
        session.run().unwrap();
        assert!(session.wait().is_err());
        assert_eq!(store.read::<f32>("s").unwrap(), [0.0; 4]);
        session.write("ids", &[0, 2]).unwrap();
        session.run().unwrap();
        session.wait().unwrap();
        assert_eq!(store.read::<f32>("s").unwrap(), [1.0, 2.0, 5.0, 6.0]);
    }
}

#[test]
fn a_library_that_is_missing_or_lacks_functions_is_told_and_the_driver_stays() {
    if !has_compiler() {
        return;
    }
    let (stand_in, _turn) = StandIn::take();
    let empty = tempfile::tempdir().unwrap();
    let places = Places { folders: vec![empty.path().to_owned()], loader: false };
    let open = || GpuDriver::open(0, &stand_in.places(), None).unwrap();
    let (driver, reason) = open().with_library(&places, Choice::First, false, None).unwrap_err();
    assert_eq!(reason, "cublasLt was not found");
    let own = run(&device(*driver), FORMS).1;
    assert!(own.iter().all(|kernel| is_own(kernel)), "{own:?}");
    std::fs::write(empty.path().join("libcublasLt.so.13"), "text").unwrap();
    let (_, reason) = open().with_library(&places, Choice::First, false, None).unwrap_err();
    assert!(reason.contains("cublasLt was not found") && reason.contains("no library"), "{reason}");
}

/// What `tests/gpu/run.sh` asks of cuBLASLt itself.
#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_every_form_is_what_the_reference_gives() {
    let expected = reference();
    close(&run(&device(on_gpu::with_library(false)), FORMS).0, &expected, 1e-5);
    close(&run(&device(on_gpu::with_library(true)), FORMS).0, &expected, 2e-2);
}
