//! A training step allocates nothing, and what it computes does not depend on the number of threads.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/counting.rs"]
mod counting;
mod support;

use counting::{Counting, allocations, counted_pool};
use crossloom_model::BatchShape;
use support::{SHAPE, feed, fill, hypers, session, step, variant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of everything that lives between steps, and allocations of every step: writing an input, running, reading the
/// loss.
fn train(threads: usize, steps: usize) -> (Vec<(String, Vec<u8>)>, Vec<usize>) {
    let pool = counted_pool(threads);
    // As many pictures as make the kernels share their work among threads.
    let step = step(&variant("cli"), BatchShape { batch: 16, ..SHAPE }, 1);
    pool.install(|| {
        let mut session = session(step.set.main.plan);
        fill(session.store(), &step.params);
        let mut loss = [0.0_f32];
        let mut counts = Vec::with_capacity(steps);
        for seed in 0..steps {
            feed(&mut session, seed as u64);
            let hyper = hypers(&step.spec);
            counts.push(allocations(|| {
                session.write(&hyper[0], &[1e-2_f32, 1.5, 1.2]).unwrap();
                session.run().unwrap();
                session.read_into("loss", &mut loss).unwrap();
            }));
        }
        let store = session.store();
        let bytes = |name: &str| store.read_bytes(name).unwrap();
        (store.tensors().into_iter().map(|t| (t.name.clone(), bytes(&t.name))).collect(), counts)
    })
}

/// One test, so that nothing else of this process allocates in between.
#[test]
fn a_step_allocates_nothing_and_gives_the_same_bits_on_any_number_of_threads() {
    let (one, _) = train(1, 5);
    let (two, counts) = train(2, 5);
    assert_eq!(counts[2..], [0; 3], "allocations per step: {counts:?}");
    for ((name, one), (_, two)) in one.iter().zip(&two) {
        assert!(one == two, "{name} depends on the number of threads");
    }
    let (three, _) = train(3, 5);
    assert!(one == three);
}
