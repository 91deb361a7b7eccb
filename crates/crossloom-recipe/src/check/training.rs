//! Data, training and evaluation against each other.

use super::Sections;
use crate::decode::Cx;
use crate::diagnostic::Finding;
use crate::schema::{Data, Eval, KeptIn, Part, Schedule, Source, Split, TopologySpec, Train};
use crate::tree::Node;

/// Checks training and evaluation, as far as they could be read.
pub(super) fn training(root: &Node, sections: &Sections<'_>, cx: &mut Cx) {
    let (data, eval) = (sections.data, sections.eval);
    if let Some(train) = sections.train {
        schedule(root, train, cx);
        types(root, train, cx);
        files(root, train, sections, cx);
        frozen(root, train, sections.topology, cx);
    }
    if let Some(eval) = eval {
        in_between(root, eval, sections, cx);
    }
    if let (Some(data), Some(eval)) = (data, eval)
        && eval.split == Split::Validation
        && data.validation == 0.0
    {
        cx.report(
            Finding::error(root.place("eval.split"), "no pictures are held out for validation")
                .help("set `data.validation`, for example to 0.1, or use `split = \"test\"`"),
        );
    }
}

/// A sample of the questions that is answered in the course of a training.
fn in_between(root: &Node, eval: &Eval, sections: &Sections<'_>, cx: &mut Cx) {
    let Some(every) = eval.every else {
        if eval.sample.is_some() {
            cx.report(
                Finding::warning(root.place("eval.sample"), "`sample` has no effect without `every`")
                    .help("set `eval.every` to the steps between two evaluations, or remove `sample`"),
            );
        }
        return;
    };
    let place = || root.place("eval.every");
    if let Some(steps) = sections.train.map(|train| train.steps).filter(|&steps| every > steps) {
        let message = format!("a sample is answered every {every} steps, but training has only {steps}");
        cx.report(Finding::error(place(), message).help("make `every` at most `train.steps`, or remove it"));
    }
    let Some(Data { source: Source::Conversations { test, .. }, .. }) = sections.data else { return };
    if test.is_none() {
        cx.report(
            Finding::error(place(), "there are no test samples to answer")
                .help("name them as `data.source.test`, or remove `every`"),
        );
    }
    if sections.vision.is_some_and(|vision| vision.anyres.is_some()) {
        cx.report(
            Finding::error(place(), "a model of pictures in tiles is not asked about whole ones")
                .help("remove `every`, or `model.vision.anyres`"),
        );
    }
}

fn schedule(root: &Node, train: &Train, cx: &mut Cx) {
    let warmup = train.warmup_steps();
    if warmup >= train.steps {
        let message = format!("the warm-up takes {warmup} steps, but training has only {}", train.steps);
        cx.report(
            Finding::error(root.place("train.warmup"), message).help("make `warmup` shorter than `steps`"),
        );
    }
    if train.schedule == Schedule::Constant && train.min_lr_ratio != 0.0 {
        let message = "`min_lr_ratio` has no effect with the schedule `constant`";
        cx.report(
            Finding::warning(root.place("train.min_lr_ratio"), message).help("remove it, or use `cosine`"),
        );
    }
}

/// A weight that is trained is `f32`, or small updates would be rounded away.
fn types(root: &Node, train: &Train, cx: &mut Cx) {
    for part in Part::ALL {
        let settings = train.parts.get(part);
        if !settings.keeps() && settings.dtype.is_some() {
            let name = part.name();
            let message =
                format!("the part `{name}` is trained, so its weights are f32 and it has no `dtype`");
            cx.report(Finding::error(root.place(&format!("train.parts.{name}.dtype")), message).help(format!(
                "freeze it with `train.parts.{name}.trainable = false`, or remove `dtype`; `train.precision = \"bf16\"` \
                 computes in bf16 from f32 weights"
            )));
        }
    }
}

/// What is kept as its file has it comes from a file.
fn files(root: &Node, train: &Train, sections: &Sections<'_>, cx: &mut Cx) {
    for part in Part::ALL {
        let settings = train.parts.get(part);
        if !settings.keeps() || settings.dtype != Some(KeptIn::File) {
            continue;
        }
        let own = match part {
            Part::Vision => sections.vision.is_some_and(|vision| vision.weights.is_some()),
            Part::Language => sections.language.is_some_and(|language| language.weights.is_some()),
            Part::Projector | Part::Adapter | Part::Fusion | Part::Gate => false,
        };
        let whole = sections.weights.is_some() && !matches!(part, Part::Adapter | Part::Fusion | Part::Gate);
        if !own && !whole {
            let name = part.name();
            let message =
                format!("the part `{name}` starts from no file, so it cannot be kept as one has it");
            cx.report(
                Finding::error(root.place(&format!("train.parts.{name}.dtype")), message)
                    .help("name the weights it starts from, or keep it in `f32` or `bf16`"),
            );
        }
    }
}

/// Something must be trained. Without an injection there is no gate, and an adapter only where the input has one.
fn frozen(root: &Node, train: &Train, topology: Option<&TopologySpec>, cx: &mut Cx) {
    let exists = |part: &Part| {
        topology.is_none_or(|topology| match part {
            Part::Vision | Part::Projector | Part::Language => true,
            Part::Adapter => topology.injects() || topology.input.learns(),
            Part::Fusion => topology.injections().any(|injection| injection.of.fusion.order().is_none()),
            Part::Gate => topology.injects(),
        })
    };
    if Part::ALL.into_iter().filter(exists).all(|part| !train.parts.get(part).learns()) {
        cx.report(
            Finding::error(root.place("train.parts"), "every part is frozen: there is nothing to train")
                .help("set `trainable = true` for at least one part, or give it `lora`"),
        );
    }
}
