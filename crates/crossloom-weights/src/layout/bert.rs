//! The names of BERT, alone or within a model that has more. What is built on its last states is none of ours.

use super::Layout;

pub(super) const BERT: Layout = Layout {
    name: "BERT",
    whole: false,
    dinov2: false,
    rows: &[&[
        (&["embeddings.*"], &["text_encoder.embeddings.*"], &[]),
        (&["encoder.*"], &["text_encoder.encoder.*"], &[]),
        (&["pooler.*"], &[], &[]),
    ]],
};

pub(super) const WITHIN: Layout = Layout {
    name: "BERT within another model",
    whole: false,
    dinov2: false,
    rows: &[&[
        (&["bert.embeddings.*"], &["text_encoder.embeddings.*"], &[]),
        (&["bert.encoder.*"], &["text_encoder.encoder.*"], &[]),
        (&["bert.pooler.*"], &[], &[]),
        (&["cls.*"], &[], &[]),
    ]],
};
