//! Settings that a stream of conversations has another meaning for, or none.

use super::Sections;
use crate::decode::Cx;
use crate::diagnostic::Finding;
use crate::schema::{Source, Split};
use crate::tree::Node;

/// Checks a recipe that is trained on conversations.
pub(super) fn conversations(root: &Node, sections: &Sections<'_>, cx: &mut Cx) {
    let Some(data) = sections.data else { return };
    let Source::Conversations { test, lengths, views, samples_per_row, .. } = &data.source else { return };
    let of_pictures = [
        (
            "questions_per_sequence",
            data.questions_per_sequence != 1,
            "`data.source.samples_per_row` says how many samples share a row",
        ),
        ("open_share", data.open_share.is_some(), "remove it: all answers of a conversation are learned"),
        (
            "validation",
            data.validation != 0.0,
            "remove it: no sample of a stream is held out; `test` samples are never trained on",
        ),
        ("train_limit", data.train_limit.is_some(), "remove it, and name fewer files"),
    ];
    for (key, set, help) in of_pictures {
        if set {
            let message = format!(
                "`data.{key}` is for questions about single pictures, and conversations are trained on"
            );
            cx.report(Finding::error(root.place(&format!("data.{key}")), message).help(help));
        }
    }
    if let (Some(text), Some(long)) = (data.text_positions, lengths.iter().max())
        && *long > text
    {
        let message =
            format!("rows of {long} positions for text are longer than `data.text_positions`, {text}");
        let help = "`lengths` are those of shorter rows; `text_positions` is that of the longest";
        cx.report(Finding::error(root.place("data.source.lengths"), message).help(help));
    }
    if test.is_none() && sections.eval.is_some_and(|eval| eval.split == Split::Test && eval.limit.is_some()) {
        let message = "`eval.limit` limits test samples, and there are none";
        let help = "name them as `data.source.test`, or remove it";
        cx.report(Finding::error(root.place("eval.limit"), message).help(help));
    }
    let Some(topology) = sections.topology else { return };
    for (path, why) in topology.needs_one_picture() {
        let message =
            format!("conversations have several pictures, one, or none, and cannot be read so: {why}");
        let help = "change it, or train on questions about single pictures: `data.source.kind = \"files\"`";
        cx.report(Finding::error(root.place(path), message).help(help));
    }
    let turned = sections.language.is_some_and(|language| language.rope_sections.is_some());
    if turned && views.iter().any(|&views| views > 1) {
        let message = "visual tokens are turned by row and column of the one picture of a row";
        let help = "write `views = [1]`";
        cx.report(Finding::error(root.place("data.source.views"), message).help(help));
    }
    let pooled = std::iter::once(&topology.main).chain(topology.named.values());
    if *samples_per_row > 1 && pooled.into_iter().any(|injection| injection.pool().is_some()) {
        let message = format!(
            "a gate pools over its row, which {samples_per_row} samples share: each would see the others"
        );
        let help = "write `data.source.samples_per_row = 1`";
        cx.report(Finding::error(root.place("data.source.samples_per_row"), message).help(help));
    }
}
