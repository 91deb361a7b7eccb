//! Each fault planted, and seen.

use crossloom_cuda::shim::{Fault, FaultKind, Guarded, Order, Program, ShimError};

use crate::compiler::has_compiler;
use crate::support::{floats, geometry, read, run};

const SOURCE: &str = r"
__global__ void whole(float* x) { x[blockIdx.x * 64 + threadIdx.x] = 1.0f; }
__global__ void behind(float* x) { x[blockIdx.x * 64 + threadIdx.x + 1] = 1.0f; }
__global__ void before(float* x) { x[(int)(blockIdx.x * 64 + threadIdx.x) - 1] = 1.0f; }
__global__ void reads_behind(float* x, float* y) { y[threadIdx.x] = x[threadIdx.x + 1]; }
__global__ void just_behind(float* x) { if (threadIdx.x == 3) x[65] = 1.0f; }
__global__ void shared_behind(float* x) { DYNAMIC_SHARED(raw); ((float*)raw)[threadIdx.x + 4] = 1.0f; }
__global__ void shared_far_behind(float* x) { DYNAMIC_SHARED(raw); ((float*)raw)[threadIdx.x + 1000] = 1.0f; }
__global__ void some_wait(float* x) {
  if (threadIdx.x < 32) __syncthreads();
}
__global__ void two_barriers(float* x) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void ended_before(float* x) {
  if (threadIdx.x == 40) return;
  __syncthreads();
}
__global__ void lanes_apart(float* x) {
  if (threadIdx.x & 1)
    shuffle_xor(1.0f, 1);
  else
    __syncwarp();
}
__global__ void lane_missing(float* x) {
  if (threadIdx.x != 7) __syncwarp();
}
__global__ void deadlock(float* x) {
  if (threadIdx.x % 32 < 16)
    __syncthreads();
  else
    __syncwarp();
}
__global__ void never_waited(float* x) {
  DYNAMIC_SHARED(raw);
  copy_async(raw + 16 * threadIdx.x, x);
  copy_commit();
}
__global__ void waited_too_late(float* x, float* y) {
  DYNAMIC_SHARED(raw);
  copy_async(raw + 16 * threadIdx.x, x + 4 * threadIdx.x);
  copy_commit();
  float early = ((float*)raw)[4 * threadIdx.x];
  copy_wait<0>();
  y[2 * threadIdx.x] = early;
  y[2 * threadIdx.x + 1] = ((float*)raw)[4 * threadIdx.x];
}
__global__ void crooked(float* x) {
  DYNAMIC_SHARED(raw);
  copy_async(raw + 4, x);
}
__global__ void unwritten(float* x) { DYNAMIC_SHARED(raw); x[threadIdx.x] = ((float*)raw)[threadIdx.x]; }
DEVICE int deep(int n) { volatile char room[4096]; room[0] = n; return n ? deep(n - 1) + room[0] : 0; }
__global__ void overflow(float* x) { x[0] = deep(1000); }
__global__ void no_barrier(float* x) {
  DYNAMIC_SHARED(raw);
  float* s = (float*)raw;
  s[threadIdx.x] = threadIdx.x;
  x[threadIdx.x] = s[63 - threadIdx.x];
}
";

const KERNELS: [&str; 18] = [
    "whole",
    "behind",
    "before",
    "reads_behind",
    "just_behind",
    "shared_behind",
    "shared_far_behind",
    "some_wait",
    "two_barriers",
    "ended_before",
    "lanes_apart",
    "lane_missing",
    "deadlock",
    "never_waited",
    "waited_too_late",
    "crooked",
    "unwritten",
    "overflow",
];

#[test]
fn every_fault_is_reported_with_kernel_block_and_thread() {
    if !has_compiler() {
        return;
    }
    let program = Program::build(SOURCE, &[&KERNELS[..], &["no_barrier"]].concat()).unwrap();
    let x = floats((0..64).map(|i| i as f32));
    let y = floats([0.0; 64]);
    let fails = |kernel: &str, blocks: u32, memory: &[&Guarded], order: Order| -> Fault {
        let fault = run(&program, kernel, geometry(blocks, 64, 1040), memory, order).unwrap_err();
        assert_eq!(fault.kernel, kernel);
        assert!(fault.to_string().starts_with(&format!("kernel `{kernel}`, block [")), "{fault}");
        fault
    };
    let forwards = |kernel: &str| fails(kernel, 1, &[&x], Order::Forwards);

    run(&program, "whole", geometry(1, 64, 0), &[&x], Order::Forwards).unwrap();
    assert_eq!(read(&x), [1.0; 64]);

    // Out of bounds: the very address, and who touched it.
    let fault = fails("whole", 2, &[&x], Order::Forwards);
    assert_eq!((fault.kind, fault.block, fault.thread), (FaultKind::OutOfBounds, [1, 0, 0], [0, 0, 0]));
    assert_eq!(x.tell(fault.address.unwrap()).unwrap(), "0 bytes behind its 256 bytes");
    let fault = forwards("behind");
    assert_eq!((fault.kind, fault.thread), (FaultKind::OutOfBounds, [63, 0, 0]));
    let fault = fails("before", 1, &[&Guarded::of(&[0; 4096]).unwrap()], Order::Backwards);
    assert_eq!((fault.kind, fault.thread), (FaultKind::OutOfBounds, [0, 0, 0]));
    let fault = fails("reads_behind", 1, &[&x, &y], Order::Forwards);
    assert_eq!((fault.kind, fault.thread), (FaultKind::OutOfBounds, [63, 0, 0]));
    // Between the end and the next multiple of 16 nothing faults, but a write is found.
    let crooked = floats([0.0; 65]);
    run(&program, "whole", geometry(1, 64, 0), &[&crooked], Order::Forwards).unwrap();
    assert!(crooked.is_whole());
    run(&program, "just_behind", geometry(1, 64, 0), &[&crooked], Order::Forwards).unwrap();
    assert!(!crooked.is_whole());

    // Shared memory of 1040 bytes: just behind it is found when the block ends, far behind it at once.
    let fault = run(&program, "shared_behind", geometry(1, 64, 64 * 4), &[&x], Order::Forwards);
    assert!(fault.is_err_and(|fault| fault.kind == FaultKind::OutOfBounds), "a full page ends the memory");
    let fault =
        run(&program, "shared_behind", geometry(1, 64, 64 * 4 + 4), &[&x], Order::Forwards).unwrap_err();
    assert_eq!(fault.kind, FaultKind::OutOfBounds);
    assert!(fault.message.contains("behind its 260 bytes of shared memory"), "{fault}");
    assert_eq!(forwards("shared_far_behind").kind, FaultKind::OutOfBounds);
    assert_eq!(forwards("overflow").kind, FaultKind::OutOfBounds, "the stack of a thread");

    for order in Order::ALL {
        for kernel in ["some_wait", "two_barriers", "ended_before", "lanes_apart", "lane_missing"] {
            let fault = fails(kernel, 1, &[&x], order);
            assert_eq!(fault.kind, FaultKind::Divergent, "{order:?}: {fault}");
            assert!(fault.message.contains("line"), "{fault}");
        }
        let fault = fails("deadlock", 1, &[&x], order);
        assert_eq!(fault.kind, FaultKind::Deadlock, "{fault}");
        assert!(fault.message.contains("__syncthreads") && fault.message.contains("__syncwarp"), "{fault}");
        let fault = fails("never_waited", 1, &[&x], order);
        assert_eq!(fault.kind, FaultKind::MissingWait, "{fault}");
        assert_eq!(fails("crooked", 1, &[&x], order).kind, FaultKind::Misaligned);
    }

    // What is read before its wait is poison, and so is shared memory that nobody wrote.
    let source = floats((0..256).map(|i| i as f32));
    let twice = floats([0.0; 128]);
    run(&program, "waited_too_late", geometry(1, 64, 1024), &[&source, &twice], Order::Forwards).unwrap();
    for (i, pair) in read(&twice).chunks_exact(2).enumerate() {
        assert!(pair[0].is_nan() && pair[1] == 4.0 * i as f32, "{pair:?}");
    }
    run(&program, "unwritten", geometry(1, 64, 256), &[&x], Order::Forwards).unwrap();
    assert!(read(&x).iter().all(|x| x.is_nan()));

    // A barrier that is missing shows as a result that depends on the order.
    let results: Vec<Vec<u32>> = (Order::ALL.into_iter())
        .map(|order| {
            run(&program, "no_barrier", geometry(1, 64, 256), &[&x], order).unwrap();
            read(&x).iter().map(|x| x.to_bits()).collect()
        })
        .collect();
    assert!(results[0] != results[1] || results[0] != results[2]);

    // After all this, kernels run as before.
    run(&program, "whole", geometry(1, 64, 0), &[&x], Order::Forwards).unwrap();
    assert_eq!(read(&x), [1.0; 64]);

    // Launches that no device takes, and kernels that are not there.
    for refused in [geometry(1, 33, 0), geometry(0, 32, 0), geometry(1, 2048, 0), geometry(1, 32, 1 << 20)] {
        let fault = run(&program, "whole", refused, &[&x], Order::Forwards).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Launch, "{fault}");
    }
    let fault = run(&program, "nowhere", geometry(1, 32, 0), &[&x], Order::Forwards).unwrap_err();
    assert!(fault.message.contains("no such kernel"), "{fault}");
}

#[test]
fn faults_of_several_threads_do_not_meet() {
    if !has_compiler() {
        return;
    }
    let program = Program::build(SOURCE, &["whole", "behind", "deadlock"]).unwrap();
    std::thread::scope(|scope| {
        for kind in [FaultKind::OutOfBounds, FaultKind::Deadlock, FaultKind::OutOfBounds] {
            let program = &program;
            scope.spawn(move || {
                let x = floats([0.0; 64]);
                let kernel = if kind == FaultKind::Deadlock { "deadlock" } else { "behind" };
                for _ in 0..20 {
                    let fault = run(program, kernel, geometry(1, 64, 0), &[&x], Order::Forwards).unwrap_err();
                    assert_eq!(fault.kind, kind);
                    run(program, "whole", geometry(1, 64, 0), &[&x], Order::Backwards).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_source_that_is_wrong_is_refused_with_its_line() {
    if !has_compiler() {
        return;
    }
    let error = Program::build("__global__ void k(float* x) {\n  nothing(x);\n}", &["k"]).unwrap_err();
    let ShimError::Refused(message) = error else { panic!("{error}") };
    assert!(message.contains("kernels:2") && message.contains("nothing"), "{message}");
    // Shared memory that is not asked for at the launch cannot be poisoned, so there is none.
    assert!(Program::build("__global__ void k(float* x) { __shared__ float s[4]; }", &["k"]).is_err());
}
