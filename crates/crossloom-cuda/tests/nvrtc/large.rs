//! Kernels at the shapes of large models, which no shipped recipe has: compiled for both generations, with all their numbers in registers.

use std::collections::BTreeMap;
use std::slice::from_ref;

use crossloom_cuda::PRELUDE;
use crossloom_cuda::launch::{Launch, Lowered};
use crossloom_cuda::lower::lower;
use crossloom_data::assets::AssetCache;
use crossloom_ir::op::{
    Activation, AgfInject, AgfInjectNorm, AgfInjectNormGrad, Attention, AttentionGrad, CachedAttention,
    Linear, LinearCrossEntropy, LowRankLinear, Matmul, MatmulActGrad, NormKind, WeightGrad,
};
use crossloom_ir::{DType, Op, TensorType};

use super::found_in;

fn types(dtype: DType, shapes: &[&[usize]]) -> Vec<TensorType> {
    shapes.iter().map(|shape| TensorType::f32(*shape).with_dtype(dtype)).collect()
}

/// The kernels of an op on operands, with results of those types, the last for all others too.
fn lowered(op: impl Into<Op>, inputs: &[TensorType], results: &[DType]) -> Lowered {
    let (op, inputs) = (op.into(), inputs.iter().collect::<Vec<_>>());
    let outputs = op.infer(&inputs).unwrap();
    let asked = |(o, ty): (usize, TensorType)| ty.with_dtype(results[o.min(results.len() - 1)]);
    let outputs: Vec<TensorType> = outputs.into_iter().enumerate().map(asked).collect();
    lower(&op, &inputs, &outputs.iter().collect::<Vec<_>>()).unwrap_or_else(|| panic!("no kernel: {op:?}"))
}

fn kernels() -> BTreeMap<String, Launch> {
    let (narrow, wide) = (DType::Bf16, DType::F32);
    let mut all = Vec::new();
    for width in [64, 72, 96, 128] {
        for dtype in [narrow, wide] {
            let (heads, kv_heads, tokens) = (14, 2, 729);
            let op = Attention { heads, kv_heads, causal: true, segments: false, scale: 0.1 };
            let [q, kv] = [[1, tokens, heads * width], [1, tokens, kv_heads * width]];
            all.push(lowered(op, &types(dtype, &[&q, &kv, &kv]), &[dtype, wide]));
            let mut operands = types(dtype, &[&q, &q, &kv, &kv, &q]);
            operands.push(TensorType::f32([1, heads, tokens]));
            all.push(lowered(AttentionGrad(op), &operands, &[dtype]));
            for new in [1, 512] {
                let op = CachedAttention { heads, kv_heads, segments: false, scale: 0.1 };
                let cache = [4, 4096, kv_heads * width];
                let mut operands = types(dtype, &[&[4, new, heads * width], &cache, &cache]);
                operands.extend([0; 3].map(|_| TensorType::i32([4])));
                all.push(lowered(op, &operands, &[dtype]));
            }
        }
    }
    let (rows, width, inner) = (3000, 3584, 18_944);
    for dtype in [narrow, wide] {
        let up = Linear { bias: true, act: Some(Activation::Silu), residual: false };
        let mut operands = types(dtype, &[&[rows, width], &[inner, width]]);
        operands.push(TensorType::f32([inner]));
        all.push(lowered(up, &operands, &[dtype]));
        for (transpose_a, transpose_b) in [(false, false), (true, false)] {
            let a = if transpose_a { [rows, width] } else { [width, rows] };
            let operands = types(dtype, &[&a, &[rows, inner]]);
            all.push(lowered(Matmul { transpose_a, transpose_b }, &operands, &[wide]));
        }
        let product = Matmul { transpose_a: false, transpose_b: false };
        let op = MatmulActGrad { product, act: Activation::GeluTanh, rounded: dtype };
        let operands = types(dtype, &[&[rows, width], &[width, inner], &[rows, inner]]);
        all.push(lowered(op, &operands, &[dtype]));
        all.push(lowered(WeightGrad, &types(dtype, &[&[rows, inner], &[rows, width]]), &[wide]));
        let op = LowRankLinear { taps: 4, bias: false, act: None, scale: 1.0, rounded: dtype };
        let pair: [&[usize]; 2] = [&[729, 128], &[width, 128]];
        let shared: [&[usize]; 2] = [&[4 * 729, 1152], &[width, 1152]];
        let mut shapes = shared.to_vec();
        shapes.extend(pair.iter().cycle().take(8));
        all.push(lowered(op, &types(dtype, &shapes), &[dtype]));
        let op = LinearCrossEntropy { rounded: dtype, trained: true };
        let mut operands = types(dtype, &[&[], &[700, width], &[152_064, width]]);
        operands[0].dtype = wide;
        operands.push(TensorType::i32([700]));
        all.push(lowered(op, &operands, &[wide, wide, dtype, wide]));
        let (inject, norm) = (AgfInject::default(), NormKind::Rms);
        let h = TensorType::f32([1, rows, width]);
        let features = TensorType { dtype, shape: vec![4, 1, 729, width] };
        let update = [TensorType::f32([1, 4]), features, TensorType::i32([1, 729])];
        let gamma = TensorType::f32([width]);
        let forward = [from_ref(&h), &update[..], from_ref(&gamma)].concat();
        all.push(lowered(AgfInjectNorm { inject, norm, eps: 1e-6 }, &forward, &[wide, dtype, wide]));
        let dy = h.with_dtype(dtype);
        let backward = [&[dy, h.clone(), gamma, TensorType::f32([1, rows]), h][..], &update].concat();
        let op = AgfInjectNormGrad { inject, norm, residual: true };
        all.push(lowered(op, &backward, &[wide, wide, dtype, wide]));
    }
    for dtype in [wide, narrow, DType::F16, DType::Q8_0, DType::Q4_0, DType::Q4_1, DType::Q4K, DType::Q6K] {
        for rows in [1, 8] {
            let operands = [TensorType::f32([rows, 4096]), TensorType { dtype, shape: vec![4096, 4096] }];
            all.push(lowered(Linear::default(), &operands, &[wide]));
        }
    }
    let launches = all.iter().flat_map(Lowered::launches);
    launches.map(|launch| (launch.kernel.clone(), launch.clone())).collect()
}

#[test]
fn large_models_kernels_keep_their_numbers_in_registers() {
    if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() != Ok("1") {
        println!("skipped: set CROSSLOOM_NETWORK_TESTS=1 to fetch NVRTC");
        return;
    }
    let package = AssetCache::of_user().unwrap().ensure("nvidia-cuda-nvrtc", &mut |_| {}).unwrap();
    let nvrtc = found_in(&package.join("nvidia/cu13/lib")).unwrap();
    let kernels = kernels();
    // What a block of the smallest device that is supported can have.
    assert!(kernels.values().all(|launch| launch.geometry.shared <= 99 << 10));
    let sources: Vec<&str> = kernels.values().map(|launch| launch.source.as_str()).collect();
    for (architecture, snapshot) in [("sm_80", "large_sm_80"), ("sm_90a", "large_sm_90a")] {
        let mut lines: BTreeMap<String, [u64; 2]> = BTreeMap::new();
        let mut spilled = Vec::new();
        for some in sources.chunks(24) {
            let cubin = nvrtc.compile(&format!("{PRELUDE}\n{}", some.join("\n")), architecture);
            let cubin = cubin.unwrap_or_else(|error| panic!("{error}"));
            for kernel in cubin.kernels {
                let launch = &kernels[&kernel.kernel];
                if kernel.spills != (0, 0) {
                    let head = launch.source.split("// ").next().unwrap_or_default();
                    spilled.push(format!(
                        "{} spills {:?}:
{head}",
                        kernel.kernel, kernel.spills
                    ));
                }
                let (file, _) = kernel.kernel.rsplit_once('_').unwrap();
                let most = lines.entry(file.to_owned()).or_default();
                most[0] = most[0].max(u64::from(kernel.registers));
                most[1] = most[1].max(u64::from(launch.geometry.shared));
            }
        }
        assert!(spilled.is_empty(), "{architecture}:\n{}", spilled.join("\n"));
        let line = |(file, [registers, shared]): (&String, &[u64; 2])| {
            format!("{file:<28} {registers:>4} {shared:>7}\n")
        };
        let table = lines.iter().map(line).collect::<String>();
        insta::assert_snapshot!(snapshot, format!("kernel                       regs  shared\n{table}"));
    }
}
