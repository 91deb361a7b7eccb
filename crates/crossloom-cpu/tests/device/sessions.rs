//! The suite of sessions on the CPU, and on a device whose memory only upload and download reach.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use crossloom_cpu::CpuDevice;
use crossloom_runtime::testing::{Fault, SeparateDevice, suite};
use crossloom_runtime::{Arena, Budget, Device, Session, Store};

fn cpu(budget: Budget) -> Arc<dyn Device> {
    Arc::new(CpuDevice::with_budget(budget))
}

fn late(budget: Budget) -> SeparateDevice {
    SeparateDevice::new(CpuDevice::shared(), Duration::from_micros(300), budget)
}

fn separate(budget: Budget) -> Arc<dyn Device> {
    Arc::new(late(budget))
}

#[test]
fn the_cpu_keeps_what_sessions_promise() {
    suite::all(&cpu);
}

#[test]
fn a_device_with_memory_of_its_own_keeps_what_sessions_promise() {
    suite::all(&separate);
}

#[test]
fn both_train_bit_for_bit_alike() {
    let [cpu, separate] = [cpu, separate].map(|device| suite::training_run(&device(Budget::unlimited())));
    assert_eq!(cpu, separate);
}

/// Whether the suite notices a defect.
fn notices(fault: Fault) -> bool {
    let faulty = move |budget| -> Arc<dyn Device> { Arc::new(late(budget).with_fault(fault)) };
    std::panic::catch_unwind(|| suite::all(&faulty)).is_err()
}

#[test]
fn a_missing_wait_is_noticed() {
    assert!(notices(Fault::NoWait));
    assert!(notices(Fault::NoEvents));
    assert!(notices(Fault::NotZeroed));
}

#[test]
fn a_run_returns_before_it_is_done() {
    let device = late(Budget::unlimited());
    let shared: Arc<dyn Device> = Arc::new(device.clone());
    let store = Store::new(&shared).unwrap();
    let source = "func @f {\n  input %x \"x\": f32[2]\n  %0 = exp %x : f32[2]\n  return \"y\" = %0\n}\n";
    let mut session = Session::new(&suite::executable(&shared, source), &Arena::new(&store)).unwrap();
    device.hold(true);
    session.write("x", &[0.0_f32, 0.0]).unwrap();
    session.run().unwrap();
    assert!(!session.is_done());
    // Work that was started later comes later, also while the first is held back.
    session.write("x", &[1.0_f32, 1.0]).unwrap();
    device.hold(false);
    assert_eq!(session.read::<f32>("y").unwrap(), [1.0, 1.0]);
    assert!(session.is_done());
    session.run().unwrap();
    let y = session.read::<f32>("y").unwrap();
    assert!((y[0] - 1_f32.exp()).abs() < 1e-6, "{y:?}");
}
