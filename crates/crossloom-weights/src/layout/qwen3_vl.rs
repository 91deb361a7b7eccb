//! The names of Qwen3-VL: an encoder with its three projections as one, mergers that are numbered as the taps they belong to.

use super::{EMBEDDINGS, Layout, Operator};

pub(crate) const QWEN3_VL: Layout = Layout {
    name: "Qwen3-VL",
    whole: true,
    dinov2: false,
    rows: &[&[
        (
            &["model.visual.patch_embed.proj.*"],
            &["vision_tower.vision_model.embeddings.patch_embedding.*"],
            &[],
        ),
        (
            &["model.visual.pos_embed.weight"],
            &["vision_tower.vision_model.embeddings.position_embedding.weight"],
            &[],
        ),
        (
            &["model.visual.blocks.{n}.norm1.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.layer_norm1.*"],
            &[],
        ),
        (
            &["model.visual.blocks.{n}.norm2.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.layer_norm2.*"],
            &[],
        ),
        (
            &["model.visual.blocks.{n}.attn.qkv.*"],
            &[
                "vision_tower.vision_model.encoder.layers.{n}.self_attn.q_proj.*",
                "vision_tower.vision_model.encoder.layers.{n}.self_attn.k_proj.*",
                "vision_tower.vision_model.encoder.layers.{n}.self_attn.v_proj.*",
            ],
            &[Operator::Split("a a a")],
        ),
        (
            &["model.visual.blocks.{n}.attn.proj.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.self_attn.out_proj.*"],
            &[],
        ),
        (
            &["model.visual.blocks.{n}.mlp.linear_fc1.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.mlp.fc1.*"],
            &[],
        ),
        (
            &["model.visual.blocks.{n}.mlp.linear_fc2.*"],
            &["vision_tower.vision_model.encoder.layers.{n}.mlp.fc2.*"],
            &[],
        ),
        (&["model.visual.merger.norm.*"], &["multi_modal_projector.norm.*"], &[]),
        (&["model.visual.merger.linear_fc1.*"], &["multi_modal_projector.linear_1.*"], &[]),
        (&["model.visual.merger.linear_fc2.*"], &["multi_modal_projector.linear_2.*"], &[]),
        (
            &["model.visual.deepstack_merger_list.{adapter}.norm.*"],
            &["injection.adapter.{adapter}.norm.*"],
            &[],
        ),
        (
            &["model.visual.deepstack_merger_list.{adapter}.linear_fc1.*"],
            &["injection.adapter.{adapter}.projector.linear_1.*"],
            &[],
        ),
        (
            &["model.visual.deepstack_merger_list.{adapter}.linear_fc2.*"],
            &["injection.adapter.{adapter}.projector.linear_2.*"],
            &[],
        ),
        (&["model.language_model.embed_tokens.weight", "lm_head.weight"], EMBEDDINGS, &[Operator::Tie]),
        (&["model.language_model.*"], &["language_model.model.*"], &[]),
    ]],
};
