//! Layouts: the names under which files keep the tensors that crossloom's builder names as `llava-hf` files do.
//!
//! A layout is a table of the first parts of names; translation replaces the first one that fits, in either direction. A new
//! layout is a new table. `tests` prove that each is a bijection on the names that a model has.

/// First parts of names in a file, and what crossloom calls them. Earlier rows win, so that a longer one comes first.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// What it is called.
    pub name: &'static str,
    /// Whether it is that of models with an encoder, a projector and a decoder, or that of one of these alone.
    pub whole: bool,
    prefixes: &'static [(&'static str, &'static str)],
}

/// All layouts, the commonest first.
pub const LAYOUTS: &[Layout] = &[
    Layout {
        name: "llava-hf",
        whole: true,
        prefixes: &[
            ("vision_tower.", "vision_tower."),
            ("multi_modal_projector.", "multi_modal_projector."),
            ("image_newline", "image_newline"),
            ("language_model.", "language_model."),
        ],
    },
    Layout {
        name: "transformers since 4.52",
        whole: true,
        prefixes: &[
            ("model.vision_tower.", "vision_tower."),
            ("model.multi_modal_projector.", "multi_modal_projector."),
            ("model.image_newline", "image_newline"),
            ("model.language_model.", "language_model.model."),
            ("lm_head.", "language_model.lm_head."),
        ],
    },
    Layout {
        name: "lmms-lab",
        whole: true,
        prefixes: &[
            ("model.vision_tower.vision_tower.", "vision_tower."),
            ("model.mm_projector.0.", "multi_modal_projector.linear_1."),
            ("model.mm_projector.2.", "multi_modal_projector.linear_2."),
            ("model.image_newline", "image_newline"),
            ("model.", "language_model.model."),
            ("lm_head.", "language_model.lm_head."),
        ],
    },
    Layout {
        name: "one part alone",
        whole: false,
        prefixes: &[
            ("vision_model.", "vision_tower.vision_model."),
            ("model.", "language_model.model."),
            ("lm_head.", "language_model.lm_head."),
        ],
    },
];

/// Tensors of a file that are no weights: what they hold is computed from positions alone, or is part of a model that is not
/// read. Told as left out, and never asked for.
const LEFT_OUT: &[&str] = &[
    ".position_ids",
    ".rotary_emb.inv_freq",
    // The towers of text beside CLIP's and SigLIP's, and what joins the two.
    "text_model.",
    "visual_projection.",
    "text_projection.",
    "logit_scale",
    "logit_bias",
    // SigLIP's pooling by attention.
    "vision_model.head.",
];

impl Layout {
    /// What crossloom calls a tensor of a file.
    pub fn to_ours(&self, in_file: &str) -> Option<String> {
        swapped(in_file, self.prefixes.iter().map(|&(file, ours)| (file, ours)))
    }

    /// What a file calls a tensor of crossloom's.
    pub fn to_file(&self, ours: &str) -> Option<String> {
        swapped(ours, self.prefixes.iter().map(|&(file, ours)| (ours, file)))
    }
}

fn swapped(name: &str, mut rows: impl Iterator<Item = (&'static str, &'static str)>) -> Option<String> {
    rows.find_map(|(from, to)| Some(format!("{to}{}", name.strip_prefix(from)?)))
}

/// Whether a tensor of a file is none that a model of ours has.
pub fn is_left_out(in_file: &str) -> bool {
    LEFT_OUT.iter().any(|part| match part.strip_prefix('.') {
        Some(_) => in_file.ends_with(part),
        None => in_file.starts_with(part) || in_file.contains(&format!(".{part}")),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// Names that a model of ours can have.
    fn ours() -> impl Strategy<Value = String> {
        prop_oneof![
            (0_usize..40)
                .prop_map(|n| format!("vision_tower.vision_model.encoder.layers.{n}.mlp.fc1.weight")),
            (0_usize..40).prop_map(|n| format!("language_model.model.layers.{n}.self_attn.q_proj.bias")),
            (1_usize..3).prop_map(|n| format!("multi_modal_projector.linear_{n}.weight")),
            Just("vision_tower.vision_model.embeddings.patch_embedding.weight".to_owned()),
            Just("language_model.model.embed_tokens.weight".to_owned()),
            Just("language_model.model.norm.weight".to_owned()),
            Just("language_model.lm_head.weight".to_owned()),
            Just("image_newline".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn every_layout_leads_there_and_back(name in ours()) {
            for layout in LAYOUTS {
                let Some(file) = layout.to_file(&name) else {
                    // A part that stands alone has no projector.
                    prop_assert_eq!(layout.name, "one part alone");
                    prop_assert!(name.starts_with("multi_modal") || name.starts_with("image"));
                    continue;
                };
                prop_assert_eq!(layout.to_ours(&file), Some(name.clone()), "{} in {}", &file, layout.name);
            }
        }
    }

    #[test]
    fn names_are_those_of_published_files() {
        let names =
            |ours: &str| LAYOUTS.iter().map(|l| l.to_file(ours).unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!(
            names("language_model.lm_head.weight"),
            ["language_model.lm_head.weight", "lm_head.weight", "lm_head.weight", "lm_head.weight"]
        );
        assert_eq!(
            names("vision_tower.vision_model.pre_layrnorm.bias"),
            [
                "vision_tower.vision_model.pre_layrnorm.bias",
                "model.vision_tower.vision_model.pre_layrnorm.bias",
                "model.vision_tower.vision_tower.vision_model.pre_layrnorm.bias",
                "vision_model.pre_layrnorm.bias",
            ]
        );
        assert_eq!(names("multi_modal_projector.linear_2.bias")[2], "model.mm_projector.2.bias");
    }

    #[test]
    fn what_is_no_weight_is_left_out_and_nothing_else() {
        for name in
            ["vision_model.embeddings.position_ids", "text_model.final_layer_norm.bias", "logit_scale"]
        {
            assert!(is_left_out(name), "{name}");
        }
        for name in ["model.norm.weight", "vision_model.post_layernorm.bias", "language_model.lm_head.weight"]
        {
            assert!(!is_left_out(name), "{name}");
        }
    }
}
