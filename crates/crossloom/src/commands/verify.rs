//! `verify`: a proof for every edge that what runs is what the recipe says.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use crate::cli::{CliError, SubjectArgs, Table, Terminal, counted};
use crossloom_run::DataSets;
use crossloom_run::verify::{Aspect, Built, Contributions, Proof, Verified, contributions, verify};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Prove for every edge of a recipe's topology that what runs is what the recipe says: it begins at its tap and ends at its \
point (structure), cutting it changes the logits (liveness), gradients reach what is trained on it (gradient), what it adds \
stands where the picture's tokens stand (alignment), and a whole forward pass, prefill and decode, and prefill in chunks \
agree (phase). Also what edges share: no answer is seen before it is given, questions about a picture do not see each other, \
frozen weights stay as they are, and what is compiled computes what was verified.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom verify recipes/quickstart.toml
  $ crossloom verify recipes/quickstart.toml --variant cli
  $ crossloom verify recipes/ablations.toml --json
  $ crossloom verify runs/quickstart-1a2b3c4d --variant cli --pictures 200

The model has the recipe's depth, with widths scaled down and random weights: it takes seconds and reads neither data nor \
weights. Where the folder of a run is given, its trained weights are measured too: each edge is cut in turn, and what the \
logits, the loss and the answers lose is told. The exit code is 1 if anything of the wiring is wrong. docs/src/verify.md says \
how to read the tables.";

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Of a run: the pictures of the split that it is scored on with which trained weights are measured, at least.
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pictures: u32,
    /// Write one JSON document: every edge with its proofs, what was measured, and what is wrong.
    #[arg(long)]
    json: bool,
}

/// Verifies every variant, stage by stage.
///
/// # Errors
/// The recipe cannot be used or built; a run without a checkpoint or without its data.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let (loaded, run) = args.subject.look_at(terminal)?;
    let folder = loaded.path.parent().unwrap_or(Path::new("."));
    let stop = AtomicBool::new(false);
    let data = match &run {
        None => None,
        Some(run) => {
            let data = DataSets::of_variants(&loaded.variants, folder, &stop, &mut |_| {});
            Some(data.map_err(|error| error.of_run(run.path()))?)
        }
    };
    let (mut texts, mut documents, mut failed) = (Vec::new(), Vec::new(), false);
    for variant in args.subject.variant.choose(&loaded)? {
        for recipe in variant.recipe.by_stage() {
            let verified = verify(&recipe, &Built)?;
            failed |= !verified.holds();
            let title = match recipe.stage() {
                Some(stage) => format!("{}, stage {stage}", variant.name),
                None => variant.name.clone(),
            };
            texts.push(text(&title, &verified));
            documents.push(json!({
                "variant": variant.name,
                "stage": recipe.stage(),
                "holds": verified.holds(),
                "edges": verified.edges,
                "shared": verified.shared,
            }));
        }
        if let (Some(run), Some(data)) = (&run, &data) {
            let dir = run.variant_path(&variant.name).map_err(CliError::failed)?;
            let (recipe, resources) = (&variant.recipe, args.subject.resources.into());
            let pictures = args.pictures as usize;
            // Inside the pool, as a run is.
            let trained =
                rayon::scope(|_| contributions(&dir, recipe, data.of(recipe)?, resources, pictures))?;
            texts.push(trained_text(&variant.name, &trained));
            documents.push(json!({ "variant": variant.name, "stage": trained.stage, "trained": trained }));
        }
    }
    if args.json {
        let recipe = args.subject.recipe.recipe.display().to_string();
        terminal.json(&json!({ "recipe": recipe, "holds": !failed, "variants": Value::Array(documents) }))?;
    } else {
        terminal.print(&texts.join("\n"))?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A table with a row per edge, then what all share, then what is worth knowing and what is wrong.
fn text(title: &str, verified: &Verified) -> String {
    let wrong = verified.problems().count();
    let verdict = if wrong == 0 { "all proved".to_owned() } else { counted(wrong, "problem") };
    let mut text = format!("{title}: {}, {verdict}\n", counted(verified.edges.len(), "edge"));
    let mut table =
        Table::new(["edge", "structure", "adds", "logits", "gradient", "alignment", "phase"]).indented(2);
    for edge in &verified.edges {
        let (structure, liveness) = (&edge.proofs[&Aspect::Structure], &edge.proofs[&Aspect::Liveness]);
        let (gradient, alignment, phase) =
            (&edge.proofs[&Aspect::Gradient], &edge.proofs[&Aspect::Alignment], &edge.proofs[&Aspect::Phase]);
        table.row([
            edge.edge.clone(),
            cell(
                structure,
                number(structure, "positions").map(|positions| format!("{positions:.0} positions")),
            ),
            cell(liveness, number(liveness, "update").map(share)),
            cell(liveness, number(liveness, "logits").map(share)),
            cell(gradient, reached(gradient)),
            cell(alignment, number(alignment, "off").map(off)),
            cell(phase, phase.measured.values().copied().reduce(f64::max).map(off)),
        ]);
    }
    text.push_str(&table.to_string());
    let mut shared = Table::new(["shared", "", ""]).indented(2);
    for (name, proof) in &verified.shared {
        let measured: Vec<String> =
            proof.measured.iter().map(|(name, value)| format!("{name} {}", plain(*value))).collect();
        shared.row([(*name).to_owned(), cell(proof, Some("holds".to_owned())), measured.join(", ")]);
    }
    text.push_str(&shared.to_string());
    for line in told(verified, |proof| &proof.notes) {
        text.push_str(&format!("  note: {line}\n"));
    }
    for line in told(verified, |proof| &proof.problems) {
        text.push_str(&format!("  wrong: {line}\n"));
    }
    text
}

/// A table with a row per edge of a trained model.
fn trained_text(name: &str, trained: &Contributions) -> String {
    let Contributions { stage, pictures, tokens, loss, edges } = trained;
    let stage = stage.as_ref().map(|stage| format!(", stage {stage}")).unwrap_or_default();
    let mut text = format!(
        "{name}{stage}, trained: each edge cut on {} ({} of answers), loss {loss:.4}\n",
        counted(*pictures, "picture"),
        counted(*tokens, "token")
    );
    let mut table = Table::new(["edge", "logits", "loss without it", "answers changed", ""]).indented(2);
    for edge in edges {
        let verdict = match (edge.alive, edge.spare, edge.with.is_empty()) {
            (false, ..) => "dead in the weights".to_owned(),
            (true, true, _) => "could be cut".to_owned(),
            (true, false, true) => String::new(),
            (true, false, false) => format!("with {}", edge.with.join(", ")),
        };
        table.row([
            edge.edge.clone(),
            share(edge.logits),
            format!("{:.4} ({:+.4})", edge.loss, edge.loss - loss),
            share(edge.answers),
            verdict,
        ]);
    }
    text.push_str(&table.to_string());
    text
}

/// What is said of edges and of what they share; where the same is said of several, in one line.
fn told(verified: &Verified, of: fn(&Proof) -> &Vec<String>) -> Vec<String> {
    let mut lines: Vec<(&str, Vec<&str>)> = Vec::new();
    let edges =
        verified.edges.iter().flat_map(|edge| edge.proofs.values().map(|proof| (edge.edge.as_str(), proof)));
    for (name, proof) in edges.chain(verified.shared.iter().map(|(name, proof)| (*name, proof))) {
        for said in of(proof) {
            match lines.iter_mut().find(|(known, _)| known == said) {
                Some((_, names)) if names.contains(&name) => {}
                Some((_, names)) => names.push(name),
                None => lines.push((said, vec![name])),
            }
        }
    }
    let line = |(said, names): (&str, Vec<&str>)| match names[..] {
        [first, _, ..] => format!("{first} and {}: {said}", counted(names.len() - 1, "other")),
        _ => format!("{}: {said}", names.concat()),
    };
    lines.into_iter().map(line).collect()
}

fn cell(proof: &Proof, good: Option<String>) -> String {
    match (proof.holds(), good) {
        (false, _) => "WRONG".to_owned(),
        (true, Some(good)) => good,
        (true, None) => "-".to_owned(),
    }
}

fn number(proof: &Proof, name: &str) -> Option<f64> {
    proof.measured.get(name).copied()
}

/// The norm of the gradient that passes an edge, and whether it does so from the start on.
fn reached(proof: &Proof) -> Option<String> {
    match (number(proof, "at start"), number(proof, "when reached")) {
        (Some(start), Some(when)) if start == when => Some(plain(start)),
        (Some(_), Some(when)) => Some(format!("{} later", plain(when))),
        _ => None,
    }
}

fn share(value: f64) -> String {
    match 100.0 * value {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.01 => format!("{percent:.0e} %"),
        percent => format!("{percent:.2} %"),
    }
}

fn off(value: f64) -> String {
    if value == 0.0 { "exact".to_owned() } else { format!("{value:.0e} off") }
}

fn plain(value: f64) -> String {
    if value == 0.0 || (0.01..1e6).contains(&value) && value.fract() == 0.0 {
        format!("{value}")
    } else {
        format!("{value:.1e}")
    }
}
