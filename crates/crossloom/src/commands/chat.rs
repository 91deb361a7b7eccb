//! `chat`: a conversation with a model, in a terminal or through a pipe.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crossloom_data::chat::Message;
use crossloom_data::image::{Image, ImageLimits};
use crossloom_run::ExperimentError;
use crossloom_run::engine::{Client, Engine, Event, GateValue, Limits, Reason, Request};

use crate::cli::{AskArgs, CliError, Table, Terminal};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Talk with a trained variant, or with a pretrained model as it is, about pictures. What was said before is part of the prompt, where the \
model was made for conversations; others are asked one question at a time.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom chat runs/quickstart-1a2b3c4d --variant cli --image shape.png
  $ crossloom chat ~/models/llava-1.5-7b-hf --image a.png
  $ crossloom chat pair.toml --untrained --max-tokens 256 --temperature 0.7

Lines are questions, but for those that begin with a stroke:
  /image PATH   show a picture with the next question
  /gates        how far each tap opened at each point of the decoder, for the last prompt
  /reset        begin a new conversation
  /quit         end, as the end of the input does
Answers go to standard output, everything else to standard error.";

/// The longest line that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Arguments of `chat`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    ask: AskArgs,
}

/// Talks until the input ends.
///
/// # Errors
/// The recipe cannot be used or was not run, or the model cannot be loaded; input that cannot be read. What is wrong with a question is
/// said, and another may be asked.
pub fn run(Args { ask: args }: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let sampling = args.answers.sampling()?;
    let (served, _) = args.served(terminal)?;
    let mut limits = Limits { slots: 1, resources: args.resources(), ..Limits::default() };
    limits.pictures = limits.pictures.max(args.pictures.images.len());
    let engine = Engine::start(served, limits)?;
    let client = engine.client();
    let most = args.answers.max_tokens().unwrap_or(client.card().max_new_tokens());
    let mut chat =
        Chat { client: &client, terminal, history: History::default(), shown: Vec::new(), gates: None };
    for path in &args.pictures.images {
        chat.show(path)?;
    }
    let ask = |prompt| Request {
        sampling,
        stop: args.answers.stop.clone(),
        gates: true,
        ..Request::new(prompt, most)
    };
    let person = std::io::stdin().is_terminal();
    let mut input = std::io::stdin().lock();
    loop {
        if person {
            let mut err = std::io::stderr().lock();
            _ = write!(err, "> ").and_then(|()| err.flush());
        }
        let mut line = String::new();
        let read = std::io::Read::take(&mut input, LONGEST).read_line(&mut line);
        if read.map_err(|error| CliError::failed(format!("the input cannot be read: {error}")))? == 0 {
            break;
        }
        match line.trim() {
            "" => {}
            "/quit" => break,
            "/reset" => {
                (chat.history, chat.gates) = (History::default(), None);
                chat.shown.clear();
            }
            "/gates" => chat.tell_gates()?,
            command if command.starts_with('/') => match command.strip_prefix("/image ") {
                Some(path) => {
                    if let Err(error) = chat.show(Path::new(path.trim())) {
                        terminal.error(&error);
                    }
                }
                None => {
                    terminal.problem(&format!("there is no `{command}`: /image PATH, /gates, /reset, /quit"));
                }
            },
            question => {
                if let Err(error) = chat.answer(question, &ask) {
                    if matches!(error, CliError::Output(_)) {
                        return Err(error);
                    }
                    terminal.error(&error);
                }
            }
        }
    }
    engine.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// What was said and shown so far.
#[derive(Clone, Default)]
struct History {
    messages: Vec<Message>,
    pictures: Vec<Image>,
}

struct Chat<'c> {
    client: &'c Client,
    terminal: &'c Terminal,
    history: History,
    /// Pictures of the next question.
    shown: Vec<Image>,
    /// Those of the last prompt.
    gates: Option<Vec<GateValue>>,
}

impl Chat<'_> {
    /// Shows a picture with the next question. Where a model reads one alone, that begins a new conversation.
    fn show(&mut self, path: &Path) -> Result<(), CliError> {
        let picture = Image::open(path, &ImageLimits::default()).map_err(ExperimentError::from)?;
        match self.client.card().pictures() {
            (_, 0) => Err(CliError::usage("the model sees no pictures", "ask without one")),
            (_, 1) => {
                self.history = History::default();
                self.shown = vec![picture];
                Ok(())
            }
            (_, most) if self.history.pictures.len() + self.shown.len() >= most => Err(CliError::usage(
                format!("a conversation shows at most {most} pictures"),
                "begin a new one with /reset",
            )),
            _ => {
                self.shown.push(picture);
                Ok(())
            }
        }
    }

    /// Asks, writes the answer while it comes, and keeps both.
    fn answer(
        &mut self,
        question: &str,
        ask: &dyn Fn(crossloom_run::engine::Prompt) -> Request,
    ) -> Result<(), CliError> {
        let mut asked = self.history.clone();
        if !self.client.card().converses() {
            asked.messages.clear();
            // The picture that all questions are about.
            if self.shown.is_empty() {
                self.shown = std::mem::take(&mut asked.pictures);
            }
            asked.pictures.clear();
        }
        asked.messages.push(Message::question(self.shown.len(), question));
        asked.pictures.extend(self.shown.iter().cloned());
        let prompt = self.client.card().chat(&asked.messages, asked.pictures.clone());
        let prompt = prompt.map_err(ExperimentError::from)?;
        let mut running = self.client.submit(ask(prompt)).map_err(ExperimentError::from)?;
        let mut said = String::new();
        while let Some(event) = running.wait() {
            match event {
                Event::Started { gates, .. } => self.gates = gates,
                Event::Token(token) => say(&mut said, &token.text)?,
                Event::Done { text, reason, .. } => {
                    say(&mut said, &text)?;
                    say(&mut String::new(), "\n")?;
                    if reason == Reason::Length {
                        self.terminal.note("(cut at the longest length)");
                    }
                    asked.messages.push(Message::text("assistant", said.trim()));
                    self.history = asked;
                    self.shown.clear();
                    return Ok(());
                }
                Event::Failed(problem) => return Err(CliError::failed(problem)),
            }
        }
        Err(CliError::failed("the engine stopped"))
    }

    /// Which taps each point opened for the last prompt: a line for each point.
    fn tell_gates(&self) -> Result<(), CliError> {
        let gates = match &self.gates {
            Some(gates) if !gates.is_empty() => gates,
            Some(_) => {
                self.terminal.problem("the model has no gates");
                return Ok(());
            }
            None => {
                self.terminal.problem("nothing was asked yet");
                return Ok(());
            }
        };
        let mut table = Table::new(["point", "tap", "gate", ""]);
        for GateValue { tap, point, value } in gates {
            let bar = "#".repeat((value.clamp(0.0, 1.0) * 20.0).round() as usize);
            table.row([point.clone(), tap.clone(), format!("{value:.3}"), bar]);
        }
        self.terminal.print(&table.to_string())
    }
}

/// Writes a piece of an answer at once.
fn say(said: &mut String, text: &str) -> Result<(), CliError> {
    said.push_str(text);
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
