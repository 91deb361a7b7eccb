//! Ops on a cache of keys and values to the kernels: `cache_write` (in place) and `cached_attention`.

use bytemuck::Pod;
use crossloom_ir::TensorType;
use crossloom_ir::op::CachedAttention as Op;

use crate::exec::io::{CpuKernel, Inputs, Io, Lowered, Move, Moved};
use crate::kernels::{CacheShape, CachedAttention, KernelError, Places, cache_write, cached_attention};

/// The widest head the kernel takes.
const MAX_HEAD_DIM: usize = 256;

struct Write {
    shape: CacheShape,
    width: usize,
}

struct Attend {
    shape: CachedAttention,
    segments: bool,
}

fn shape(cache: &TensorType, call: &TensorType) -> CacheShape {
    let ([slots, capacity], [rows, tokens]) =
        ([cache.shape[0], cache.shape[1]], [call.shape[0], call.shape[1]]);
    CacheShape { slots, capacity, rows, tokens }
}

pub(super) fn lower_write(inputs: &[&TensorType]) -> Lowered {
    let width = inputs[0].shape[2..].iter().product();
    let kernel = Write { shape: shape(inputs[0], inputs[1]), width };
    let lowered = Lowered::new("cache_write", Moved(kernel)).in_place(vec![(0, 0)]);
    lowered.of(inputs[0].dtype, &[0, 1], &[0]).ints(&[2, 3, 4], &[])
}

pub(super) fn lower_attention(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    let shape = CachedAttention {
        cache: shape(inputs[1], inputs[0]),
        heads: op.heads,
        kv_heads: op.kv_heads,
        head_dim: inputs[0].shape[2] / op.heads,
        scale: op.scale as f32,
    };
    let kernel = Attend { shape, segments: op.segments };
    (shape.head_dim <= MAX_HEAD_DIM).then(|| {
        let lowered = Lowered::with_scratch("cached_attention", shape.scratch_len(), kernel);
        lowered.floats(&[0, 1, 2], &[0]).ints(&[3, 4, 5, 6], &[])
    })
}

/// The three operands from `first` on that say where.
fn places<'a>(inputs: &Inputs<'a>, first: usize) -> Result<Places<'a>, KernelError> {
    let [slot, start, count] = [inputs.i32(first)?, inputs.i32(first + 1)?, inputs.i32(first + 2)?];
    Ok(Places { slot, start, count })
}

impl Move for Write {
    fn run<T: Pod + Send + Sync>(&self, inputs: &Inputs<'_>, cache: &mut [T]) -> Result<(), KernelError> {
        if !inputs.is_taken(0) {
            cache.copy_from_slice(inputs.bits(0)?);
        }
        cache_write(&self.shape, self.width, cache, inputs.bits(1)?, &places(inputs, 2)?)
    }
}

impl CpuKernel for Attend {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [o], scratch) = io.take()?;
        let segments = inputs.i32_if(self.segments, 3)?;
        let places = places(&inputs, 3 + usize::from(self.segments))?;
        let [q, keys, values] = [inputs.floats(0)?, inputs.floats(1)?, inputs.floats(2)?];
        cached_attention(&self.shape, q, keys, values, segments, &places, o.floats()?, scratch)
    }
}
