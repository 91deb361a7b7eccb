//! Did you mean: the known name nearest to a mistyped one.

/// The candidate that is fewest edits away, if it is near enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 4);
    // Names are short; what is longer than any of them is not worth measuring.
    if name.len() > 64 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_noise_finds_none() {
        let names = ["add", "affine", "linear", "layer_norm", "rms_norm"];
        assert_eq!(nearest("liner", names), Some("linear"));
        assert_eq!(nearest("ad", names), Some("add"));
        assert_eq!(nearest("layernorm", names), Some("layer_norm"));
        assert_eq!(nearest("rsm_norm", names), Some("rms_norm"));
        assert_eq!(nearest("convolution", names), None);
        assert_eq!(nearest("", names), None);
    }
}
