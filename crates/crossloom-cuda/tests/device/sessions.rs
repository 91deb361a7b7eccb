//! What sessions promise, kept by the device on the driver without a GPU.

use std::io::Write;
use std::sync::Arc;

use crossloom_cpu::CpuDevice;
use crossloom_cuda::shim::{Compiler, Order};
use crossloom_cuda::{CudaDevice, FakeDriver};
use crossloom_runtime::testing::suite;
use crossloom_runtime::{Budget, Device};

/// Whether there is a C++ compiler. Says loudly, past the test harness, if there is none; fails where none may be missing.
pub(crate) fn has_compiler() -> bool {
    let Err(error) = Compiler::of_system() else { return true };
    assert!(std::env::var_os("CROSSLOOM_REQUIRE_COMPILER").is_none(), "{error}");
    std::io::stderr().write_all(format!("SKIPPED: {error}; no kernel was run\n").as_bytes()).unwrap();
    false
}

/// The device on a driver that gives threads their turns in that order.
pub(crate) fn fake(order: Order, budget: Budget) -> Arc<dyn Device> {
    Arc::new(CudaDevice::new(Arc::new(FakeDriver::new(order)), budget))
}

#[test]
fn the_device_keeps_what_sessions_promise() {
    if has_compiler() {
        suite::all(&|budget| fake(Order::Forwards, budget));
    }
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
