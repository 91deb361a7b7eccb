//! Charts as inline SVG, drawn without a library so that they follow the page's theme through its style sheet.

pub(crate) mod interval;
pub(crate) mod label;
pub(crate) mod line;
pub(crate) mod marker;
pub(crate) mod ramp;
pub(crate) mod scale;
pub(crate) mod scatter;
pub(crate) mod trace;
