//! Layouts: how files keep the tensors that crossloom's builder names as `llava-hf` files do.
//!
//! A layout is a table of data. Each row says how tensors are called in a file, how we call them, and which operators lead from
//! the one to the other. Names have `{n}` for the number of a layer, `{adapter}` or `{corner}` for an adapter of what the model
//! injects, which files number in the order of its wiring, and end in `*` where more may follow; the first row that fits is taken, in
//! either direction. Every operator has an inverse, so that a table loads and saves. A new layout is a new table, and no code;
//! `tests` prove that each is a bijection of names, and that what is loaded is saved as it was.

mod bert;
mod extents;
mod granite;
mod operator;
mod pattern;
mod qwen3_vl;
#[cfg(test)]
mod tests;

use crossloom_ir::TensorType;
use crossloom_recipe::LanguageFamily;

use crate::Architecture;
pub use extents::Dims;
pub(crate) use granite::GRANITE_VISION;
use operator::Way;
pub use operator::{Operator, Tensor};
pub(crate) use qwen3_vl::QWEN3_VL;

/// Names in the file, our names, and what leads from those to these; none where the tensor is the same. All names of a row have
/// the same `{n}`, `{adapter}` or `{corner}`, and `*`.
type Row = (&'static [&'static str], &'static [&'static str], &'static [Operator]);

/// A table of names and operators.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// What it is called.
    pub name: &'static str,
    /// Whether it is that of models with an encoder, a projector and a decoder, or that of one of these alone.
    pub whole: bool,
    /// Whether its encoder has DINOv2's names.
    pub dinov2: bool,
    /// Groups of rows, some of which several tables share.
    rows: &'static [&'static [Row]],
}

/// Rows that several layouts have: what is called as we call it, and a decoder that is called as it is alone.
const OUR_PROJECTOR: Row = (&["multi_modal_projector.*"], &["multi_modal_projector.*"], &[]);
const OUR_NEWLINE: Row = (&["image_newline"], &["image_newline"], &[]);
const OUR_EMBEDDINGS: Row = (EMBEDDINGS, EMBEDDINGS, &[Operator::Tie]);
const OUR_DECODER: Row = (&["language_model.*"], &["language_model.*"], &[]);
const ALONE_EMBEDDINGS: Row =
    (&["model.embed_tokens.weight", "lm_head.weight"], EMBEDDINGS, &[Operator::Tie]);
const ALONE_DECODER: Row = (&["model.*"], &["language_model.model.*"], &[]);

/// What follows the encoder and its projectors in models that hold all of that in one inner model.
const INNER_REST: &[Row] = &[
    (&["model.image_newline"], &["image_newline"], &[]),
    (&["model.language_model.embed_tokens.weight", "lm_head.weight"], EMBEDDINGS, &[Operator::Tie]),
    (&["model.language_model.*"], &["language_model.model.*"], &[]),
];

/// Our names of the embeddings and of the head that may be tied to them.
const EMBEDDINGS: &[&str] = &["language_model.model.embed_tokens.weight", "language_model.lm_head.weight"];

/// DINOv2's encoder, all of whose names begin so.
macro_rules! dinov2 {
    ($tower:literal) => {
        &[
            (
                &[concat!($tower, "embeddings.cls_token")],
                &["vision_tower.vision_model.embeddings.class_embedding"],
                &[Operator::Reshape("1 1 d", "d")],
            ),
            (
                &[concat!($tower, "embeddings.position_embeddings")],
                &["vision_tower.vision_model.embeddings.position_embedding.weight"],
                &[Operator::Reshape("1 s d", "s d")],
            ),
            (
                &[concat!($tower, "embeddings.patch_embeddings.projection.*")],
                &["vision_tower.vision_model.embeddings.patch_embedding.*"],
                &[],
            ),
            (
                &[concat!($tower, "encoder.layer.{n}.norm1.*")],
                &["vision_tower.vision_model.encoder.layers.{n}.layer_norm1.*"],
                &[],
            ),
            (
                &[concat!($tower, "encoder.layer.{n}.norm2.*")],
                &["vision_tower.vision_model.encoder.layers.{n}.layer_norm2.*"],
                &[],
            ),
            (
                &[concat!($tower, "encoder.layer.{n}.attention.attention.query.*")],
                &["vision_tower.vision_model.encoder.layers.{n}.self_attn.q_proj.*"],
                &[],
            ),
            (
                &[concat!($tower, "encoder.layer.{n}.attention.attention.key.*")],
                &["vision_tower.vision_model.encoder.layers.{n}.self_attn.k_proj.*"],
                &[],
            ),
            (
                &[concat!($tower, "encoder.layer.{n}.attention.attention.value.*")],
                &["vision_tower.vision_model.encoder.layers.{n}.self_attn.v_proj.*"],
                &[],
            ),
            (
                &[concat!($tower, "encoder.layer.{n}.attention.output.dense.*")],
                &["vision_tower.vision_model.encoder.layers.{n}.self_attn.out_proj.*"],
                &[],
            ),
            (
                &[concat!($tower, "encoder.layer.{n}.layer_scale1.lambda1")],
                &["vision_tower.vision_model.encoder.layers.{n}.layer_scale1.lambda1"],
                &[],
            ),
            (
                &[concat!($tower, "encoder.layer.{n}.layer_scale2.lambda1")],
                &["vision_tower.vision_model.encoder.layers.{n}.layer_scale2.lambda1"],
                &[],
            ),
            (
                &[concat!($tower, "encoder.layer.{n}.mlp.*")],
                &["vision_tower.vision_model.encoder.layers.{n}.mlp.*"],
                &[],
            ),
            (&[concat!($tower, "layernorm.*")], &["vision_tower.vision_model.post_layernorm.*"], &[]),
        ]
    };
}

/// LLaVA as published folders have it.
pub(crate) const LLAVA: Layout = Layout {
    name: "llava-hf",
    whole: true,
    dinov2: false,
    rows: &[&[
        (&["vision_tower.*"], &["vision_tower.*"], &[]),
        OUR_PROJECTOR,
        OUR_NEWLINE,
        OUR_EMBEDDINGS,
        OUR_DECODER,
    ]],
};

/// A language model, or an encoder that is not DINOv2, alone.
pub(crate) const PART: Layout = Layout {
    name: "one part alone",
    whole: false,
    dinov2: false,
    rows: &[&[(&["vision_model.*"], &["vision_tower.vision_model.*"], &[]), ALONE_EMBEDDINGS, ALONE_DECODER]],
};

/// DINOv2 alone.
pub(crate) const DINOV2: Layout = Layout { name: "DINOv2", whole: false, dinov2: true, rows: &[dinov2!("")] };

/// LLaVA of DINOv2.
pub(crate) const LLAVA_DINOV2: Layout = Layout {
    name: "llava-hf, DINOv2",
    whole: true,
    dinov2: true,
    rows: &[dinov2!("vision_tower."), &[OUR_PROJECTOR, OUR_NEWLINE, OUR_EMBEDDINGS, OUR_DECODER]],
};

/// All layouts of folders, the commonest first.
pub const LAYOUTS: &[Layout] = &[
    LLAVA,
    Layout {
        name: "transformers since 4.52",
        whole: true,
        dinov2: false,
        rows: &[
            &[
                (&["model.vision_tower.*"], &["vision_tower.*"], &[]),
                (&["model.multi_modal_projector.*"], &["multi_modal_projector.*"], &[]),
            ],
            granite::PROJECTORS,
            INNER_REST,
        ],
    },
    Layout {
        name: "lmms-lab",
        whole: true,
        dinov2: false,
        rows: &[&[
            (&["model.vision_tower.vision_tower.*"], &["vision_tower.*"], &[]),
            (&["model.mm_projector.0.*"], &["multi_modal_projector.linear_1.*"], &[]),
            (&["model.mm_projector.2.*"], &["multi_modal_projector.linear_2.*"], &[]),
            (&["model.image_newline"], &["image_newline"], &[]),
            ALONE_EMBEDDINGS,
            ALONE_DECODER,
        ]],
    },
    PART,
    Layout {
        name: "transformers since 5",
        whole: true,
        dinov2: false,
        rows: &[&[
            (&["vision_tower.*"], &["vision_tower.vision_model.*"], &[]),
            OUR_PROJECTOR,
            OUR_NEWLINE,
            OUR_EMBEDDINGS,
            OUR_DECODER,
        ]],
    },
    Layout {
        name: "an encoder alone, since transformers 5",
        whole: false,
        dinov2: false,
        rows: &[&[
            (&["embeddings.*"], &["vision_tower.vision_model.embeddings.*"], &[]),
            (&["encoder.*"], &["vision_tower.vision_model.encoder.*"], &[]),
            (&["pre_layrnorm.*"], &["vision_tower.vision_model.pre_layrnorm.*"], &[]),
            (&["post_layernorm.*"], &["vision_tower.vision_model.post_layernorm.*"], &[]),
        ]],
    },
    DINOV2,
    LLAVA_DINOV2,
    QWEN3_VL,
    GRANITE_VISION,
    bert::BERT,
    bert::WITHIN,
];

/// DINOv2's encoder in ONNX, see `format/onnx.rs` for the names. What is built on it is none of ours.
pub(crate) const ONNX: Layout = Layout {
    name: "onnx, DINOv2",
    whole: false,
    dinov2: true,
    rows: &[&[
        (
            &["backbone.embeddings.cls_token"],
            &["vision_tower.vision_model.embeddings.class_embedding"],
            &[Operator::Reshape("1 1 d", "d")],
        ),
        // The exporter resamples the grid, so that it has the class token's position apart.
        (
            &["backbone.embeddings.Concat_6", "backbone.embeddings.Reshape_1"],
            &["vision_tower.vision_model.embeddings.position_embedding.weight"],
            &[Operator::Reshape("1 n d", "n d"), Operator::Concatenate("1 a")],
        ),
        (
            &["backbone.embeddings.patch_embeddings.projection.*"],
            &["vision_tower.vision_model.embeddings.patch_embedding.*"],
            &[],
        ),
        (
            &["backbone.encoder.layer.{n}.attention.attention.query.matmul"],
            &["vision_tower.vision_model.encoder.layers.{n}.self_attn.q_proj.weight"],
            &[Operator::Transpose],
        ),
        (
            &["backbone.encoder.layer.{n}.attention.attention.query.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.self_attn.q_proj.*"],
            &[],
        ),
        (
            &["backbone.encoder.layer.{n}.attention.attention.key.matmul"],
            &["vision_tower.vision_model.encoder.layers.{n}.self_attn.k_proj.weight"],
            &[Operator::Transpose],
        ),
        (
            &["backbone.encoder.layer.{n}.attention.attention.key.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.self_attn.k_proj.*"],
            &[],
        ),
        (
            &["backbone.encoder.layer.{n}.attention.attention.value.matmul"],
            &["vision_tower.vision_model.encoder.layers.{n}.self_attn.v_proj.weight"],
            &[Operator::Transpose],
        ),
        (
            &["backbone.encoder.layer.{n}.attention.attention.value.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.self_attn.v_proj.*"],
            &[],
        ),
        (
            &["backbone.encoder.layer.{n}.attention.output.dense.matmul"],
            &["vision_tower.vision_model.encoder.layers.{n}.self_attn.out_proj.weight"],
            &[Operator::Transpose],
        ),
        (
            &["backbone.encoder.layer.{n}.attention.output.dense.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.self_attn.out_proj.*"],
            &[],
        ),
        (
            &["backbone.encoder.layer.{n}.mlp.fc1.matmul"],
            &["vision_tower.vision_model.encoder.layers.{n}.mlp.fc1.weight"],
            &[Operator::Transpose],
        ),
        (
            &["backbone.encoder.layer.{n}.mlp.fc1.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.mlp.fc1.*"],
            &[],
        ),
        (
            &["backbone.encoder.layer.{n}.mlp.fc2.matmul"],
            &["vision_tower.vision_model.encoder.layers.{n}.mlp.fc2.weight"],
            &[Operator::Transpose],
        ),
        (
            &["backbone.encoder.layer.{n}.mlp.fc2.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.mlp.fc2.*"],
            &[],
        ),
        (
            &["backbone.encoder.layer.{n}.norm1.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.layer_norm1.*"],
            &[],
        ),
        (
            &["backbone.encoder.layer.{n}.layer_scale1.lambda1"],
            &["vision_tower.vision_model.encoder.layers.{n}.layer_scale1.lambda1"],
            &[],
        ),
        (
            &["backbone.encoder.layer.{n}.norm2.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.layer_norm2.*"],
            &[],
        ),
        (
            &["backbone.encoder.layer.{n}.layer_scale2.lambda1"],
            &["vision_tower.vision_model.encoder.layers.{n}.layer_scale2.lambda1"],
            &[],
        ),
        (&["backbone.layernorm.*"], &["vision_tower.vision_model.post_layernorm.*"], &[]),
        (&["decoder.*"], &[], &[]),
    ]],
};

/// The layout of GGUF files of an architecture. Those of Llama have the rows of queries and keys in pairs.
pub(crate) fn of_gguf(architecture: &Architecture) -> &'static Layout {
    match architecture.language.as_ref().map(|language| language.family) {
        Some(LanguageFamily::Llama) => &GGUF_LLAMA,
        _ => &GGUF,
    }
}

/// What GGUF files call a head that is not the word embedding.
pub(crate) const GGUF_HEAD: &str = "output.weight";

const GGUF_LLAMA: Layout = Layout {
    name: "gguf, Llama",
    whole: false,
    dinov2: false,
    rows: &[
        &[
            GGUF_WORDS,
            GGUF_NORM,
            (
                &["blk.{n}.attn_q.*"],
                &["language_model.model.layers.{n}.self_attn.q_proj.*"],
                &[Operator::Rope],
            ),
            (
                &["blk.{n}.attn_k.*"],
                &["language_model.model.layers.{n}.self_attn.k_proj.*"],
                &[Operator::Rope],
            ),
        ],
        GGUF_BLOCK,
    ],
};

const GGUF: Layout = Layout {
    name: "gguf",
    whole: false,
    dinov2: false,
    rows: &[
        &[
            GGUF_WORDS,
            GGUF_NORM,
            (&["blk.{n}.attn_q.*"], &["language_model.model.layers.{n}.self_attn.q_proj.*"], &[]),
            (&["blk.{n}.attn_k.*"], &["language_model.model.layers.{n}.self_attn.k_proj.*"], &[]),
            (&["blk.{n}.attn_q_norm.*"], &["language_model.model.layers.{n}.self_attn.q_norm.*"], &[]),
            (&["blk.{n}.attn_k_norm.*"], &["language_model.model.layers.{n}.self_attn.k_norm.*"], &[]),
        ],
        GGUF_BLOCK,
    ],
};

const GGUF_WORDS: Row = (
    &["token_embd.weight", GGUF_HEAD],
    &["language_model.model.embed_tokens.weight", "language_model.lm_head.weight"],
    &[Operator::Tie],
);
const GGUF_NORM: Row = (&["output_norm.*"], &["language_model.model.norm.*"], &[]);
/// What all language models have in each layer, but for queries and keys.
const GGUF_BLOCK: &[Row] = &[
    (&["blk.{n}.attn_norm.*"], &["language_model.model.layers.{n}.input_layernorm.*"], &[]),
    (&["blk.{n}.attn_v.*"], &["language_model.model.layers.{n}.self_attn.v_proj.*"], &[]),
    (&["blk.{n}.attn_output.*"], &["language_model.model.layers.{n}.self_attn.o_proj.*"], &[]),
    (&["blk.{n}.ffn_norm.*"], &["language_model.model.layers.{n}.post_attention_layernorm.*"], &[]),
    (&["blk.{n}.ffn_gate.*"], &["language_model.model.layers.{n}.mlp.gate_proj.*"], &[]),
    (&["blk.{n}.ffn_up.*"], &["language_model.model.layers.{n}.mlp.up_proj.*"], &[]),
    (&["blk.{n}.ffn_down.*"], &["language_model.model.layers.{n}.mlp.down_proj.*"], &[]),
];

/// Every table there is.
pub(crate) fn all() -> impl Iterator<Item = &'static Layout> {
    LAYOUTS.iter().chain([&GGUF_LLAMA, &GGUF, &ONNX])
}

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
    "head.",
    // DINOv2's stand-in for patches that are hidden while it is pretrained.
    ".mask_token",
];

/// Tensors of a file and those of ours that they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Their names in the file, in the order of the table.
    pub file: Vec<String>,
    /// Our names; none for a tensor that another one of the file stands for already.
    pub ours: Vec<String>,
    operators: &'static [Operator],
}

/// Whose names are looked for.
#[derive(Clone, Copy)]
enum Side {
    File,
    Ours,
}

impl Layout {
    /// What a tensor of a file is to us; none if no row is about it.
    pub fn of_file(&self, name: &str, dims: &Dims) -> Option<Match> {
        self.find(name, Side::File, dims)
    }

    /// What a tensor of ours is in a file; none if no row is about it, or the file has another one in its place.
    pub fn of_ours(&self, name: &str, dims: &Dims) -> Option<Match> {
        self.find(name, Side::Ours, dims).filter(|found| !found.ours.is_empty())
    }

    fn find(&self, name: &str, side: Side, dims: &Dims) -> Option<Match> {
        let numbered = [(pattern::ADAPTER, &dims.adapters), (pattern::CORNER, &dims.corners)];
        let written = |row: &Row, mark: &str, number: &str, named: &str| -> [Vec<String>; 2] {
            let of = |patterns: &[&str], by: &str| patterns.iter().map(|p| p.replace(mark, by)).collect();
            [of(row.0, number), of(row.1, named)]
        };
        let mut rows = self.rows.iter().copied().flatten().flat_map(|row| {
            let of = numbered.iter().find(|(mark, _)| row.0.iter().any(|pattern| pattern.contains(mark)));
            let all: Vec<[Vec<String>; 2]> = match of {
                None => vec![written(row, pattern::ADAPTER, "", "")],
                Some((mark, names)) => {
                    let each = names.iter().enumerate();
                    each.map(|(number, name)| written(row, mark, &number.to_string(), name)).collect()
                }
            };
            all.into_iter().map(move |[file, ours]| (row, file, ours))
        });
        rows.find_map(|(row, in_file, in_ours)| {
            let patterns = match side {
                Side::File => &in_file,
                Side::Ours => &in_ours,
            };
            let taken = patterns.iter().map(|pattern| pattern::take(pattern, name));
            let (place, taken) = taken.enumerate().find_map(|(place, taken)| Some((place, taken?)))?;
            let fill = |patterns: &[String]| {
                patterns.iter().map(|pattern| pattern::fill(pattern, taken)).collect::<Vec<_>>()
            };
            let (mut file, mut ours, operators) = (fill(&in_file), fill(&in_ours), row.2);
            if operators.contains(&Operator::Tie) {
                (file, ours) = (vec![file.swap_remove(place)], vec![ours.swap_remove(place)]);
                if dims.tied && place > 0 {
                    ours.clear();
                }
            }
            Some(Match { file, ours, operators })
        })
    }

    /// The first of the file's tensors of which ours is made, in a model whose head is its own.
    pub fn to_file(&self, ours: &str) -> Option<String> {
        self.of_ours(ours, &Dims::default())?.file.into_iter().next()
    }
}

impl Match {
    /// Whether the file's tensor is ours as it lies there.
    pub fn is_as_it_lies(&self) -> bool {
        self.operators.iter().all(|operator| *operator == Operator::Tie)
    }

    /// The types of our tensors, from those of the file's.
    ///
    /// # Errors
    /// A type or a shape that an operator has no meaning for.
    pub fn types(&self, file: &[TensorType], dims: &Dims) -> Result<Vec<TensorType>, String> {
        let mut steps = self.operators.iter();
        steps.try_fold(file.to_vec(), |types, operator| operator.types(Way::Load, &types, dims))
    }

    /// Our tensors, from the file's.
    ///
    /// # Errors
    /// A type or a shape that an operator has no meaning for.
    pub fn load<'a>(&self, file: Vec<Tensor<'a>>, dims: &Dims) -> Result<Vec<Tensor<'a>>, String> {
        let mut steps = self.operators.iter();
        steps.try_fold(file, |tensors, operator| operator.apply(Way::Load, tensors, dims))
    }

    /// The file's tensors, from ours: what [`Self::load`] would make these of.
    ///
    /// # Errors
    /// A type or a shape that an operator has no meaning for.
    pub fn save<'a>(&self, ours: Vec<Tensor<'a>>, dims: &Dims) -> Result<Vec<Tensor<'a>>, String> {
        let mut steps = self.operators.iter().rev();
        steps.try_fold(ours, |tensors, operator| operator.apply(Way::Save, tensors, dims))
    }
}

/// Whether a tensor of a file is none that a model of ours has.
pub fn is_left_out(in_file: &str) -> bool {
    LEFT_OUT.iter().any(|part| match part.strip_prefix('.') {
        Some(_) => in_file.ends_with(part),
        None => in_file.starts_with(part) || in_file.contains(&format!(".{part}")),
    })
}
