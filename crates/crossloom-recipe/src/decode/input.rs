//! `topology.input` and `topology.conditioning`.

use super::fields::{Cx, Fields, Kinds};
use super::sets::{Depth, peek, set};
use super::taps::Names;
use super::weights as files;
use crate::diagnostic::Finding;
use crate::schema::{
    Conditioning, Input, Join, LayerWeights, Mixture, MixtureLevel, PretrainedWeights, Stream, Tap,
    TokenConcat, VisionAddress, Weighted, WindowInput,
};
use crate::tree::{Node, Value};

const PATH: &str = "topology.input";

pub(super) const INPUT: Kinds = Kinds {
    path: PATH,
    all: &[
        ("tokens", &["of", "also", "pool"]),
        ("weighted", &["of", "base", "join", "norm", "weights"]),
        ("windows", &["of", "hidden", "heads", "depth"]),
        ("mixture", &["of", "reserve", "level", "top_k", "width", "balance"]),
    ],
    absent: None,
};

pub(super) const WEIGHTS: Kinds = Kinds {
    path: "topology.input.weights",
    all: &[
        ("uniform", &[]),
        ("static", &[]),
        ("question", &["hidden", "entropy"]),
        ("allocator", &["layers", "heads", "balance", "double_softmax"]),
    ],
    absent: Some("static"),
};

pub(super) const CONDITIONING: Kinds = Kinds {
    path: "topology.conditioning",
    all: &[
        ("none", &[]),
        ("embeddings", &[]),
        ("sentence", &["weights", "width"]),
        ("precomputed", &["vectors", "width"]),
    ],
    absent: Some("none"),
};

/// The connector at the input: the last vision state where nothing is said and visual tokens are in the sequence.
pub(super) fn input(root: &Node, names: &Names, stream: Stream, cx: &mut Cx) -> Option<Input> {
    let Some(node) = root.get(PATH) else {
        let Depth { layers, .. } = names.depth;
        return match stream {
            Stream::None => Some(Input::None),
            Stream::Sequence | Stream::Between(_) => {
                layers.map(|last| [VisionAddress::Block(last)].into_iter().collect())
            }
        };
    };
    match &node.value {
        Value::String(word) if word == "none" => Some(Input::None),
        Value::Array(items) if items.is_empty() => {
            let help = "name a vision state, such as `block.last`, or write `input = \"none\"`";
            cx.report(Finding::error(node.span, "`topology.input` is an empty list").help(help));
            None
        }
        Value::Array(items) => names.list(items, PATH, cx).map(Input::Channels),
        Value::Table(_) => connector(root, names, cx),
        _ => names.tap(node, PATH, cx).map(|only| Input::Channels(vec![only])),
    }
}

fn connector(root: &Node, names: &Names, cx: &mut Cx) -> Option<Input> {
    let (mut f, kind) = Fields::open_kind(root, &INPUT, cx)?;
    let input = match kind {
        "tokens" => tokens(&mut f, names).map(Input::Tokens),
        "windows" => windows(root, &mut f, names).map(Input::Windows),
        "mixture" => mixture(root, &mut f, names).map(Input::Mixture),
        _ => weighted(root, &mut f, names).map(Input::Weighted),
    };
    f.finish();
    input
}

/// The list of taps of a connector; without one that is said at the end.
fn listed(f: &mut Fields<'_, '_>, key: &'static str, names: &Names) -> Option<Vec<Tap>> {
    let Some(node) = f.ask(key) else {
        f.lacks(key);
        return None;
    };
    match &node.value {
        Value::Array(items) => names.list(items, PATH, f.cx),
        // Reports that it is no list.
        _ => f.or(key, Vec::<String>::new()).and(None),
    }
}

fn tokens(f: &mut Fields<'_, '_>, names: &Names) -> Option<TokenConcat> {
    let of = f.ask("of");
    if of.is_none() {
        f.lacks("of");
    }
    let of = of.and_then(|node| names.tap(node, PATH, f.cx));
    let also = listed(f, "also", names);
    let pool = f.or_in("pool", 1..=4096, 8);
    Some(TokenConcat { of: of?, also: also?, pool: pool? })
}

fn weighted(root: &Node, f: &mut Fields<'_, '_>, names: &Names) -> Option<Weighted> {
    let of = listed(f, "of", names);
    let base = match f.ask("base") {
        None => Some(None),
        Some(node) => names.tap(node, PATH, f.cx).map(Some),
    };
    let (join, norm) = (f.or("join", Join::Channels), f.or("norm", false));
    f.ask("weights");
    let weights = weights(root, f.cx);
    Some(Weighted { of: of?, base: base?, join: join?, norm: norm?, weights: weights? })
}

/// The taps of a connector: a list, or a set of vision states.
fn taps(root: &Node, f: &mut Fields<'_, '_>, names: &Names) -> Option<Vec<Tap>> {
    match f.ask("of").map(|of| (of.span, &of.value)) {
        Some((span, Value::Array(items))) if items.is_empty() => {
            let help = "name a vision state, such as `block.last`";
            f.cx.report(Finding::error(span, "the connector reads no tap").help(help));
            None
        }
        Some((_, Value::Array(items))) => names.list(items, PATH, f.cx),
        Some(_) => {
            let states = set::<VisionAddress>(root, "topology.input.of", names.depth, f.cx);
            states.flatten().map(|states| states.into_iter().map(Tap::State).collect())
        }
        None => {
            f.lacks("of");
            None
        }
    }
}

fn mixture(root: &Node, f: &mut Fields<'_, '_>, names: &Names) -> Option<Mixture> {
    let of = taps(root, f, names);
    let reserve = f.ask("reserve");
    if reserve.is_none() {
        f.lacks("reserve");
    }
    let reserve = reserve.and_then(|node| names.tap(node, PATH, f.cx));
    let (level, top_k) = (f.or("level", MixtureLevel::Hybrid), f.or_in("top_k", 1..=1024, 2));
    let (width, balance) = (f.optional_in("width", 1..=1_048_576), f.or("balance", 0.01));
    let width = width?.or_else(|| peek(root, "model.vision.hidden"))?;
    Some(Mixture { of: of?, reserve: reserve?, level: level?, top_k: top_k?, width, balance: balance? })
}

fn windows(root: &Node, f: &mut Fields<'_, '_>, names: &Names) -> Option<WindowInput> {
    let of = taps(root, f, names);
    let (hidden, heads) = (f.optional_in("hidden", 1..=1_048_576), f.optional_in("heads", 1..=1024));
    let depth = f.or_in("depth", 1..=64, 3);
    let of_encoder = |key: &str| peek(root, &format!("model.vision.{key}"));
    let (hidden, heads) =
        (hidden?.or_else(|| of_encoder("hidden"))?, heads?.or_else(|| of_encoder("heads"))?);
    Some(WindowInput { of: of?, hidden, heads, depth: depth? })
}

fn weights(root: &Node, cx: &mut Cx) -> Option<LayerWeights> {
    let (mut f, kind) = Fields::open_kind(root, &WEIGHTS, cx)?;
    let weights = match kind {
        "uniform" => Some(LayerWeights::Uniform {}),
        "static" => Some(LayerWeights::Static {}),
        "question" => {
            let (hidden, entropy) = (f.or_in("hidden", 1..=65_536, 512), f.or("entropy", 0.0));
            hidden.zip(entropy).map(|(hidden, entropy)| LayerWeights::Question { hidden, entropy })
        }
        _ => {
            let (layers, heads) = (f.or_in("layers", 1..=64, 4), f.or_in("heads", 1..=1024, 4));
            let (balance, double) = (f.or("balance", 0.02), f.or("double_softmax", false));
            let sizes = layers.zip(heads);
            sizes.zip(balance.zip(double)).map(|((layers, heads), (balance, double_softmax))| {
                LayerWeights::Allocator { layers, heads, balance, double_softmax }
            })
        }
    };
    f.finish();
    weights
}

/// `topology.conditioning`.
pub(super) fn conditioning(root: &Node, cx: &mut Cx) -> Option<Conditioning> {
    let (mut f, kind) = Fields::open_kind(root, &CONDITIONING, cx)?;
    let conditioning = match kind {
        "none" => Some(Conditioning::None {}),
        "embeddings" => Some(Conditioning::Embeddings {}),
        "sentence" => vectors(root, &mut f, "weights", "topology.conditioning.weights")
            .map(|(weights, width)| Conditioning::Sentence { weights, width }),
        _ => vectors(root, &mut f, "vectors", "topology.conditioning.vectors")
            .map(|(vectors, width)| Conditioning::Precomputed { vectors, width }),
    };
    f.finish();
    conditioning
}

/// The files that vectors of questions come from, and how wide these are.
fn vectors(
    root: &Node,
    f: &mut Fields<'_, '_>,
    key: &'static str,
    path: &'static str,
) -> Option<(PretrainedWeights, usize)> {
    if f.ask(key).is_none() {
        f.lacks(key);
    }
    let named = files::weights(root, path, f.cx);
    let width = if f.ask(key).is_some() { f.required_in("width", 1..=65_536) } else { f.or("width", 0) };
    let named = named??;
    for list in ["missing", "unexpected"] {
        if let Some(node) = root.get(&format!("{path}.{list}")) {
            let message = format!("`{path}` is taken as it is, and has no `{list}`");
            f.cx.report(Finding::error(node.span, message).help(format!("remove `{list}`")));
        }
    }
    Some((named, width?))
}
