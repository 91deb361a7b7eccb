//! `generate`: answers to a person's own questions.

use std::io::Read as _;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::{AskArgs, CliError, Table, Terminal};
use crossloom_run::{Asked, generate};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Answer questions about pictures with a trained variant, or with a pretrained model as it is. All questions see the pictures; none sees \
another.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom generate recipes/quickstart.toml --variant cli --image shape.png \"is there a red shape?\"
  $ crossloom generate runs/quickstart-1a2b3c4d --variant cli --image shape.png --question \"is there a red shape?\"
  $ crossloom generate recipes/synthetic.toml --variant cli --image a.png --question red? --question blue? --json
  $ crossloom generate ~/models/llava-1.5-7b-hf --image a.png \"what is this?\"
  $ crossloom generate pair.toml --untrained --image a.png --image b.png --max-tokens 64 - < question.txt

In place of a recipe stands the folder of a run, which is all that is needed: neither the data set nor the network, also \
where it was copied to another machine; or the folder of a model: LLaVA-1.5 or LLaVA-OneVision as it was published, or what \
`model export --bundle` wrote. A recipe and its overrides must be those that were run; they find the folder. The \
variant's newest checkpoint answers; of one with stages that is the newest stage that has one. `-` reads a question from standard input.";

/// The longest question that is read from standard input, in bytes.
const LONGEST: u64 = 1 << 20;

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    ask: AskArgs,
    /// Questions about them; `-` is read from standard input.
    #[arg(value_name = "QUESTION")]
    asked: Vec<String>,
    /// A question about them; may be given several times.
    #[arg(long = "question", value_name = "TEXT")]
    questions: Vec<String>,
    /// Write one JSON document: every question with its answer, and whether that ended by itself.
    #[arg(long)]
    json: bool,
}

/// Answers.
///
/// # Errors
/// The recipe cannot be used or was not run; a picture that cannot be read; a word that the model does not know.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let AskArgs { pictures, answers, .. } = &args.ask;
    let asked = Asked {
        pictures: pictures.images.clone(),
        questions: args.questions()?,
        sampling: answers.sampling()?,
        stop: answers.stop.clone(),
        max_new_tokens: answers.max_tokens(),
    };
    let (served, variant) = args.ask.served(terminal)?;
    let answers = generate(served, &asked, args.ask.resources())?;
    if args.json {
        let images: Vec<String> = asked.pictures.iter().map(|path| path.display().to_string()).collect();
        terminal.json(&json!({ "images": images, "variant": variant, "answers": answers }))?;
    } else {
        let mut table = Table::new(["question", "answer"]);
        for answer in answers {
            let cut = if answer.finished { "" } else { " … (cut at the longest length)" };
            table.row([answer.question, format!("{}{cut}", answer.answer)]);
        }
        terminal.print(&table.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// All questions, in the order in which they were typed, those without an option first.
    fn questions(&self) -> Result<Vec<String>, CliError> {
        let dashes = self.asked.iter().filter(|question| *question == "-").count();
        if dashes > 1 {
            return Err(CliError::usage("standard input is one question", "give `-` once"));
        }
        let read = |question: &String| {
            if question != "-" {
                return Ok(question.clone());
            }
            let mut text = String::new();
            let read = std::io::stdin().lock().take(LONGEST).read_to_string(&mut text);
            read.map_err(|error| {
                CliError::failed(format!("the question on standard input cannot be read: {error}"))
            })?;
            Ok(text.trim().to_owned())
        };
        let questions: Vec<String> = self.asked.iter().map(read).collect::<Result<Vec<_>, CliError>>()?;
        let questions: Vec<String> = questions.into_iter().chain(self.questions.iter().cloned()).collect();
        if questions.is_empty() {
            return Err(CliError::usage(
                "there is no question",
                "ask one, or give `-` to read it from standard input",
            ));
        }
        Ok(questions)
    }
}
