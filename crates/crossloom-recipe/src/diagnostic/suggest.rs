//! "Did you mean": the known names nearest to an unknown one.

/// The nearest names, best first: at most `limit`, none that differs too much, and none that is much worse than the best.
pub(crate) fn nearest<'n>(
    name: &str,
    known: impl IntoIterator<Item = &'n str>,
    limit: usize,
) -> Vec<&'n str> {
    let wanted: String = name.chars().take(64).collect::<String>().to_lowercase();
    let mut ranked: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|known| {
            let candidate = known.to_lowercase();
            let longest = wanted.chars().count().max(candidate.chars().count());
            let shortest = wanted.chars().count().min(candidate.chars().count());
            let words = shortest >= 3 && !wanted.contains('.') && !candidate.contains('.');
            let begins = words && (wanted.starts_with(&candidate) || candidate.starts_with(&wanted));
            let distance = if begins { 1 } else { strsim::osa_distance(&wanted, &candidate) };
            (distance <= (longest / 3).max(1) && distance < longest).then_some((distance, known))
        })
        .collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    let best = ranked.first().map_or(0, |(distance, _)| *distance);
    ranked.retain(|(distance, _)| *distance <= best + 1);
    ranked.truncate(limit);
    ranked.into_iter().map(|(_, known)| known).collect()
}

/// A hint with the nearest name, if there is one.
pub(crate) fn did_you_mean<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    suggestion(&nearest(name, known, 1))
}

/// A hint with the nearest names.
pub(crate) fn suggestion(near: &[&str]) -> Option<String> {
    match near {
        [] => None,
        [only] => Some(format!("did you mean `{only}`?")),
        near => Some(format!("the nearest are {}", listed(near.iter().copied()))),
    }
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    joined(names, "and")
}

/// `` `a`, `b` or `c` ``.
pub(crate) fn any_of<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    joined(names, "or")
}

fn joined<'n>(names: impl IntoIterator<Item = &'n str>, last: &str) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match &quoted[..] {
        [] => String::new(),
        [only] => only.clone(),
        [head @ .., tail] => format!("{} {last} {tail}", head.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_name_and_another_word_does_not() {
        let known = ["hidden", "heads", "layers", "mlp"];
        assert_eq!(nearest("hiden", known, 1), ["hidden"]);
        assert_eq!(nearest("haeds", known, 1), ["heads"]);
        assert_eq!(nearest("Layer", known, 1), ["layers"]);
        assert_eq!(nearest("evaluation", ["train", "eval"], 3), ["eval"]);
        assert_eq!(nearest("train.stepz", ["train.steps", "train.seed", "train.eps"], 3), ["train.steps"]);
        assert!(nearest("colour", known, 3).is_empty());
        assert!(nearest("x", known, 3).is_empty());
        assert!(nearest("", known, 3).is_empty());
    }
}
