//! Names that become folders: they must not leave the run folder, and must work on every file system.

use super::{RECIPE_FILE, RECORD_FILE, REPORT_FILE, RunDirError};

/// Files of a run that lie beside the variants' folders.
const RESERVED: [&str; 5] = [RECORD_FILE, RECIPE_FILE, REPORT_FILE, "comparison.json", "comparison.txt"];

/// Refuses what cannot be the folder of a variant. Swept variants are called `cli,rank=4,seed=1`, a value of several parts
/// `a+b`, and one that is told apart by its hash `a~0123abcd`.
///
/// # Errors
/// The name is empty or too long, has other characters, begins like a hidden file or an option, or is that of another file.
pub fn check_variant_name(name: &str) -> Result<(), RunDirError> {
    let rule = "use 1 to 200 letters, digits or `-_.,=+~`, not starting with `.` or `-`, and not the name of another file \
                of a run";
    let portable = |c: char| is_plain(c) || matches!(c, ',' | '=' | '+' | '~');
    let sound = is_sound(name, 200, portable) && !RESERVED.contains(&name);
    if sound { Ok(()) } else { Err(RunDirError::Name { what: "variant name", name: name.to_owned(), rule }) }
}

/// Refuses what cannot be the first or second part of a run's folder name.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), RunDirError> {
    let rule = "use 1 to 64 letters, digits, `-`, `_` or `.`, not starting with `.` or `-`";
    if is_sound(name, 64, is_plain) {
        return Ok(());
    }
    Err(RunDirError::Name { what, name: name.to_owned(), rule })
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn is_sound(name: &str, longest: usize, portable: impl Fn(char) -> bool) -> bool {
    (1..=longest).contains(&name.len()) && name.chars().all(portable) && !name.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_sweep_are_names_of_variants() {
        let long = format!("cli,{}", "x=1,".repeat(40));
        for name in
            ["cli", "a.second-one", "cli,rank=2", "cli,taps=block.1+block.3,seed=0", "x,v=a~01ab23cd", &long]
        {
            assert!(check_variant_name(name).is_ok(), "{name}");
        }
        let longer = "x".repeat(201);
        for name in
            ["", "..", ".hidden", "a/b", "a\\b", "../other", "-flag", "ü", "a b", "a:b", "run.json", &longer]
        {
            assert!(check_variant_name(name).is_err(), "{name}");
        }
        assert!(check_name("run name", "cli,rank=2").is_err());
    }
}
