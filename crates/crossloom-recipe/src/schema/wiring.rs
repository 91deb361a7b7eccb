//! Which tap feeds which point.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::WrittenPair;
use super::{PointAddress, Tap};

/// Which tap feeds which point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WiringForm", into = "WiringForm")]
pub enum Wiring {
    /// Every tap feeds every point.
    Dense,
    /// Tap i feeds point i; as many taps as points.
    Diagonal,
    /// The only tap feeds every point.
    Broadcast,
    /// The listed pairs, in this order.
    Pairs(Vec<(Tap, PointAddress)>),
}

/// Wirings that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NamedWiring {
    /// Every tap feeds every point.
    Dense,
    /// Tap i feeds point i; as many taps as points.
    Diagonal,
    /// The only tap feeds every point.
    Broadcast,
}

/// How a wiring is written: a name or a list of `["block.1", "before layer.2"]` pairs.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WiringForm {
    Named(NamedWiring),
    Pairs(Vec<(Tap, PointAddress)>),
}

impl From<NamedWiring> for Wiring {
    fn from(name: NamedWiring) -> Self {
        match name {
            NamedWiring::Dense => Self::Dense,
            NamedWiring::Diagonal => Self::Diagonal,
            NamedWiring::Broadcast => Self::Broadcast,
        }
    }
}

impl From<WiringForm> for Wiring {
    fn from(form: WiringForm) -> Self {
        match form {
            WiringForm::Named(name) => name.into(),
            WiringForm::Pairs(pairs) => Self::Pairs(pairs),
        }
    }
}

impl From<Wiring> for WiringForm {
    fn from(wiring: Wiring) -> Self {
        match wiring {
            Wiring::Dense => Self::Named(NamedWiring::Dense),
            Wiring::Diagonal => Self::Named(NamedWiring::Diagonal),
            Wiring::Broadcast => Self::Named(NamedWiring::Broadcast),
            Wiring::Pairs(pairs) => Self::Pairs(pairs),
        }
    }
}

/// Which tap feeds which point: a name, or explicit pairs.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the shape of the schema only")]
enum WiringSchema {
    /// A named wiring.
    Named(NamedWiring),
    /// Pairs of a tap and a point, such as `["block.1", "before layer.2"]`.
    Pairs(Vec<WrittenPair>),
}

impl JsonSchema for Wiring {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Wiring".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        WiringSchema::json_schema(generator)
    }
}
