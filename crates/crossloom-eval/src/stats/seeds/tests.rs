#![allow(clippy::unwrap_used)]

use proptest::prelude::{ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, proptest};

use super::super::holm;
use super::*;

/// A world of known truth: every seed and every picture has an effect of its own on the chance of a right answer.
#[derive(Clone, Copy, Debug)]
struct World {
    /// The chance of a right answer.
    mean: f64,
    /// Standard deviation between seeds.
    by_seed: f64,
    /// Standard deviation between pictures.
    by_picture: f64,
}

/// A number from a distribution of mean 0 and deviation 1, with thin tails.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

impl World {
    fn pictures(&self, pictures: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
        (0..pictures).map(|_| self.by_picture * normal(rng)).collect()
    }

    /// Scores of a training on `per` questions of each picture; questions of a picture stand side by side.
    fn trained(&self, pictures: &[f64], per: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let seed = self.by_seed * normal(rng);
        let mut scores = Vec::with_capacity(pictures.len() * per);
        for picture in pictures {
            let chance = (self.mean + seed + picture).clamp(0.0, 1.0);
            scores.extend((0..per).map(|_| f64::from(u8::from(rng.random::<f64>() < chance))));
        }
        scores
    }
}

fn clusters(pictures: usize, per: usize) -> Clusters {
    let keys: Vec<String> = (0..pictures * per).map(|sample| (sample / per).to_string()).collect();
    Clusters::by_key(keys.iter().map(String::as_str))
}

#[test]
fn the_interval_covers_the_truth_as_often_as_it_says_whatever_scatters() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (pictures, per, rounds) = (40, 3, 300);
    let clusters = clusters(pictures, per);
    for seeds in [2, 3, 5] {
        for (by_seed, by_picture) in [(0.0, 0.0), (0.04, 0.0), (0.0, 0.15), (0.04, 0.15), (0.1, 0.05)] {
            let world = World { mean: 0.5, by_seed, by_picture };
            let covered = (0..rounds).filter(|_| {
                let effects = world.pictures(pictures, &mut rng);
                let scores: Vec<Vec<f64>> =
                    (0..seeds).map(|_| world.trained(&effects, per, &mut rng)).collect();
                let found = seeds_interval(&scores, &clusters, &Resampling::default()).unwrap();
                found.low <= world.mean && world.mean <= found.high
            });
            let covered = covered.count();
            // Of 285 expected, 270 and fewer happen once in 3,000 such tests.
            assert!(covered > 270, "{covered} of {rounds}: {seeds} seeds, {world:?}");
        }
    }
}

#[test]
fn the_interval_is_no_wider_than_it_must_be_where_seeds_are_alike() {
    // Seeds add nothing: with 5 of them it is hardly wider than the interval over the pictures.
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let world = World { mean: 0.5, by_seed: 0.0, by_picture: 0.2 };
    let (mut wide, mut narrow) = (0.0, 0.0);
    let clusters = clusters(100, 4);
    for _ in 0..50 {
        let effects = world.pictures(100, &mut rng);
        let scores: Vec<Vec<f64>> = (0..5).map(|_| world.trained(&effects, 4, &mut rng)).collect();
        let found = seeds_interval(&scores, &clusters, &Resampling::default()).unwrap();
        let pictures = mean_interval(&average(&scores).unwrap(), &clusters, &Resampling::default()).unwrap();
        wide += found.high - found.low;
        narrow += pictures.high - pictures.low;
    }
    assert!(wide >= narrow && wide < 1.25 * narrow, "{wide} {narrow}");
}

/// Differences of methods that are equal, all compared with one baseline.
fn false_findings(methods: usize, by_seed: f64, rounds: usize, alpha: f64) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let (pictures, per, seeds) = (30, 2, 5);
    let clusters = clusters(pictures, per);
    let world = World { mean: 0.6, by_seed, by_picture: 0.15 };
    let found = (0..rounds).filter(|_| {
        let effects = world.pictures(pictures, &mut rng);
        let mut trained =
            || -> Vec<Vec<f64>> { (0..seeds).map(|_| world.trained(&effects, per, &mut rng)).collect() };
        let baseline = trained();
        let p: Vec<f64> = (0..methods)
            .map(|_| {
                seeds_difference(&trained(), &baseline, &clusters, &Resampling::default()).unwrap().p_value
            })
            .collect();
        holm(&p).iter().any(|p| *p <= alpha)
    });
    found.count()
}

#[test]
fn equal_methods_are_told_apart_no_more_often_than_promised() {
    for by_seed in [0.0, 0.05, 0.15] {
        let found = false_findings(3, by_seed, 200, 0.05);
        // 10 are expected at most; 21 or more happen once in a thousand such tests.
        assert!(found < 21, "{found} of 200, {by_seed} between seeds");
    }
}

#[test]
fn a_method_that_is_better_with_every_seed_is_found() {
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    let (pictures, per) = (60, 4);
    let clusters = clusters(pictures, per);
    let (good, plain) = (
        World { mean: 0.7, by_seed: 0.01, by_picture: 0.1 },
        World { mean: 0.6, by_seed: 0.01, by_picture: 0.1 },
    );
    let found = (0..50).filter(|_| {
        let effects = plain.pictures(pictures, &mut rng);
        let mut trained = |world: &World| -> Vec<Vec<f64>> {
            (0..5).map(|_| world.trained(&effects, per, &mut rng)).collect()
        };
        let (better, worse) = (trained(&good), trained(&plain));
        seeds_difference(&better, &worse, &clusters, &Resampling::default()).unwrap().p_value < 0.05
    });
    let found = found.count();
    assert!(found > 45, "{found} of 50");
}

#[test]
fn one_lucky_seed_proves_nothing_although_its_pictures_do() {
    // One of five seeds is right everywhere, the others are as the baseline: 1,000 pictures would call that a difference.
    let clusters = clusters(1000, 1);
    let base: Vec<f64> = (0..1000).map(|i| f64::from(u8::from(i % 2 == 0))).collect();
    let second = vec![base.clone(); 5];
    let mut first = second.clone();
    first[3] = vec![1.0; 1000];
    let found = seeds_difference(&first, &second, &clusters, &Resampling::default()).unwrap();
    let pictures =
        paired_difference(&average(&first).unwrap(), &base, &clusters, &Resampling::default()).unwrap();
    assert!(pictures.p_value < 1e-6 && found.p_value > 0.3, "{pictures:?} {found:?}");
    assert!(found.low < 0.0 && found.high > 0.2 && (found.difference - 0.1).abs() < 1e-12, "{found:?}");
}

#[test]
fn one_seed_is_what_it_was_and_equal_methods_do_not_differ() {
    let clusters = clusters(50, 2);
    let scores: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i % 3 == 0))).collect();
    let one = seeds_interval(std::slice::from_ref(&scores), &clusters, &Resampling::default()).unwrap();
    assert_eq!(one, mean_interval(&scores, &clusters, &Resampling::default()).unwrap());
    let same = vec![scores.clone(); 3];
    let found = seeds_difference(&same, &same, &clusters, &Resampling::default()).unwrap();
    assert_eq!((found.difference, found.p_value, found.seeds), (0.0, 1.0, 3));
    let uneven = [scores.clone(), scores[1..].to_vec()];
    assert!(matches!(
        seeds_interval(&uneven, &clusters, &Resampling::default()),
        Err(StatsError::Lengths { left: 100, right: 99, .. })
    ));
    assert_eq!(seeds_interval(&[], &clusters, &Resampling::default()), Err(StatsError::Empty));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn intervals_hold_the_mean_stay_in_range_and_do_not_depend_on_order(
        scores in (2..5_usize, 3..20_usize).prop_flat_map(|(seeds, pictures)| {
            prop::collection::vec(prop::collection::vec(0.0..=1.0_f64, pictures), seeds)
        })
    ) {
        let clusters = Clusters::singletons(scores[0].len());
        let at = |scores: &[Vec<f64>]| seeds_interval(scores, &clusters, &Resampling::default()).unwrap();
        let found = at(&scores);
        prop_assert!(0.0 <= found.low && found.low <= found.mean && found.mean <= found.high && found.high <= 1.0);
        prop_assert_eq!(found, at(&scores));
        let zero = vec![vec![0.0; scores[0].len()]; scores.len()];
        let there = seeds_difference(&scores, &zero, &clusters, &Resampling::default()).unwrap();
        let back = seeds_difference(&zero, &scores, &clusters, &Resampling::default()).unwrap();
        prop_assert!((there.difference + back.difference).abs() < 1e-12 && (there.low + back.high).abs() < 1e-12);
        prop_assert_eq!(there.p_value, back.p_value);
    }
}
