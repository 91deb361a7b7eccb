//! The vision states at the input: how one or several are written.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::VisionAddress;

/// One address, or a list of them.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum InputForm {
    /// One state.
    One(VisionAddress),
    /// Several, one after the other in every row.
    Several(#[schemars(length(min = 1), extend("uniqueItems" = true))] Vec<VisionAddress>),
}

/// As it would be written: one state without a list.
pub(super) fn serialize<S: Serializer>(states: &[VisionAddress], serializer: S) -> Result<S::Ok, S::Error> {
    match states {
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
        InputForm::One(only) => vec![only],
        InputForm::Several(several) => several,
    })
}
