//! What the documents tell people to type exists.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use crossloom::cli::Cli;

use crate::support::workspace;

/// A command in a document.
struct Told {
    place: String,
    line: String,
    /// Whole, in a block to be copied; not just named in a sentence.
    whole: bool,
}

fn documents() -> Vec<PathBuf> {
    let root = workspace();
    let mut paths: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].iter().map(|name| root.join(name)).collect();
    for folder in ["docs/src", "recipes", "recipes/methods"] {
        let files = std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        paths.extend(files.filter(|path| path.extension().is_some_and(|e| e == "md" || e == "toml")));
    }
    paths.sort();
    paths
}

/// The arguments after the program's name, if a line runs it.
fn of_program(line: &str) -> Option<&str> {
    let line = line.trim();
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let line = line.strip_prefix("#   ").unwrap_or(line);
    ["crossloom ", "target/release/crossloom ", "cargo run --release -- "]
        .iter()
        .find_map(|program| line.strip_prefix(program))
}

/// Every command of a document. In sentences, a code span that starts with a verb counts.
fn told(path: &PathBuf) -> Vec<Told> {
    let text = std::fs::read_to_string(path).unwrap();
    let verbs: Vec<String> =
        Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let known =
        |line: &str| line.split(' ').next().is_some_and(|first| verbs.iter().any(|verb| verb == first));
    let (mut found, mut block) = (Vec::new(), path.extension().is_some_and(|extension| extension == "toml"));
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", path.display(), number + 1);
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if block {
            found.extend(of_program(line).map(|line| Told { place, line: line.to_owned(), whole: true }));
        } else if !line.contains("Not there yet") && !line.starts_with("- `crossloom verify`") {
            for span in line.split('`').skip(1).step_by(2) {
                // A verb alone may be an ordinary word. In a table, a bar is escaped; capitals stand for any of a few words.
                let line = of_program(span).or_else(|| (known(span) && span.contains(' ')).then_some(span));
                let line =
                    line.map(|line| line.replace("\\|", "|").replace("VERB", "run").replace("SHELL", "bash"));
                found.extend(line.map(|line| Told { place: place.clone(), line, whole: false }));
            }
        }
    }
    found
}

/// Words as a shell splits them; what follows a comment, a pipe or a redirection is not ours.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (letter, quote) {
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, Some(open)) if letter == open => quote = None,
            ('|' | '>' | '&' | ';', None) => break,
            ('#', None) if word.is_none() => break,
            (' ', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_command_in_the_documents_can_be_typed() {
    let (mut whole, mut named) = (0, 0);
    for path in documents() {
        for Told { place, line, whole: is_whole } in told(&path) {
            *(if is_whole { &mut whole } else { &mut named }) += 1;
            let arguments = std::iter::once("crossloom".to_owned()).chain(words(&line));
            let Err(error) = Cli::try_parse_from(arguments) else { continue };
            let incomplete = matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument
                    | ErrorKind::MissingSubcommand
                    | ErrorKind::DisplayHelp
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            assert!(!is_whole && incomplete, "{place}: `crossloom {line}`\n{error}");
        }
    }
    assert!(whole >= 15 && named >= 15, "{whole} whole, {named} named");
}

/// The commands in the long help of a verb and of the verbs below it, which start with `$ crossloom`.
fn examples(command: &clap::Command, found: &mut Vec<(String, String)>) {
    let help = command.get_after_long_help().or_else(|| command.get_after_help());
    for line in help.map(ToString::to_string).unwrap_or_default().lines() {
        let told = line.trim().strip_prefix("$ ").and_then(of_program);
        found.extend(told.map(|told| (command.get_name().to_owned(), told.to_owned())));
    }
    command.get_subcommands().for_each(|verb| examples(verb, found));
}

#[test]
fn every_example_in_the_help_can_be_typed() {
    let mut found = Vec::new();
    examples(&Cli::command(), &mut found);
    for (verb, line) in &found {
        let words = words(line);
        // What a shell takes for itself, unless it is said with a space before it.
        let unquoted = words.last().is_some_and(|word| word.ends_with('-')) && line.contains("->");
        assert!(!unquoted, "help of {verb}: a shell cuts `{line}` at `>`");
        let arguments = std::iter::once("crossloom".to_owned()).chain(words);
        assert!(
            Cli::try_parse_from(arguments)
                .map_err(|error| panic!("help of {verb}: `{line}`\n{error}"))
                .is_ok()
        );
    }
    assert!(found.len() >= 20, "{}", found.len());
}

#[test]
fn every_verb_is_in_the_readme() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let table = readme.split("\n## Verbs\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let told: Vec<&str> = (table.lines().filter(|line| line.starts_with("| `")))
        .flat_map(|line| line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .filter_map(|span| span.split(' ').next())
        .collect();
    let command = Cli::command();
    let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let missing: Vec<&&str> = verbs.iter().filter(|verb| !told.contains(*verb)).collect();
    let unknown: Vec<&&str> = told.iter().filter(|verb| !verbs.contains(*verb)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}

#[test]
fn words_are_those_of_a_shell() {
    let split = |line| words(line).join("|");
    assert_eq!(split("graph a.toml --why \"b 1->l 0\"  # c"), "graph|a.toml|--why|b 1->l 0");
    assert_eq!(split("check a --set x.y='[\"z\"]' > f"), "check|a|--set|x.y=[\"z\"]");
    assert_eq!(split("a '' b | c"), "a||b");
}
