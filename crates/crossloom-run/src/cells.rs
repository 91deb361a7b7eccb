//! The cells of a sweep: which variants repeat one training with other seeds, and with which of the others each is compared.

use crossloom_eval::compare::{
    CompareError, CompareOptions, Comparison, Contender, Costs, Seed, Standing, compare,
};
use crossloom_eval::samples::SampleRecord;
use crossloom_recipe::{Recipe, Variant};

/// One variant among those that are compared.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'v> {
    /// The variant's name, `cli,train_limit=800,seed=3` in a sweep.
    pub name: &'v str,
    /// Its recipe; one without is for itself.
    pub recipe: Option<&'v Recipe>,
    /// Whether it is marked as the baseline.
    pub baseline: bool,
}

/// A variant that was evaluated, to be compared.
#[derive(Debug, Clone, Copy)]
pub struct Member<'v> {
    /// The variant.
    pub cell: Cell<'v>,
    /// Whether it competes.
    pub role: Standing,
    /// One record per question.
    pub records: &'v [SampleRecord],
    /// What it costs.
    pub costs: Costs,
}

/// Compares variants, those that repeat one training as one column. Without a baseline in the options, each is compared with the baseline
/// of its own settings of a sweep. `named` says what the column of a group, of which the columns are in the order, is called.
///
/// # Errors
/// Those of [`compare`].
pub fn compared(
    members: &[Member<'_>],
    options: &CompareOptions,
    named: &dyn Fn(&Repeated) -> String,
) -> Result<Comparison, CompareError> {
    let cells: Vec<Cell<'_>> = members.iter().map(|member| member.cell).collect();
    let mut groups = repeated(&cells);
    let first = |group: &Repeated| group.cells.first().and_then(|&cell| members.get(cell));
    let role = |group: &Repeated| first(group).map_or(Standing::Model, |member| member.role);
    let with = baselines(&groups, &|group| role(group) == Standing::Model);
    for group in &mut groups {
        group.name = named(group);
    }
    let mut contenders: Vec<Contender<'_>> = Vec::with_capacity(groups.len());
    for (group, with) in groups.iter().zip(&with) {
        let seeds = group.cells.iter().zip(&group.seeds);
        let seeds =
            seeds.filter_map(|(&cell, &seed)| Some(Seed { seed, records: members.get(cell)?.records }));
        let against = with.filter(|_| options.baseline.is_none() && role(group) == Standing::Model);
        contenders.push(Contender {
            name: &group.name,
            role: role(group),
            seeds: seeds.collect(),
            against: against.and_then(|at| groups.get(at)).map(|group| group.name.as_str()),
        });
    }
    let mut comparison = compare(&contenders, options)?;
    for (column, group) in comparison.columns.iter_mut().zip(&groups) {
        let costs: Vec<Costs> =
            group.cells.iter().filter_map(|&cell| Some(members.get(cell)?.costs)).collect();
        let times: Vec<f64> = costs.iter().filter_map(|costs| costs.step_ms).collect();
        let step_ms = (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64);
        let known = costs.first().copied().map(|costs| Costs { step_ms, ..costs });
        column.costs = known.filter(|costs| *costs != Costs::default());
    }
    Ok(comparison)
}

/// Variants that repeat one training with other seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// Their name without the seed.
    pub name: String,
    /// The place of each among the cells, in the order of their seeds.
    pub cells: Vec<usize>,
    /// The seed of each, in the same order.
    pub seeds: Vec<u64>,
    /// Whether they are the baseline, of some others at least.
    pub baseline: bool,
}

/// The cells by what they repeat, in the order of the first of each. Two cells of one seed are no repetition of one another.
pub fn repeated(cells: &[Cell<'_>]) -> Vec<Repeated> {
    let mut groups: Vec<(String, Repeated)> = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        let (hash, seed) = match cell.recipe {
            Some(recipe) => (recipe.repeated_hash(), recipe.train.seed),
            None => (String::new(), 0),
        };
        let name = without_seed(cell.name);
        let known = groups
            .iter_mut()
            .find(|(known, group)| *known == hash && group.name == name && !group.seeds.contains(&seed));
        match known {
            Some((_, group)) => {
                let at = group.seeds.partition_point(|known| *known < seed);
                group.seeds.insert(at, seed);
                group.cells.insert(at, index);
                group.baseline |= cell.baseline;
            }
            None => {
                let (cells, seeds, baseline) = (vec![index], vec![seed], cell.baseline);
                groups.push((hash, Repeated { name, cells, seeds, baseline }));
            }
        }
    }
    let alone = |group: &Repeated| group.cells.len() == 1;
    let named = groups.into_iter().map(|(_, group)| match group.cells.first() {
        // One that nothing repeats keeps its name.
        Some(&cell) if alone(&group) => Repeated { name: cells[cell].name.to_owned(), ..group },
        _ => group,
    });
    named.collect()
}

/// The group that each group is compared with: among the baselines the one of the same settings of the sweep, or else the first. None for a
/// baseline. Only a group that competes can be one.
pub fn baselines(groups: &[Repeated], competes: &dyn Fn(&Repeated) -> bool) -> Vec<Option<usize>> {
    let models: Vec<usize> = (0..groups.len()).filter(|&index| competes(&groups[index])).collect();
    let marked: Vec<usize> = models.iter().copied().filter(|&index| groups[index].baseline).collect();
    // Without a mark, the first variant and what the sweep made of it.
    let first = models.first().map(|&index| own(&groups[index].name));
    let baselines: Vec<usize> = match &marked[..] {
        [] => models.iter().copied().filter(|&index| Some(own(&groups[index].name)) == first).collect(),
        _ => marked,
    };
    // Where nothing else competes, the first of them is what the others are compared with.
    let baselines =
        if baselines.len() == models.len() { models.into_iter().take(1).collect() } else { baselines };
    let of = |index: usize| {
        if baselines.contains(&index) {
            return None;
        }
        let same = |&&other: &&usize| axes(&groups[other].name) == axes(&groups[index].name);
        baselines.iter().find(same).or(baselines.first()).copied()
    };
    (0..groups.len()).map(of).collect()
}

/// The variants of which each has a graph of its own, with their names: one stands for all that differ in seeds only.
pub fn standing_for_seeds<'v>(variants: &[&'v Variant]) -> Vec<(String, &'v Variant)> {
    let cell = |variant: &&'v Variant| {
        let Variant { name, recipe, baseline, .. } = *variant;
        Cell { name, recipe: Some(recipe), baseline: *baseline }
    };
    let cells: Vec<Cell<'_>> = variants.iter().map(cell).collect();
    let first = |group: Repeated| Some((group.name, *variants.get(*group.cells.first()?)?));
    repeated(&cells).into_iter().filter_map(first).collect()
}

/// The variant's own name, before what a sweep adds.
fn own(name: &str) -> &str {
    name.split(',').next().unwrap_or_default()
}

/// What a sweep added to a name, in its order.
fn axes(name: &str) -> Vec<&str> {
    name.split(',').skip(1).collect()
}

/// A name without the setting `seed` of a sweep, or `train.seed`.
fn without_seed(name: &str) -> String {
    let kept = name.split(',').filter(|part| !part.starts_with("seed=") && !part.starts_with("train.seed="));
    kept.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use crossloom_recipe::{LoadOptions, LoadedRecipe, load};

    use super::*;

    fn swept(sets: &[&str]) -> LoadedRecipe {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/synthetic.toml");
        let sets = sets.iter().map(|&set| set.to_owned()).collect();
        load(&path, &LoadOptions { sets }).unwrap()
    }

    fn cells(loaded: &LoadedRecipe) -> Vec<Cell<'_>> {
        (loaded.variants.iter())
            .map(|variant| Cell {
                name: &variant.name,
                recipe: Some(&variant.recipe),
                baseline: variant.baseline,
            })
            .collect()
    }

    #[test]
    fn seeds_are_repetitions_and_all_else_is_not() {
        let loaded = swept(&["sweep.matrix={ 'train.lr' = [1e-3, 2e-3], 'train.seed' = [7, 3] }"]);
        let groups = repeated(&cells(&loaded));
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        let kinds = ["projector", "cli", "question_only"];
        let expected = kinds.iter().flat_map(|kind| [0.001, 0.002].map(|lr| format!("{kind},lr={lr}")));
        assert_eq!(names, expected.collect::<Vec<_>>());
        assert!(groups.iter().all(|group| group.seeds == [3, 7]), "in their order: {groups:?}");
        assert_eq!(baselines(&groups, &|_| true), [None, None, Some(0), Some(1), Some(0), Some(1)]);
        let variants: Vec<&Variant> = loaded.variants.iter().collect();
        assert_eq!(standing_for_seeds(&variants).len(), 6);
    }

    #[test]
    fn without_a_sweep_every_variant_is_for_itself() {
        let loaded = swept(&[]);
        let groups = repeated(&cells(&loaded));
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["projector", "cli", "question_only"]);
        assert_eq!(baselines(&groups, &|_| true), [None, Some(0), Some(0)]);
        assert_eq!(baselines(&groups, &|group| group.name != "projector"), [Some(1), None, Some(1)]);
    }

    #[test]
    fn of_one_variant_that_is_swept_the_first_is_the_baseline() {
        let loaded = swept(&["sweep.matrix={ 'train.lr' = [1e-3, 2e-3, 3e-3] }", "sweep.variants=['cli']"]);
        let groups: Vec<Repeated> =
            repeated(&cells(&loaded)).into_iter().filter(|group| group.name.starts_with("cli")).collect();
        assert_eq!(baselines(&groups, &|_| true), [None, Some(0), Some(0)]);
    }

    #[test]
    fn two_of_one_seed_are_two_columns() {
        let loaded = swept(&[]);
        let twice = [cells(&loaded), cells(&loaded)].concat();
        assert_eq!(repeated(&twice).len(), 6);
    }
}
