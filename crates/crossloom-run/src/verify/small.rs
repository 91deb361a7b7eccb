//! A recipe at its real depth, with widths scaled down: all that its wiring depends on stays.

use crossloom_recipe::{
    Adapter, Conditioning, Fusion, Gate, Injection, Input, LayerWeights, Part, Precision, Recipe, TapSource,
};

/// Words of a vocabulary whose size the recipe leaves to the tokenizer.
pub(crate) const VOCAB: usize = 12;

/// The recipe with as many blocks and layers, taps and points, and small widths: heads keep their groups, blocks of patches and
/// windows their proportions, low-rank branches their scale. Weights are random and `f32`.
pub(crate) fn small(recipe: &Recipe) -> Recipe {
    let mut small = recipe.clone();
    model(&mut small);
    let topology = &mut small.topology;
    topology.injections_mut().for_each(injection);
    if let Conditioning::Sentence { width, .. } | Conditioning::Precomputed { width, .. } =
        &mut topology.conditioning
    {
        *width = (*width).min(6);
    }
    match &mut topology.input {
        Input::Tokens(of) => of.pool = of.pool.min(2),
        Input::Weighted(of) => match &mut of.weights {
            LayerWeights::Question { hidden, .. } => *hidden = (*hidden).min(6),
            LayerWeights::Allocator { heads, .. } => *heads = (*heads).min(2),
            LayerWeights::Uniform {} | LayerWeights::Static {} => {}
        },
        Input::Windows(of) => (of.hidden, of.heads) = (8, of.heads.min(2)),
        Input::Mixture(of) => of.width = of.width.min(6),
        Input::None | Input::Channels(_) => {}
    }
    for source in topology.sources.values_mut() {
        if let TapSource::MmFuser(of) = source {
            (of.heads, of.points) = (of.heads.min(2), of.points.min(2));
        }
    }
    small.train.precision = Precision::F32;
    small.train.accumulate = 1;
    for part in Part::ALL {
        let settings = small.train.parts.get_mut(part);
        settings.dtype = None;
        if let Some(lora) = &mut settings.lora {
            let scale = lora.alpha / lora.rank as f64;
            lora.rank = lora.rank.min(2);
            lora.alpha = scale * lora.rank as f64;
        }
    }
    small
}

fn injection(injection: &mut Injection) {
    if let Adapter::Amp { rank, alpha, .. } = &mut injection.adapter {
        let scale = *alpha / *rank as f64;
        *rank = (*rank).min(2);
        *alpha = scale * *rank as f64;
    }
    if let (Adapter::Windows { hidden }, Fusion::Windows(of)) =
        (&mut injection.adapter, &mut injection.fusion)
    {
        (*hidden, of.heads) = (8, of.heads.min(2));
    }
    if let Gate::Agf(agf) = &mut injection.gate {
        agf.heads = agf.heads.min(2);
    }
    if let Fusion::CrossAttention(of) = &mut injection.fusion {
        let groups = (of.heads / of.kv_heads.max(1)).max(1);
        of.kv_heads = of.kv_heads.min(2);
        of.heads = groups * of.kv_heads;
        (of.head_dim, of.mlp) = (4, of.mlp.min(12));
    }
}

fn model(small: &mut Recipe) {
    let model = &mut small.model;
    model.weights = None;
    let projector = &mut model.projector;
    let windows = projector.windows();
    // Patches along a side of what is read as one: a block that is merged, or a window.
    let unit = match windows {
        Some(of) => {
            let queries = of.queries.min(2);
            let window = queries * (of.window / of.queries.max(1)).max(1);
            (projector.window, projector.queries, projector.heads) = (Some(window), Some(queries), Some(2));
            window
        }
        None => projector.merge,
    };
    projector.hidden = 12;
    let grid = 2 * unit;

    let vision = &mut model.vision;
    (vision.weights, vision.preset) = (None, None);
    (vision.patch_size, vision.image_size) = (2, 2 * grid);
    vision.position_grid = vision.position_grid.map(|_| grid + 1);
    (vision.heads, vision.hidden, vision.mlp) = (2, 8, 12);

    let language = &mut model.language;
    (language.weights, language.preset) = (None, None);
    let groups = (language.heads / language.kv_heads.max(1)).max(1);
    language.kv_heads = language.kv_heads.min(2);
    language.heads = groups * language.kv_heads;
    if let Some(sections) = &mut language.rope_sections {
        *sections = [2, 1, 1];
        language.head_dim = 8;
    } else {
        language.head_dim = 4;
    }
    // The attention's multiplier belongs to the head's width.
    (language.hidden, language.mlp) = (12, 16);
    language.vocab_size = language.vocab_size.map(|_| VOCAB);
    language.max_positions = 4096;
}
