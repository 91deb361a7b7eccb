//! The shape of a batch and the names of the tensors in it.

/// Static sizes of a batch; a new shape is a new graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchShape {
    /// Sequences, each about one picture, or about as many as it has views of.
    pub batch: usize,
    /// Positions per sequence: image, questions, answers, padding.
    pub tokens: usize,
    /// Next-token predictions per sequence that are trained or read.
    pub targets: usize,
    /// Images of the batch and visual tokens of a row; none where every row has the tokens of one whole picture.
    pub views: Option<ViewShape>,
}

/// Sizes of a batch whose rows have several pictures, tiles of one, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewShape {
    /// V: images that pass the encoder, in the whole batch.
    pub views: usize,
    /// N: visual tokens of a row, at the most.
    pub tokens: usize,
}

impl BatchShape {
    /// Images that pass the encoder.
    pub fn images(&self) -> usize {
        self.views.map_or(self.batch, |of| of.views)
    }
}

/// The cache of keys and values: sequences that live between calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheShape {
    /// S: sequences there is room for.
    pub slots: usize,
    /// C: positions of each.
    pub capacity: usize,
}

/// Static sizes of a call on a cache. Calls of different rows and tokens may share one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StepShape {
    /// B: sequences of the cache that the call works on, at most.
    pub rows: usize,
    /// T: new positions of each, at most. One, or one per question of a packed sequence, when tokens are generated.
    pub tokens: usize,
    /// The cache.
    pub cache: CacheShape,
    /// N: visual tokens of a row, at the most, where they are not those of one whole picture.
    pub visual: Option<usize>,
}

/// Names of the state that prefill writes and decode reads and writes. Its memory needs no start value: what lies behind a
/// sequence's length is never read.
pub mod caches {
    /// What all their names begin with.
    pub const PREFIX: &str = "cache.";
    /// `[S, C]` i32: the segment of every position.
    pub const SEGMENTS: &str = "cache.segments";

    /// `[S, C]` i32: the same in layers without visual tokens, where only some have them.
    pub const TEXT_SEGMENTS: &str = "cache.text_segments";

    /// `[S, C, kv_heads head_dim]`: the keys of a decoder layer, turned by their rotary positions.
    pub fn key(layer: usize) -> String {
        format!("cache.layer.{layer}.key")
    }

    /// `[S, C, kv_heads head_dim]`: the values of a decoder layer.
    pub fn value(layer: usize) -> String {
        format!("cache.layer.{layer}.value")
    }

    /// `[S, rows kv_heads head_dim]`: the keys of the pictures at a point that reads them in every call.
    pub fn picture_key(point: crossloom_recipe::PointAddress) -> String {
        format!("cache.picture.{}.key", point.name())
    }

    /// `[S, rows kv_heads head_dim]`: their values.
    pub fn picture_value(point: crossloom_recipe::PointAddress) -> String {
        format!("cache.picture.{}.value", point.name())
    }
}

/// Names of the graph's inputs.
pub mod inputs {
    /// `[B, C, H, W]`: normalised pixels; where views are counted, `[V, C, H, W]`.
    pub const PIXELS: &str = "pixels";
    /// `[B, T]` i32: token ids; any valid id stands at image positions.
    pub const TOKENS: &str = "tokens";
    /// `[B, T]` i32: rotary positions. Where the model turns by time, row and column, all visual tokens of a picture have that
    /// of its first, and text goes on behind its last row or column.
    pub const POSITIONS: &str = "positions";
    /// `[B, T]` i32: 0 image, 1.. question number, -1 padding.
    pub const SEGMENTS: &str = "segments";
    /// `[B, T]` i32: the same in layers without visual tokens, where only some have them: -1 at these.
    pub const TEXT_SEGMENTS: &str = "text_segments";
    /// `[B, N]` i32: positions of the visual tokens, -1 for none.
    pub const IMAGE_INDEX: &str = "image_index";
    /// `[B, N]` i32: the same, with -1 also at the ends of rows of tiles' tokens, where nothing is injected.
    pub const PATCH_INDEX: &str = "patch_index";
    /// `[B, N, 4]` i32: the tokens of views that a visual token is made of, `view n + token` where a view has `n`; `V n` is the end of a
    /// row of tiles' tokens.
    pub const VISUAL_ROWS: &str = "visual_rows";
    /// `[B, N, 4]`: their weights, 0 where there are fewer than four.
    pub const VISUAL_WEIGHTS: &str = "visual_weights";
    /// How many a visual token is made of at the most: those around a place between patches.
    pub const VISUAL_PARTS: usize = 4;
    /// `[B, T]`: 1 where AGF pools the hidden state. An injection with a name has its own, see [`of_injection`].
    pub const POOL_MASK: &str = "pool_mask";
    /// `[B, T]`: 1 at positions of the question, where something depends on it.
    pub const QUESTION_MASK: &str = "question_mask";
    /// `[B, E]`: the vector of a row's question, where it is made of the question's text alone.
    pub const QUESTION_VECTOR: &str = "question_vector";
    /// `[B, T]`: 1 at positions of text, where only those are changed.
    pub const TEXT_MASK: &str = "text_mask";
    /// `[B]` i32: the sequence of the cache that keeps what is read of a row's picture; -1 where nothing is kept.
    pub const PICTURE_SLOT: &str = "picture_slot";
    /// `[B, M]` i32: positions whose next token is predicted.
    pub const TARGET_INDEX: &str = "target_index";
    /// `[B]` i32: the sequence of the cache that a row goes on with. Rows of a count of 0 may name any.
    pub const SLOT: &str = "slot";
    /// `[B]` i32: the positions that sequence holds already.
    pub const START: &str = "start";
    /// `[B]` i32: how many of the row's positions are real.
    pub const COUNT: &str = "count";
    /// `[B, N, D]`: the input embeddings of the visual tokens, a result of `connect`.
    pub const VISUAL: &str = "visual";
    /// `[K, B, N, D]`: the features of the taps, a result of `connect`. An injection with a name has its own, see [`of_injection`].
    pub const FEATURES: &str = "features";
    /// `[B, T, D]`: the states behind the last layer, in front of the last norm: a result of a prefill without a head, and what the head is
    /// given.
    pub const HIDDEN: &str = "hidden";
    /// `[B, M]` i32: the tokens to predict, -1 ignored.
    pub const TARGETS: &str = "targets";

    /// Whether a name is that of [`FEATURES`] or [`POOL_MASK`], as `what` says, of any injection: `features`, or `features.NAME`.
    pub fn of_injection(name: &str, what: &str) -> bool {
        name.strip_prefix(what).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Whether an input of prefill and decode has a number for every position that is read.
    pub fn is_per_position(name: &str) -> bool {
        [TOKENS, POSITIONS, SEGMENTS, TEXT_SEGMENTS, TEXT_MASK].contains(&name)
            || of_injection(name, POOL_MASK)
    }
}
