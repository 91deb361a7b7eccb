//! What the primitives compute.

use crossloom_cuda::Geometry;
use crossloom_cuda::shim::{Guarded, Order};

use crate::compiler::has_compiler;
use crate::support::{Kernels, floats, geometry, read};

const SOURCE: &str = r"
__global__ void numbers(float* x) {
  u32 block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  u32 thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  x[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}
__global__ void sums(float* x, float* y) {
  DYNAMIC_SHARED(raw);
  float* partial = (float*)raw;
  float sum = x[blockIdx.x * 96 + threadIdx.x];
  for (u32 mask = 16; mask; mask /= 2) sum += shuffle_xor(sum, mask);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  float first = shuffle_from(sum, 0);
  if (threadIdx.x == 0) y[blockIdx.x] = partial[0] + partial[1] + partial[2] + (first - sum);
}
__global__ void product(const u16* a, const u16* b, float* c) {
  // One warp: C [16, 8] = A [16, 32] B^T [8, 32], rows copied 16 bytes at a time, the second half while the first is used.
  DYNAMIC_SHARED(raw);
  u16* sa = (u16*)raw;
  u16* sb = sa + 2 * 16 * 16;
  u32 lane = threadIdx.x;
  for (u32 half = 0; half < 2; half++) {
    copy_async(sa + half * 256 + lane / 2 * 16 + lane % 2 * 8, a + lane / 2 * 32 + half * 16 + lane % 2 * 8);
    if (lane < 16) copy_async(sb + half * 128 + lane / 2 * 16 + lane % 2 * 8, b + lane / 2 * 32 + half * 16 + lane % 2 * 8);
    copy_commit();
  }
  float d[4] = {0, 0, 0, 0};
  for (u32 half = 0; half < 2; half++) {
    if (half == 0) copy_wait<1>(); else copy_wait<0>();
    __syncwarp();
    u32 fa[4], fb[4];
    ldmatrix(fa, sa + half * 256 + lane % 16 * 16 + lane / 16 * 8);
    ldmatrix(fb, sb + half * 128 + lane % 8 * 16 + lane / 8 % 2 * 8);
    mma_bf16(d, fa, fb[0], fb[1]);
  }
  for (u32 i = 0; i < 4; i++) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}
__global__ void turned(const u16* a, u16* b) {
  DYNAMIC_SHARED(raw);
  u16* s = (u16*)raw;
  for (u32 i = threadIdx.x; i < 256; i += 32) s[i] = a[i];
  __syncwarp();
  u32 f[4];
  ldmatrix_transposed(f, s + threadIdx.x * 8);
  for (u32 m = 0; m < 4; m++)
    for (u32 half = 0; half < 2; half++)
      b[m * 64 + threadIdx.x / 4 * 8 + threadIdx.x % 4 * 2 + half] = f[m] >> 16 * half;
}
__global__ void rounded_pairs(const float* x, float* y) {
  u32 pair = pack_bf16(x[2 * threadIdx.x], x[2 * threadIdx.x + 1]);
  y[2 * threadIdx.x] = low_bf16(pair);
  y[2 * threadIdx.x + 1] = high_bf16(pair);
}
";

fn bf16(values: &[f32]) -> Guarded {
    let bytes: Vec<u8> = values.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_ne_bytes()).collect();
    Guarded::of(&bytes).unwrap()
}

#[test]
fn primitives_compute_what_they_say_in_every_order() {
    if !has_compiler() {
        return;
    }
    let kernels = Kernels::of(SOURCE, &["numbers", "sums", "product", "turned", "rounded_pairs"]);
    // Small whole numbers, so that every sum is exact.
    let values = |count: usize, seed: usize| -> Vec<f32> {
        (0..count).map(|i| ((i * 7 + i / 5 * 3 + seed) % 13) as f32 - 6.0).collect()
    };
    for order in Order::ALL {
        let x = floats([0.0; 12 * 64]);
        let shape = Geometry { grid: [2, 3, 2], block: [4, 8, 2], shared: 0 };
        kernels.run("numbers", shape, &[&x], order);
        let expected: Vec<f32> = (0..12).flat_map(|b| (0..64).map(move |t| (b * 1000 + t) as f32)).collect();
        assert_eq!(read(&x), expected);

        let x = values(96 * 3, 1);
        let y = floats([0.0; 3]);
        kernels.run("sums", geometry(3, 96, 12), &[&floats(x.iter().copied()), &y], order);
        assert_eq!(read(&y), x.chunks(96).map(|row| row.iter().sum()).collect::<Vec<f32>>());

        let (a, b) = (values(16 * 32, 2), values(8 * 32, 5));
        let c = floats([0.0; 16 * 8]);
        kernels.run("product", geometry(1, 32, 2 * 512 + 2 * 256), &[&bf16(&a), &bf16(&b), &c], order);
        let dot = |i: usize, j: usize| (0..32).map(|k| a[i * 32 + k] * b[j * 32 + k]).sum::<f32>();
        assert_eq!(read(&c), (0..128).map(|at| dot(at / 8, at % 8)).collect::<Vec<f32>>());

        let a = values(256, 3);
        let b = Guarded::new(512).unwrap();
        kernels.run("turned", geometry(1, 32, 512), &[&bf16(&a), &b], order);
        let turned: Vec<f32> = (0..256).map(|at| a[at / 64 * 64 + at % 8 * 8 + at / 8 % 8]).collect();
        assert_eq!(b.bytes(), bf16(&turned).bytes());
    }
    let x = [1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -3.0e38, f32::INFINITY, f32::NAN, 0.0, -0.0];
    let x: Vec<f32> = x.into_iter().chain((0..56).map(|i| i as f32 * 0.37)).collect();
    let y = floats([0.0; 64]);
    kernels.run("rounded_pairs", geometry(1, 32, 0), &[&floats(x.iter().copied()), &y], Order::Forwards);
    let nearest = |x: f32| half::bf16::from_f32(x).to_f32();
    for (x, y) in x.into_iter().zip(read(&y)) {
        assert!(nearest(x).to_bits() == y.to_bits() || x.is_nan() && y.is_nan(), "{x}: {y}");
    }
}
