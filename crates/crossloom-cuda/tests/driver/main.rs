//! The driver of GPUs on libraries that stand for NVIDIA's: everything but the GPU itself, `cudarc` included.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

#[path = "../common/compiler.rs"]
mod compiler;
#[path = "../common/on_gpu.rs"]
mod on_gpu;
mod products;
mod stand_in;

use std::path::Path;
use std::sync::Arc;

use crossloom_cuda::probe::Places;
use crossloom_cuda::shim::Order;
use crossloom_cuda::{CudaDevice, Driver, FakeDriver, GpuDriver, GpuError};
use crossloom_runtime::testing::suite;
use crossloom_runtime::{Arena, Budget, Device, Executable, RunError, Session, Store};

use compiler::has_compiler;
use stand_in::StandIn;

fn device(stand_in: &StandIn, cubins: Option<&Path>, budget: Budget) -> CudaDevice {
    let driver = GpuDriver::open(0, &stand_in.places(), cubins.map(Path::to_owned));
    CudaDevice::new(Arc::new(driver.unwrap_or_else(|error| panic!("{error}"))), budget)
}

#[test]
fn without_a_driver_all_that_is_missing_is_told() {
    let empty = tempfile::tempdir().unwrap();
    let places = Places { folders: vec![empty.path().to_owned()], loader: false };
    let error = GpuDriver::open(0, &places, None).unwrap_err();
    let GpuError::Obstacles(all) = &error else { panic!("{error}") };
    assert_eq!(*all, ["libcuda was not found", "nvrtc was not found", "there is no driver"]);
    assert!(error.to_string().contains("crossloom doctor"), "{error}");
}

#[test]
fn the_device_keeps_what_sessions_promise() {
    if !has_compiler() {
        return;
    }
    let (stand_in, _turn) = StandIn::take();
    let cubins = tempfile::tempdir().unwrap();
    // Counts are those of the process, and a test of faults begins a capture that does not end well.
    let counts = || {
        let of = ["cuStreamBeginCapture_v2", "cuGraphInstantiateWithFlags", "cuGraphLaunch"];
        of.map(|function| stand_in.calls(function))
    };
    let before = counts();
    suite::all(&|budget| Arc::new(device(stand_in, Some(cubins.path()), budget)));
    let after = counts();
    let [captured, ready, started] = [0, 1, 2].map(|at| after[at] - before[at]);
    // A session that runs again is a graph.
    assert!(captured == ready && started > ready, "{captured} captured, {ready} ready, {started} started");
    let error = GpuDriver::open(7, &stand_in.places(), None).unwrap_err();
    assert_eq!(error, GpuError::NoDevice { ordinal: 7, devices: 1 });
}

#[test]
fn training_gives_the_bits_of_the_same_kernels_without_a_driver() {
    if !has_compiler() {
        return;
    }
    let (stand_in, _turn) = StandIn::take();
    let gpu: Arc<dyn Device> = Arc::new(device(stand_in, None, Budget::unlimited()));
    let fake = FakeDriver::new(Order::Forwards);
    let fake: Arc<dyn Device> = Arc::new(CudaDevice::new(Arc::new(fake), Budget::unlimited()));
    assert!(suite::training_run(&gpu) == suite::training_run(&fake));
}

const TWO_STEPS: &str = r#"func @f {
  state  %x "x": f32[4]
  input  %ids "ids": i32[2]
  weight %table "table": f32[3, 2]
  first:
    %0 = affine %x {mul = 1.0, add = 1.0} : f32[4]
  second:
    %1 = embedding %table, %ids : f32[2, 2]
  update %x = %0
  return "rows" = %1
}
"#;

#[test]
fn cubins_are_compiled_once_and_again_if_they_are_damaged() {
    if !has_compiler() {
        return;
    }
    let (stand_in, _turn) = StandIn::take();
    let cubins = tempfile::tempdir().unwrap();
    let build = || {
        let device: Arc<dyn Device> = Arc::new(device(stand_in, Some(cubins.path()), Budget::unlimited()));
        let before = stand_in.compiled();
        drop(suite::executable(&device, TWO_STEPS));
        stand_in.compiled() - before
    };
    assert_eq!((build(), build()), (2, 0));
    let kept = std::fs::read_dir(cubins.path()).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<_> = kept.collect();
    assert_eq!(kept.len(), 2);
    let mut bytes = std::fs::read(&kept[0]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&kept[0], bytes).unwrap();
    assert_eq!((build(), build()), (1, 0));
}

#[test]
fn a_fault_is_told_late_and_in_a_synchronous_device_with_its_op() {
    if !has_compiler() {
        return;
    }
    let (stand_in, _turn) = StandIn::take();
    for synchronous in [false, true] {
        let device: Arc<dyn Device> =
            Arc::new(device(stand_in, None, Budget::unlimited()).synchronous(synchronous));
        let store = Store::new(&device).unwrap();
        let mut session = Session::new(&suite::executable(&device, TWO_STEPS), &Arena::new(&store)).unwrap();
        session.write("ids", &[0, 1]).unwrap();
        stand_in.fail("embedding");
        let error = session.run().and_then(|()| session.wait()).unwrap_err();
        assert!(error.to_string().contains("CUDA_ERROR_LAUNCH_FAILED"), "{error}");
        let named =
            matches!(&error, RunError::Step { op, scope, .. } if op == "embedding" && scope == "second");
        assert_eq!(named, synchronous, "{error}");
        // A stream that has failed fails ever after.
        assert!(session.run().and_then(|()| session.wait()).is_err());
        stand_in.fail("");
    }
}

#[test]
fn memory_that_is_not_there_is_refused() {
    if !has_compiler() {
        return;
    }
    let (stand_in, _turn) = StandIn::take();
    let driver = GpuDriver::open(0, &stand_in.places(), None).unwrap();
    let error = driver.allocate(1 << 40).unwrap_err();
    assert_eq!(
        error,
        "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (1099511627776 bytes were asked for, 4294967296 are free)"
    );
}

#[test]
fn a_plan_that_is_larger_than_the_device_is_refused_with_its_largest_tensors() {
    let fake = FakeDriver::new(Order::Forwards).with_memory(100);
    let device: Arc<dyn Device> = Arc::new(CudaDevice::new(Arc::new(fake), Budget::unlimited()));
    let func = crossloom_ir::text::parse(TWO_STEPS).unwrap();
    let plan = crossloom_compiler::plan::plan(func, device.target()).unwrap();
    let error = Executable::new(&device, plan).unwrap_err().to_string();
    assert!(
        error.contains("the device has 100") && error.contains("largest tensors are `table` (24 bytes)"),
        "{error}"
    );
}

/// For `tests/gpu/run.sh`, all of which can be tried on these libraries but for speed.
#[test]
#[ignore = "leaves the libraries that stand for NVIDIA's in the folder that CROSSLOOM_STAND_IN names"]
fn libraries_that_stand_for_nvidias() {
    let folder = std::env::var_os("CROSSLOOM_STAND_IN").expect("CROSSLOOM_STAND_IN names a folder");
    std::fs::create_dir_all(&folder).unwrap();
    drop(StandIn::build_in(Path::new(&folder).canonicalize().unwrap()));
}
