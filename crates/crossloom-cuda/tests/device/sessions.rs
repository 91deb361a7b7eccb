//! What sessions promise, kept by the device on the driver without a GPU.

use std::sync::Arc;

use crossloom_cpu::CpuDevice;
use crossloom_cuda::product::Products;
use crossloom_cuda::shim::Order;
use crossloom_cuda::{CudaDevice, FakeDriver};
use crossloom_runtime::testing::suite;
use crossloom_runtime::{Arena, Budget, Device, RunError, Session, Store};

use crate::compiler::has_compiler;
use crate::on_gpu;

/// The same with products of the library, on a GPU where tests are to run on one.
pub(crate) fn fake_with_library(tf32: bool) -> Arc<dyn Device> {
    if on_gpu::is_asked_for() {
        return Arc::new(CudaDevice::new(Arc::new(on_gpu::with_library(tf32)), Budget::unlimited()));
    }
    let driver = FakeDriver::new(Order::Forwards).with_products(Products::Library { tf32 });
    Arc::new(CudaDevice::new(Arc::new(driver), Budget::unlimited()))
}

/// The device on a driver that gives threads their turns in that order, or on a GPU where tests are to run on one.
pub(crate) fn fake(order: Order, budget: Budget) -> Arc<dyn Device> {
    if let Some(driver) = on_gpu::driver() {
        return Arc::new(CudaDevice::new(driver, budget));
    }
    Arc::new(CudaDevice::new(Arc::new(FakeDriver::new(order)), budget))
}

#[test]
fn the_device_keeps_what_sessions_promise() {
    if has_compiler() {
        suite::all(&|budget| fake(Order::Forwards, budget));
    }
}

#[test]
fn a_step_that_refuses_its_operands_stops_all_behind_it() {
    if !has_compiler() {
        return;
    }
    let source = r#"func @f {
  input  %ids "ids": i32[2]
  input  %more "more": i32[2]
  weight %table "table": f32[3, 2]
  state  %before "before": f32[2, 2]
  state  %behind "behind": f32[2, 2]
  first:
    %0 = affine %before {mul = 1.0, add = 1.0} : f32[2, 2]
    %1 = embedding %table, %ids : f32[2, 2]
  second:
    %2 = embedding %table, %more : f32[2, 2]
    %3 = add %1, %2 : f32[2, 2]
    %4 = add %behind, %3 : f32[2, 2]
  update %before = %0
  update %behind = %4
}
"#;
    let device = fake(Order::Backwards, Budget::unlimited());
    let store = Store::new(&device).unwrap();
    let mut session = Session::new(&suite::executable(&device, source), &Arena::new(&store)).unwrap();
    store.write("table", &[1.0_f32; 6]).unwrap();
    let read = |name: &str| store.read::<f32>(name).unwrap();
    for (ids, more, scope) in [([0, 7], [9, 9], "first"), ([0, 1], [-1, 9], "second")] {
        session.write("ids", &ids).unwrap();
        session.write("more", &more).unwrap();
        session.run().unwrap();
        let error = session.wait().unwrap_err();
        let RunError::Step { op, scope: told, .. } = &error else { panic!("{error}") };
        assert_eq!((op.as_str(), told.as_str()), ("embedding", scope));
        assert_eq!(read("behind"), [0.0; 4], "nothing behind it is updated");
    }
    assert_eq!(read("before"), [2.0; 4], "what was updated before it stays updated");
    session.write("more", &[1, 2]).unwrap();
    session.run().unwrap();
    session.wait().unwrap();
    assert_eq!((read("before"), read("behind")), (vec![3.0; 4], vec![2.0; 4]));
    // Run step by step, what failed in an earlier run stops nothing.
    session.write("ids", &[0, 7]).unwrap();
    session.run().unwrap();
    session.wait().unwrap_err();
    session.write("ids", &[0, 0]).unwrap();
    session.profile().unwrap();
    assert_eq!(read("behind"), [4.0; 4]);
}

#[test]
fn a_small_network_trains_as_on_the_cpu_and_the_order_of_threads_changes_no_bit() {
    if !has_compiler() {
        return;
    }
    let [first, second, third] =
        Order::ALL.map(|order| suite::training_run(&fake(order, Budget::unlimited())));
    assert!(first == second && first == third, "bits depend on the order of threads");
    let cpu = suite::training_run(&(Arc::new(CpuDevice::default()) as Arc<dyn Device>));
    for (cuda, cpu) in first.0.iter().zip(&cpu.0) {
        let (cuda, cpu) = (f32::from_bits(*cuda), f32::from_bits(*cpu));
        assert!((cuda - cpu).abs() <= 2e-5 * cpu.abs().max(1.0), "{cuda} beside {cpu}");
    }
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|word| f32::from_ne_bytes(word.try_into().unwrap())).collect()
    };
    for ((name, cuda), (of_cpu, cpu)) in first.1.iter().zip(&cpu.1) {
        assert_eq!(name, of_cpu);
        for (cuda, cpu) in floats(cuda).into_iter().zip(floats(cpu)) {
            assert!((cuda - cpu).abs() <= 2e-4 * cpu.abs().max(1.0), "{name}: {cuda} beside {cpu}");
        }
    }
}
