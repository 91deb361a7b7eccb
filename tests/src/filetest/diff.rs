//! Lines that differ, for failure messages.

use std::fmt::Write as _;

/// Lines of context around a change.
const CONTEXT: usize = 2;

/// The lines of two texts side by side: `-` only in the first, `+` only in the second, and some that are in both.
pub(super) fn lines(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let edits = edits(&old, &new);
    let near = |at: usize| {
        let window = &edits[at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(edits.len())];
        window.iter().any(|(mark, _)| *mark != ' ')
    };
    let mut out = String::new();
    let mut skipped = false;
    for (at, (mark, line)) in edits.iter().enumerate() {
        if near(at) {
            let _ = writeln!(out, "  {mark} {line}");
        } else if !skipped {
            out.push_str("    ...\n");
        }
        skipped = !near(at);
    }
    if edits.iter().all(|(mark, _)| *mark == ' ') {
        out.push_str("  (only the ends of lines or of the file differ)\n");
    }
    out
}

/// The longest common subsequence of two lists of lines, with what is left out of each.
fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    let (rows, columns) = (old.len(), new.len());
    let mut common = vec![vec![0_usize; columns + 1]; rows + 1];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut edits = Vec::new();
    while i < rows || j < columns {
        if i < rows && j < columns && old[i] == new[j] {
            edits.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < rows && (j == columns || common[i + 1][j] >= common[i][j + 1]) {
            edits.push(('-', old[i]));
            i += 1;
        } else {
            edits.push(('+', new[j]));
            j += 1;
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn a_change_is_shown_with_its_surroundings() {
        let shown = lines("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nX\ne\nf\n");
        assert_eq!(shown, "    ...\n    b\n    c\n  - d\n  + X\n    e\n    f\n");
        assert!(lines("a", "a\n").contains("only the ends"));
    }
}
