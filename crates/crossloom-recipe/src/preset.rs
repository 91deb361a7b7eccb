//! Built-in dimensions of known models: data files, compiled in.

/// The halves of a model, which have presets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Vision,
    Language,
}

impl Half {
    pub(crate) const ALL: [Self; 2] = [Self::Vision, Self::Language];

    /// The table that a preset of this half fills.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Vision => "model.vision",
            Self::Language => "model.language",
        }
    }

    fn presets(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Vision => VISION,
            Self::Language => LANGUAGE,
        }
    }
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../presets/", $name, ".toml")))),*]
    };
}

const VISION: &[(&str, &str)] = presets![
    "clip-vit-large-patch14-336",
    "dinov2-base-patch14",
    "dinov2-small-patch14",
    "qwen3-vl-large-patch16",
    "qwen3-vl-so400m-patch16",
    "siglip-so400m-patch14-384",
    "siglip-so400m-patch14-384-26",
    "vit-tiny-patch8-64",
];

const LANGUAGE: &[(&str, &str)] = presets![
    "llama-tiny",
    "qwen2-0.5b",
    "qwen2-7b",
    "qwen3-0.6b",
    "qwen3-vl-2b",
    "qwen3-vl-4b",
    "qwen3-vl-8b",
    "smollm2-135m",
    "vicuna-7b-v1.5",
];

/// The names of all presets of a half.
pub(crate) fn names(part: Half) -> impl Iterator<Item = &'static str> + Clone {
    part.presets().iter().map(|(name, _)| *name)
}

/// The TOML text of a preset.
pub(crate) fn text(part: Half, name: &str) -> Option<&'static str> {
    part.presets().iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
