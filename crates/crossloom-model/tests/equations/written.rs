//! Settings as a recipe writes them.

use std::fmt::Write;

use crate::settings::{
    Activation, Adapter, Attention, Family, Fusion, Gate, Injection, Multipliers, Norm, Point, Settings,
    Share, Tap, Windows, Wiring,
};

/// What every recipe needs besides its model.
const REST: &str = "
[data]
source = 'easy-vqa'
questions_per_sequence = 1
[train]
steps = 1
batch_size = 1
lr = 1
warmup = 0
";

fn activation(activation: Activation) -> &'static str {
    match activation {
        Activation::GeluTanh => "gelu_tanh",
        Activation::GeluErf => "gelu_erf",
        Activation::QuickGelu => "quick_gelu",
    }
}

impl Point {
    /// As a recipe addresses it.
    fn address(self) -> String {
        format!("{} layer.{}", if self.after { "after" } else { "before" }, self.layer)
    }
}

impl Settings {
    /// The whole recipe.
    pub(crate) fn recipe(&self) -> String {
        format!("{}{}{REST}", self.models(), self.injection.table())
    }

    /// A recipe of the same models, with one variant that takes its injection from a file of `recipes/`.
    pub(crate) fn recipe_extending(&self, file: &str) -> String {
        format!("{}{REST}[variants.v]\nextends = ['{file}']\n", self.models())
    }

    fn models(&self) -> String {
        let (v, l, p) = (&self.vision, &self.language, &self.projector);
        format!(
            "name = 'under-test'
[model.vision]
family = 'vit'
image_size = {}
patch_size = {}
hidden = {}
layers = {}
heads = {}
mlp = {}
activation = '{}'
norm_eps = {:?}
class_token = {}
pre_norm = {}
post_norm = {}
qkv_bias = {}
patch_bias = {}
layer_scale = {}{}{}
position_resample = '{}'
temporal_patch = {}
[model.language]
family = '{}'
hidden = {}
layers = {}
heads = {}
kv_heads = {}
head_dim = {}
mlp = {}
rope_theta = {:?}
norm_eps = {:?}
tie_embeddings = {}
vocab_size = {}{}{}
[model.projector]
hidden = {}
activation = '{}'
bias = {}
merge = {}
norm = '{}'{}
",
            v.image_size,
            v.patch,
            v.hidden,
            v.layers,
            v.heads,
            v.mlp,
            activation(v.activation),
            v.eps,
            v.class_token,
            v.pre_norm,
            v.post_norm,
            v.qkv_bias,
            v.patch_bias,
            v.layer_scale,
            v.position_grid.map(|side| format!("\nposition_grid = {side}")).unwrap_or_default(),
            v.theta.map(|theta| format!("\nrope_theta = {theta:?}")).unwrap_or_default(),
            if v.by_corners { "bilinear" } else { "bicubic" },
            v.frames,
            match l.family {
                Family::Llama => "llama",
                Family::Qwen2 => "qwen2",
                Family::Qwen3 => "qwen3",
            },
            l.hidden,
            l.layers,
            l.heads,
            l.kv_heads,
            l.head_dim,
            l.mlp,
            l.theta,
            l.eps,
            l.tied,
            l.vocab,
            l.sections.map(|sections| format!("\nrope_sections = {sections:?}")).unwrap_or_default(),
            l.multipliers.written(),
            p.hidden,
            activation(p.activation),
            p.bias,
            p.merge,
            p.norm.written(),
            p.windows.map(|of| of.written(p.eps)).unwrap_or_default(),
        )
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

impl Injection {
    fn table(&self) -> String {
        let tap = |tap: &Tap| format!("'{tap}'");
        let point = |point: &Point| format!("'{}'", point.address());
        let mut text = format!(
            "[topology]\ninput = '{}'\n",
            self.input.map_or_else(|| "none".to_owned(), |tap| tap.to_string())
        );
        if self.wiring.lists_ends() {
            writeln!(text, "taps = {}", list(self.taps.iter().map(tap))).unwrap();
            writeln!(text, "points = {}", list(self.points.iter().map(point))).unwrap();
        }
        let wiring = match &self.wiring {
            Wiring::Dense => "'dense'".to_owned(),
            Wiring::Diagonal => "'diagonal'".to_owned(),
            Wiring::Broadcast => "'broadcast'".to_owned(),
            Wiring::Pairs(pairs, _) => {
                list(pairs.iter().map(|(from, to)| format!("[{}, {}]", tap(from), point(to))))
            }
        };
        let norm = self.tap_norm.written();
        let fusion = match self.fusion {
            Fusion::Add => "add",
            Fusion::GatedAdd => "gated_add",
            Fusion::Convex => "convex",
        };
        let order = if self.sequential { "sequential" } else { "parallel" };
        write!(
            text,
            "wiring = {wiring}\nadapter = {{ {}, tap_norm = '{norm}' }}\ngate = {{ {} }}\n\
             fusion = {{ kind = '{fusion}', order = '{order}' }}\n",
            self.adapter.written(),
            self.gate.written(),
        )
        .unwrap();
        text
    }
}

impl Norm {
    fn written(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Layer => "layer",
            Self::Merged => "merged",
        }
    }
}

impl Multipliers {
    fn written(self) -> String {
        let keys = [
            ("embedding_multiplier", self.embedding),
            ("residual_multiplier", self.residual),
            ("attention_multiplier", self.attention),
            ("logits_scaling", self.logits),
        ];
        keys.into_iter().filter_map(|(key, value)| Some(format!("\n{key} = {:?}", value?))).collect()
    }
}

impl Windows {
    fn written(self, eps: Option<f64>) -> String {
        let Self { window, queries, heads } = self;
        let eps = eps.map(|eps| format!("\nnorm_eps = {eps:?}")).unwrap_or_default();
        format!("\nkind = 'window_queries'\nwindow = {window}\nqueries = {queries}\nheads = {heads}{eps}")
    }
}

impl Wiring {
    fn lists_ends(&self) -> bool {
        !matches!(self, Self::Pairs(_, false))
    }
}

impl Adapter {
    fn written(&self) -> String {
        match self {
            Self::Shared => "kind = 'shared'".to_owned(),
            Self::PerTap => "kind = 'per_tap'".to_owned(),
            Self::PerEdge(corners) => {
                let points = list(corners.iter().map(|point| format!("'{}'", point.address())));
                format!("kind = 'per_edge', corners = {points}")
            }
            Self::Amp { rank, alpha, per_linear } => {
                let attach = if *per_linear { "per_linear" } else { "parallel" };
                format!("kind = 'amp', rank = {rank}, alpha = {alpha:?}, attach = '{attach}'")
            }
        }
    }
}

impl Gate {
    fn written(&self) -> String {
        match self {
            Self::None => "kind = 'none'".to_owned(),
            Self::Constant(value) => format!("kind = 'constant', value = {value:?}"),
            Self::Static { init } => format!("kind = 'static', init = {init:?}"),
            Self::Agf(agf) => {
                let attention = match agf.attention {
                    Attention::None => "none",
                    Attention::Shared => "shared",
                    Attention::Separate => "separate",
                };
                let share = match agf.share {
                    Share::Point => "point",
                    Share::Edge => "edge",
                    Share::Global => "global",
                };
                format!(
                    "kind = 'agf', attention = '{attention}', heads = {}, granularity = '{}', bias_init = {:?}, \
                     norm = '{}', pool = '{}', share = '{share}'",
                    agf.heads,
                    if agf.channel { "channel" } else { "scalar" },
                    agf.bias_init,
                    if agf.norm { "rms" } else { "none" },
                    if agf.prompt { "prompt" } else { "image" },
                )
            }
        }
    }
}
