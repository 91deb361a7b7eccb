//! A training step allocates nothing, and what it computes does not depend on the number of threads.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/counting.rs"]
mod counting;
mod support;

use counting::{Counting, allocations, counted_pool};
use crossloom_cpu::exec::{Executable, Store};
use crossloom_model::BatchShape;
use support::{SHAPE, feed, fill, step, variant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bits of everything that lives between steps, and allocations of every step.
fn train(threads: usize, steps: usize) -> (Vec<(String, Vec<u32>)>, Vec<usize>) {
    let pool = counted_pool(threads);
    // As many pictures as make the kernels share their work among threads.
    let step = step(&variant("cli"), BatchShape { batch: 16, ..SHAPE }, 1);
    pool.install(|| {
        let mut store = Store::new();
        let mut exe = Executable::new(step.set.main.plan, &mut store).unwrap();
        fill(&mut store, &step.params);
        let mut counts = Vec::with_capacity(steps);
        for seed in 0..steps {
            feed(&mut exe, seed as u64);
            counts.push(allocations(|| exe.run(&mut store).unwrap()));
        }
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect();
        (store.iter().map(|(name, _, _, values)| (name.to_owned(), bits(values))).collect(), counts)
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
