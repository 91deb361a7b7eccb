#![allow(clippy::unwrap_used, clippy::expect_used)]

use clap::CommandFactory as _;

use super::*;

/// Every verb below `command`, with its path.
fn verbs(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
    found.push((path.to_owned(), command.clone()));
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        verbs(verb, &format!("{path} {}", verb.get_name()), found);
    }
}

fn all_verbs() -> Vec<(String, clap::Command)> {
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    verbs(&command, "crossloom", &mut found);
    found
}

#[test]
fn the_description_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_and_every_option_has_help() {
    let verbs = all_verbs();
    assert!(verbs.len() > 15, "{}", verbs.len());
    for (path, verb) in verbs {
        assert!(verb.get_about().is_some(), "`{path}` has no help");
        if path.split(' ').count() == 2 {
            let (short, long) = (verb.get_about(), verb.get_long_about());
            assert!(long.is_some() && long != short, "`{path}` says no more at length than in short");
        }
        for argument in verb.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.len() > 8, "`{path}`: `{}` has no help", argument.get_id());
        }
    }
}

#[test]
fn every_verb_teaches_with_examples_that_parse() {
    let mut examples = 0;
    for (path, verb) in all_verbs() {
        if verb.has_subcommands() {
            continue;
        }
        let long = verb.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<&str> = long.lines().filter_map(|line| line.trim().strip_prefix("$ ")).collect();
        assert!(!lines.is_empty(), "`{path}` has no example");
        for line in lines {
            // What follows a pipe or a redirection is the shell's.
            let words: Vec<String> = line
                .split(['|', '>'])
                .next()
                .unwrap()
                .split_whitespace()
                .map(|word| word.trim_matches('"').trim_matches('\'').to_owned())
                .collect();
            let own: Vec<&str> = path.split(' ').collect();
            assert!(
                words.iter().take(own.len()).eq(own.iter()),
                "example of another verb in `{path}`: {line}"
            );
            if !line.contains('"') {
                Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}\n{error}"));
            }
            examples += 1;
        }
    }
    assert!(examples > 15, "{examples}");
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let broken_pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let codes = [
        CliError::failed("x"),
        CliError::usage("x", "y"),
        CliError::Interrupted("x".to_owned()),
        CliError::Output(broken_pipe),
        CliError::Output(full),
    ]
    .map(|error| error.exit_code());
    assert_eq!(codes, [1, 2, 130, 0, 1]);
    for code in ["\n  0 ", "\n  1 ", "\n  2 ", "\n  130 "] {
        assert!(AFTER_HELP.contains(code), "{code}");
    }
}
