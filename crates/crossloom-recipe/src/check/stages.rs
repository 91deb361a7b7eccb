//! Stages against those before them.

use crate::decode::Cx;
use crate::diagnostic::Finding;
use crate::schema::{Data, KeptIn, Part, Recipe, Source};
use crate::tree::Node;

/// Checks every stage against those before it. `trees` and `recipes` are those of the stages, in order.
pub(crate) fn check_stages(trees: &[(String, Node)], recipes: &[Recipe], cx: &mut Cx) {
    for (index, (later, recipe)) in trees.iter().zip(recipes).enumerate().skip(1) {
        pairs(&trees[index - 1], &recipes[index - 1], later, recipe, cx);
        for check in [files, held_out] {
            let mut before = trees.iter().zip(recipes).take(index);
            // One of those before it is enough to say.
            if let Some(finding) = before.find_map(|(earlier, before)| check(earlier, before, later, recipe))
            {
                cx.report(finding);
            }
        }
    }
}

type Staged = (String, Node);

/// Pairs go over from stage to stage: they keep their shape and their factor, and none is left behind.
fn pairs(earlier: &Staged, before: &Recipe, later: &Staged, recipe: &Recipe, cx: &mut Cx) {
    for part in Part::ALL {
        let settings = [before, recipe].map(|recipe| recipe.train.parts.get(part).lora.as_ref());
        let [Some(old), Some(new)] = settings else { continue };
        let at = format!("train.parts.{}.lora", part.name());
        let mut report = |key: &str, message: String| {
            let place = format!("{at}.{key}");
            let help = format!(
                "pairs keep their shape and their factor in all stages: leave `{at}` out of the later stage, which freezes them, \
                 or repeat what `{}` says",
                earlier.0
            );
            cx.report(
                Finding::error(later.1.place(&place), message)
                    .help(help)
                    .related(format!("`{}` has its pairs", earlier.0), Some(earlier.1.place(&place))),
            );
        };
        if old.weights != new.weights {
            let message = format!(
                "the stage `{}` has pairs out of an adapter, but those that `{}` has go over to it",
                later.0, earlier.0
            );
            report("weights", message);
        } else if old.rank != new.rank {
            let message = format!(
                "the stage `{}` has pairs of rank {}, `{}` of rank {}",
                later.0, new.rank, earlier.0, old.rank
            );
            report("rank", message);
        } else if old.scale() != new.scale() {
            let message = format!(
                "the stage `{}` has pairs with the factor {}, `{}` with {}",
                later.0,
                new.scale(),
                earlier.0,
                old.scale()
            );
            report("alpha", message);
        }
        if let Some(lost) = old.targets.iter().find(|target| !new.targets.contains(target)) {
            report(
                "targets",
                format!("the stage `{}` has no pairs for `{lost}`, `{}` trains some", later.0, earlier.0),
            );
        }
    }
}

/// What a stage trained is no longer what its file has.
fn files(earlier: &Staged, before: &Recipe, later: &Staged, recipe: &Recipe) -> Option<Finding> {
    // Sets of tensors may exclude one another; which those are, only the model tells.
    let part = Part::ALL.into_iter().find(|&part| {
        let (old, new) = (before.train.parts.get(part), recipe.train.parts.get(part));
        let whole = old.trainable && old.tensors.is_empty() && !new.trainable && new.tensors.is_empty();
        whole && new.dtype == Some(KeptIn::File)
    })?;
    let (old, new, part) = (&earlier.0, &later.0, part.name());
    let message =
        format!("the stage `{new}` keeps the part `{part}` as its file has it, but `{old}` trains it");
    let place = later.1.place(&format!("train.parts.{part}.dtype"));
    let help = "keep what was trained in `f32`, or rounded in `bf16`: set `dtype` in the later stage";
    Some(Finding::error(place, message).help(help))
}

/// A held-out picture is in no training batch, also not in one of an earlier stage.
fn held_out(earlier: &Staged, before: &Recipe, later: &Staged, recipe: &Recipe) -> Option<Finding> {
    let (old, new) = (&before.data, &recipe.data);
    let images = |data: &Data| match data.source {
        // Pictures of another seed are other pictures.
        Source::Synthetic { train_images, .. } => Some((data.seed, train_images)),
        Source::EasyVqa {} | Source::Files { .. } | Source::Conversations { .. } => None,
    };
    let files = |data: &Data| match &data.source {
        Source::Files { train, pictures, .. } => Some((train.clone(), pictures.clone())),
        Source::EasyVqa {} | Source::Synthetic { .. } | Source::Conversations { .. } => None,
    };
    let other = old.source.name() != new.source.name()
        || images(old).zip(images(new)).is_some_and(|((old, _), (new, _))| old != new);
    if other || (old.validation == 0.0 && new.validation == 0.0) {
        return None;
    }
    let differ = [
        ("validation", old.validation != new.validation),
        ("seed", old.seed != new.seed),
        ("train_limit", old.train_limit != new.train_limit),
        ("source.train_images", images(old) != images(new)),
        ("source.train", files(old) != files(new)),
    ];
    let (key, _) = differ.into_iter().find(|(_, differ)| *differ)?;
    let place = format!("data.{key}");
    let message = format!(
        "the stages `{}` and `{}` divide the same pictures differently, so that one may train on what the other holds out",
        earlier.0, later.0
    );
    let said = earlier.1.get(&place).map(|node| node.span);
    let finding = Finding::error(later.1.place(&place), message)
        .help(format!("give both the same `{place}`: write it in `[data]`"));
    Some(finding.related(format!("`{}` has its own", earlier.0), said))
}
