//! Attention of either float type, cut among threads, and without the gradients that nobody reads.

#![allow(clippy::unwrap_used)]

use super::{Attention, CachedAttention, attention, attention_grad, cached_attention};
use crate::kernels::cache::{CacheShape, Places};
use crate::kernels::float_mat::{FloatMat, FloatMatMut};
use crate::kernels::testing::{Buffer, mixes, narrow, on_each_isa, on_threads, random};

/// Operands of a call, and the gradient of its output.
struct Operands {
    q: Buffer,
    k: Buffer,
    v: Buffer,
    d_out: Buffer,
    segments: Option<Vec<i32>>,
}

fn sizes(p: &Attention) -> ([usize; 2], [usize; 2]) {
    ([p.batch * p.q_len, p.heads * p.head_dim], [p.batch * p.k_len, p.kv_heads * p.head_dim])
}

fn operands(p: &Attention, [q, k, v, d_out]: [bool; 4], with_segments: bool) -> Operands {
    let ([rows, wide], [keys, cols]) = sizes(p);
    let segments = |i: usize| [0, 0, 1, 2, -1][(i % p.k_len) * 5 / p.k_len];
    Operands {
        q: Buffer::new(&random(1, rows * wide), q),
        k: Buffer::new(&random(2, keys * cols), k),
        v: Buffer::new(&random(3, keys * cols), v),
        d_out: Buffer::new(&random(4, rows * wide), d_out),
        segments: with_segments.then(|| (0..keys).map(segments).collect()),
    }
}

impl Operands {
    fn widened(&self) -> Self {
        let [q, k, v, d_out] = [&self.q, &self.k, &self.v, &self.d_out].map(|x| Buffer::F32(x.wide()));
        Self { q, k, v, d_out, segments: self.segments.clone() }
    }

    /// Output and log-sum-exps.
    fn forward(&self, p: &Attention, is_narrow: bool) -> (Buffer, Vec<f32>) {
        let ([rows, wide], [keys, cols]) = sizes(p);
        let (mut o, mut lse) =
            (Buffer::room(rows * wide, is_narrow), vec![f32::NAN; p.batch * p.heads * p.q_len]);
        let q = FloatMat::new(self.q.floats(), rows, wide).unwrap();
        let [k, v] = [&self.k, &self.v].map(|x| FloatMat::new(x.floats(), keys, cols).unwrap());
        let to = FloatMatMut::new(o.floats_mut(), rows, wide).unwrap();
        let mut scratch = vec![f32::NAN; p.scratch_len()];
        attention(p, q, k, v, self.segments.as_deref(), to, &mut lse, &mut scratch).unwrap();
        (o, lse)
    }

    /// Gradients of queries, keys and values; empty where they are not wanted.
    fn backward(
        &self,
        p: &Attention,
        (o, lse): (&Buffer, &[f32]),
        types: [bool; 3],
        wanted: [bool; 3],
    ) -> [Buffer; 3] {
        let ([rows, wide], [keys, cols]) = sizes(p);
        let q = FloatMat::new(self.q.floats(), rows, wide).unwrap();
        let [k, v] = [&self.k, &self.v].map(|x| FloatMat::new(x.floats(), keys, cols).unwrap());
        let [o, d_out] = [o, &self.d_out].map(|x| FloatMat::new(x.floats(), rows, wide).unwrap());
        let lens = [rows * wide, keys * cols, keys * cols];
        let mut grads: [Buffer; 3] =
            std::array::from_fn(|i| Buffer::room(if wanted[i] { lens[i] } else { 0 }, types[i]));
        let [dq, dk, dv] = &mut grads;
        let mut scratch = vec![f32::NAN; p.grad_scratch_len(types[1] || types[2])];
        let segments = self.segments.as_deref();
        let dq = FloatMatMut::wanted(dq.floats_mut(), rows, wide).unwrap();
        let [dk, dv] = [dk, dv].map(|d| FloatMatMut::wanted(d.floats_mut(), keys, cols).unwrap());
        attention_grad(p, q, k, v, segments, o, lse, d_out, dq, dk, dv, &mut scratch).unwrap();
        grads
    }
}

/// One with a single task per key head, one whose queries are dealt out.
const SHAPES: [Attention; 2] = [
    Attention {
        batch: 9,
        q_len: 30,
        k_len: 71,
        heads: 4,
        kv_heads: 2,
        head_dim: 9,
        scale: 0.4,
        causal: true,
    },
    Attention {
        batch: 1,
        q_len: 310,
        k_len: 310,
        heads: 4,
        kv_heads: 2,
        head_dim: 24,
        scale: 0.4,
        causal: true,
    },
];

#[test]
fn narrow_types_round_and_change_nothing_else() {
    on_each_isa(|| {
        for p in SHAPES {
            let with_segments = p.q_len == p.k_len;
            for [q, k, v, o] in mixes() {
                let x = operands(&p, [q, k, v, o], with_segments);
                let wide = x.widened();
                let ((given, lse), (want, want_lse)) = (x.forward(&p, o), wide.forward(&p, false));
                assert_eq!(given, Buffer::new(&want.wide(), o));
                assert_eq!(lse, want_lse);
                let grads = x.backward(&p, (&given, &lse), [q, k, v], [true; 3]);
                let exact = Buffer::F32(given.wide());
                let want = wide.backward(&p, (&exact, &lse), [false; 3], [true; 3]);
                for ((grad, want), is_narrow) in grads.iter().zip(&want).zip([q, k, v]) {
                    assert_eq!(*grad, Buffer::new(&want.wide(), is_narrow));
                }
            }
        }
    });
}

#[test]
fn the_number_of_threads_does_not_show() {
    for p in SHAPES {
        for is_narrow in [false, true] {
            let x = operands(&p, [is_narrow; 4], p.q_len == p.k_len);
            let run = |threads| {
                on_threads(threads, || {
                    let (o, lse) = x.forward(&p, is_narrow);
                    let grads = x.backward(&p, (&o, &lse), [is_narrow; 3], [true; 3]);
                    (o, lse, grads)
                })
            };
            let one = run(1);
            assert!(one.2.iter().chain([&one.0]).flat_map(Buffer::wide).all(f32::is_finite));
            assert_eq!(one, run(2));
            assert_eq!(one, run(3));
        }
    }
}

#[test]
fn a_gradient_that_is_left_out_changes_no_other() {
    for p in SHAPES {
        let x = operands(&p, [true; 4], false);
        let (o, lse) = x.forward(&p, true);
        let all = x.backward(&p, (&o, &lse), [false, true, false], [true; 3]);
        for wanted in mixes::<3>() {
            let some = x.backward(&p, (&o, &lse), [false, true, false], wanted);
            for ((some, all), wanted) in some.iter().zip(&all).zip(wanted) {
                assert_eq!(some.bits(), if wanted { all.bits() } else { Vec::new() });
            }
        }
    }
}

#[test]
fn a_narrow_cache_gives_the_bits_of_the_widened_one() {
    let (heads, kv_heads, head_dim) = (4, 2, 24);
    on_each_isa(|| {
        // A step of decoding, and a chunk of several tiles.
        for tokens in [1, 40] {
            let cache = CacheShape { slots: 3, capacity: 330, rows: 2, tokens };
            let p = CachedAttention { cache, heads, kv_heads, head_dim, scale: 0.4 };
            let positions = cache.slots * cache.capacity;
            let (q, k) =
                (random(1, 2 * tokens * heads * head_dim), random(2, positions * kv_heads * head_dim));
            let v = random(3, k.len());
            let segments: Vec<i32> = (0..positions).map(|i| [0, 0, 1, -1, 2][i % 330 / 66]).collect();
            let places = Places { slot: &[2, 0], start: &[290, 7], count: &[tokens as i32, 1] };
            for with_segments in [false, true] {
                for [of_q, of_k, of_v, of_o] in mixes() {
                    let run = |q: &Buffer, k: &Buffer, v: &Buffer, is_narrow| {
                        let mut o = Buffer::room(q.wide().len(), is_narrow);
                        let mut scratch = vec![f32::NAN; p.scratch_len()];
                        let segments = with_segments.then_some(&segments[..]);
                        let (q, k, v) = (q.floats(), k.floats(), v.floats());
                        cached_attention(&p, q, k, v, segments, &places, o.floats_mut(), &mut scratch)
                            .unwrap();
                        o
                    };
                    let [q, k, v] =
                        [(&q, of_q), (&k, of_k), (&v, of_v)].map(|(x, is_narrow)| Buffer::new(x, is_narrow));
                    let [q32, k32, v32] = [&q, &k, &v].map(|x| Buffer::F32(x.wide()));
                    let want = run(&q32, &k32, &v32, false).wide();
                    let given = run(&q, &k, &v, of_o);
                    assert_eq!(given, if of_o { Buffer::Bf16(narrow(&want)) } else { Buffer::F32(want) });
                }
            }
        }
    });
}
