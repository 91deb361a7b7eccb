//! Arguments that are one of a library's values.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Reads one of some values by its name; help lists all of them with what they are about.
pub fn choice<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
    about: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let values = all.iter().map(|&value| PossibleValue::new(name(value)).help(about(value)));
    PossibleValuesParser::new(values).try_map(move |typed| {
        all.iter().copied().find(|&value| name(value) == typed).ok_or("not one of the values")
    })
}
