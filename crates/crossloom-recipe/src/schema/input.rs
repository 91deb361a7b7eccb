//! The vision states at the input: how one or several are written.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::VisionAddress;

/// One address, a list of them, or none.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum InputForm {
    /// No state.
    None(Nothing),
    /// One state.
    One(VisionAddress),
    /// Several, one after the other in every row.
    Several(#[schemars(length(min = 1), extend("uniqueItems" = true))] Vec<VisionAddress>),
}

/// The word for no state.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Nothing {
    /// No state.
    None,
}

/// As it would be written: one state without a list.
pub(super) fn serialize<S: Serializer>(states: &[VisionAddress], serializer: S) -> Result<S::Ok, S::Error> {
    match states {
        [] => InputForm::None(Nothing::None),
        [only] => InputForm::One(*only),
        several => InputForm::Several(several.to_vec()),
    }
    .serialize(serializer)
}

/// In either form.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<VisionAddress>, D::Error> {
    Ok(match InputForm::deserialize(deserializer)? {
        InputForm::None(Nothing::None) => Vec::new(),
        InputForm::One(only) => vec![only],
        InputForm::Several(several) => several,
    })
}
