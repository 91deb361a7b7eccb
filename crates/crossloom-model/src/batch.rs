//! The shape of a batch and the names of the tensors in it.

/// Static sizes of a batch; a new shape is a new graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchShape {
    /// Sequences, each about one picture.
    pub batch: usize,
    /// Positions per sequence: image, questions, answers, padding.
    pub tokens: usize,
    /// Next-token predictions per sequence that are trained or read.
    pub targets: usize,
}

/// Names of the graph's inputs.
pub mod inputs {
    /// `[B, C, H, W]`: normalised pixels.
    pub const PIXELS: &str = "pixels";
    /// `[B, T]` i32: token ids; any valid id stands at image positions.
    pub const TOKENS: &str = "tokens";
    /// `[B, T]` i32: rotary positions.
    pub const POSITIONS: &str = "positions";
    /// `[B, T]` i32: 0 image, 1.. question number, -1 padding.
    pub const SEGMENTS: &str = "segments";
    /// `[B, N]` i32: positions of the visual tokens, -1 for none.
    pub const IMAGE_INDEX: &str = "image_index";
    /// `[B, T]`: 1 where AGF pools the hidden state.
    pub const POOL_MASK: &str = "pool_mask";
    /// `[B, M]` i32: positions whose next token is predicted.
    pub const TARGET_INDEX: &str = "target_index";
    /// `[B, M]` i32: the tokens to predict, -1 ignored.
    pub const TARGETS: &str = "targets";
}
