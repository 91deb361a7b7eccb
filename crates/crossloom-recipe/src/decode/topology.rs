//! `[topology]`.

use std::ops::Bound::{Excluded, Unbounded};

use super::fields::{Cx, Fields, Kinds};
use super::fusion::fusion;
use super::input::{conditioning, input};
use super::scalars::choice;
use super::sets::{Depth, address, list, peek, set};
use super::stream::stream;
use super::taps::Names;
use crate::diagnostic::Finding;
use crate::schema::{
    Adapter, AgfGate, AmpAttach, Gate, GateAttention, GateGranularity, GatePool, GateShare, NamedWiring,
    PointAddress, Tap, TapNorm, TopologySpec, Wiring,
};
use crate::tree::{Node, Value};

pub(super) const ADAPTER: Kinds = Kinds {
    path: "topology.adapter",
    all: &[
        ("shared", &["tap_norm"]),
        ("per_tap", &["tap_norm"]),
        ("per_edge", &["tap_norm", "corners"]),
        ("linear", &["tap_norm", "bias"]),
        ("windows", &["hidden"]),
        ("amp", &["rank", "alpha", "attach", "tap_norm"]),
    ],
    absent: Some("shared"),
};

pub(super) const GATE: Kinds = Kinds {
    path: "topology.gate",
    all: &[
        ("none", &[]),
        ("constant", &["value"]),
        ("static", &["init"]),
        ("agf", &["attention", "heads", "granularity", "bias_init", "pool", "share"]),
    ],
    absent: Some("none"),
};

pub(super) fn topology(root: &Node, cx: &mut Cx) -> Option<TopologySpec> {
    let names = Names::peek(root);
    let language_depth = Depth::peek(root, "model.language.layers");

    let mut f = Fields::open(root, "topology", cx)?;
    let (mask, phase) = (f.optional("mask"), f.optional("phase"));
    for key in [
        "input",
        "stream",
        "conditioning",
        "sources",
        "taps",
        "points",
        "wiring",
        "adapter",
        "fusion",
        "gate",
    ] {
        f.ask(key);
    }
    f.finish();

    let stream = stream(root, language_depth, cx);
    let sources = names.sources(root, cx);
    let input = input(root, &names, stream.unwrap_or_default(), cx);
    let conditioning = conditioning(root, cx);
    let taps = names.taps(root, cx);
    let points = set::<PointAddress>(root, "topology.points", language_depth, cx);
    let wiring = wiring(root, &names, language_depth, cx);
    let adapter = adapter(root, language_depth, cx);
    let gate = gate(root, cx);
    let fusion = fusion(root, gate.as_ref(), cx);

    let (wiring, fusion) = (wiring?, fusion?);
    let (taps, points) = (taps?, points?);
    let (taps, points) = match &wiring {
        Wiring::Pairs(pairs) => (
            taps.unwrap_or_else(|| distinct(pairs.iter().map(|(tap, _)| tap.clone()))),
            points.unwrap_or_else(|| distinct(pairs.iter().map(|(_, point)| *point))),
        ),
        _ => (taps.unwrap_or_default(), points.unwrap_or_default()),
    };
    let mask = mask?.unwrap_or_else(|| fusion.usual_mask());
    Some(TopologySpec {
        input: input?,
        stream: stream?,
        conditioning: conditioning?,
        sources: sources?,
        taps,
        points,
        wiring,
        adapter: adapter?,
        fusion,
        gate: gate?,
        mask,
        phase: phase?.unwrap_or_else(|| mask.usual_phase()),
    })
}

fn distinct<A: PartialEq>(addresses: impl Iterator<Item = A>) -> Vec<A> {
    let mut distinct = Vec::new();
    for address in addresses {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    distinct
}

fn wiring(root: &Node, names: &Names, language: Depth, cx: &mut Cx) -> Option<Wiring> {
    let Some(node) = root.get("topology.wiring") else { return Some(Wiring::Dense) };
    let Value::Array(items) = &node.value else {
        return choice::<NamedWiring>(node, "topology.wiring", cx).map(Wiring::from);
    };
    let pairs: Vec<Option<_>> = items.iter().map(|item| wired_pair(item, names, language, cx)).collect();
    for (index, pair) in pairs.iter().enumerate() {
        if let Some((tap, point)) = pair
            && pairs[..index].contains(pair)
        {
            let message = format!("the pair `{tap}`, `{point}` is listed twice");
            cx.report(Finding::error(items[index].span, message).help("remove one of the two"));
        }
    }
    pairs.into_iter().collect::<Option<Vec<_>>>().map(Wiring::Pairs)
}

fn wired_pair(node: &Node, names: &Names, language: Depth, cx: &mut Cx) -> Option<(Tap, PointAddress)> {
    if let Value::Array(items) = &node.value
        && let [tap, point] = &items[..]
    {
        let tap = names.tap(tap, "topology.wiring", cx);
        let point = address(point, "topology.wiring", language, cx);
        return Some((tap?, point?));
    }
    cx.report(
        Finding::error(node.span, "an explicit wiring is a list of pairs of a tap and a point")
            .help("for example `[[\"block.1\", \"before layer.2\"]]`"),
    );
    None
}

fn adapter(root: &Node, language: Depth, cx: &mut Cx) -> Option<Adapter> {
    let (mut f, kind) = Fields::open_kind(root, &ADAPTER, cx)?;
    if kind == "windows" {
        let hidden = f.optional_in("hidden", 1..=1_048_576);
        f.finish();
        return Some(Adapter::Windows { hidden: hidden?.or_else(|| peek(root, "model.vision.hidden"))? });
    }
    let tap_norm = f.or("tap_norm", TapNorm::None);
    let adapter = match kind {
        "shared" => tap_norm.map(|tap_norm| Adapter::Shared { tap_norm }),
        "per_tap" => tap_norm.map(|tap_norm| Adapter::PerTap { tap_norm }),
        "per_edge" => {
            let corners = match f.ask("corners").map(|node| &node.value) {
                None => Some(Vec::new()),
                Some(Value::Array(items)) => list(items, "topology.adapter.corners", language, f.cx),
                // Reports that it is no list.
                Some(_) => f.or("corners", Vec::<String>::new()).map(|_| Vec::new()),
            };
            tap_norm.zip(corners).map(|(tap_norm, corners)| Adapter::PerEdge { tap_norm, corners })
        }
        "linear" => {
            let bias = f.or("bias", true);
            tap_norm.zip(bias).map(|(tap_norm, bias)| Adapter::Linear { tap_norm, bias })
        }
        _ => amp(&mut f, tap_norm),
    };
    f.finish();
    adapter
}

fn amp(f: &mut Fields<'_, '_>, tap_norm: Option<TapNorm>) -> Option<Adapter> {
    let rank = f.or_in("rank", 1..=65_536, 16);
    let alpha = f.optional_in("alpha", (Excluded(0.0), Unbounded));
    let attach = f.or("attach", AmpAttach::Parallel);
    let rank: usize = rank?;
    Some(Adapter::Amp { rank, alpha: alpha?.unwrap_or(rank as f64), attach: attach?, tap_norm: tap_norm? })
}

fn gate(root: &Node, cx: &mut Cx) -> Option<Gate> {
    let (mut f, kind) = Fields::open_kind(root, &GATE, cx)?;
    let gate = match kind {
        "none" => Some(Gate::None {}),
        "constant" => f.required("value").map(|value| Gate::Constant { value }),
        "static" => f.or("init", 0.018).map(|init| Gate::Static { init }),
        _ => agf(root, &mut f).map(Gate::Agf),
    };
    f.finish();
    gate
}

fn agf(root: &Node, f: &mut Fields<'_, '_>) -> Option<AgfGate> {
    let attention = f.or("attention", GateAttention::Shared);
    let heads = f.optional_in("heads", 1..=1024);
    let granularity = f.or("granularity", GateGranularity::Scalar);
    let bias_init = f.or("bias_init", -4.0);
    let pool = f.or("pool", GatePool::Prompt);
    let share = f.or("share", GateShare::Point);
    let attention = attention?;
    let heads = match (heads?, attention) {
        (Some(heads), _) => heads,
        (None, GateAttention::None) => 1,
        (None, _) => peek(root, "model.language.heads")?,
    };
    Some(AgfGate {
        attention,
        heads,
        granularity: granularity?,
        bias_init: bias_init?,
        pool: pool?,
        share: share?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::fusion::FUSION;
    use super::*;
    use crate::json_schema;

    /// Names of the properties that the JSON Schema gives a table with a `kind`.
    fn schema_keys(definition: &str) -> Vec<String> {
        let schema = json_schema();
        let table = schema
            .pointer(&format!("/$defs/{definition}/anyOf/1/properties"))
            .and_then(|keys| keys.as_object());
        let mut keys: Vec<String> = table.into_iter().flatten().map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys
    }

    #[test]
    fn tables_of_kinds_list_the_keys_of_the_schema() {
        for (definition, kinds) in [("Adapter", ADAPTER.all), ("Gate", GATE.all), ("Fusion", FUSION.all)] {
            let mut keys: Vec<String> =
                kinds.iter().flat_map(|(_, keys)| keys.iter().map(|key| (*key).to_owned())).collect();
            keys.push("kind".to_owned());
            keys.sort();
            keys.dedup();
            assert_eq!(keys, schema_keys(definition), "{definition}");
        }
    }
}
