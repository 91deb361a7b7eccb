//! `serve`: a model behind an HTTP interface.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use crossloom_run::engine::{self, Engine};
use crossloom_serve::{Access, Limits, stop};

use crate::cli::{CliError, ModelArgs, SubjectArgs, Terminal, on_interrupt};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Answer requests of OpenAI's clients with a trained variant: conversations with pictures, completions, streams. A page at / \
tries it in a browser and shows the gates of every request. Requests share the model's rounds; what one of them is answered \
does not depend on the others.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom serve recipes/quickstart.toml --variant cli
  $ crossloom serve ~/models/llava-1.5-7b-hf --cache bf16
  $ crossloom serve runs/quickstart-1a2b3c4d --variant cli --port 0 --slots 8
  $ crossloom serve runs/llava-1a2b3c4d --variant cli --host 0.0.0.0 --api-key-file key.txt --allow-host box.lan

It is reached from this machine alone, unless --host says otherwise. A key is read from --api-key-file or from \
CROSSLOOM_API_KEY. Pictures come in requests; no address is ever fetched, and no request is written down. Ctrl-C and every \
signal that ends a process let what runs be finished.";

/// The variable that a key is read from.
const KEY: &str = "CROSSLOOM_API_KEY";

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The address to be reached at; 0.0.0.0 is all of this machine's.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The port; 0 is any that is free, which is printed.
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    port: u16,
    /// What requests call the model. Default: the recipe's name and the variant's, as in `quickstart/cli`.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A file with the key that requests must have.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    api_key_file: Option<PathBuf>,
    /// A name of this machine that requests may use, besides its addresses and localhost; may be given several times.
    #[arg(long = "allow-host", value_name = "NAME")]
    allow_hosts: Vec<String>,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

/// How much the model does at once.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Engine")]
struct EngineArgs {
    /// Requests that are answered at once.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = above_zero)]
    slots: usize,
    /// Positions of a slot: prompt, pictures and answer. Default: 2048, or what the language model has if that is less.
    #[arg(long, value_name = "POSITIONS", value_parser = above_zero)]
    positions: Option<usize>,
    /// The most pictures of a prompt, where the model reads several.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = above_zero)]
    pictures: usize,
    /// Requests that may wait for a slot; further ones are told to come again.
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = above_zero)]
    queue: usize,
}

/// What requests and connections may take.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Bytes of a request's body.
    #[arg(long, value_name = "SIZE", default_value = "16MiB")]
    max_body: ByteSize,
    /// Bytes of all bodies that are held at once.
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    max_bodies: ByteSize,
    /// Pixels of a picture.
    #[arg(long, value_name = "COUNT", default_value_t = 1 << 24)]
    max_pixels: u64,
    /// Tokens of an answer.
    #[arg(long, value_name = "COUNT", default_value_t = 4096, value_parser = above_zero)]
    max_tokens: usize,
    /// Answers to one request: its prompts times `n`.
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = above_zero)]
    max_choices: usize,
    /// Requests that are read, prepared, waiting or answered at once.
    #[arg(long, value_name = "COUNT", default_value_t = 128, value_parser = above_zero)]
    max_requests: usize,
    /// Connections; further ones wait.
    #[arg(long, value_name = "COUNT", default_value_t = 512, value_parser = above_zero)]
    max_connections: usize,
    /// Seconds from the beginning of a request to the end of its answer.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    request_time: Duration,
    /// Seconds for the headers of a request, and for which a connection may lie idle.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    header_time: Duration,
    /// Seconds for the body of a request.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    body_time: Duration,
    /// Seconds after which a client that takes nothing of its answer is left.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    write_time: Duration,
    /// Seconds for which what runs is finished once the server is stopped.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    stop_time: Duration,
}

/// A count of which there must be one.
fn above_zero(typed: &str) -> Result<usize, String> {
    match typed.parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// A time of more than nothing and at most a day.
fn seconds(typed: &str) -> Result<Duration, String> {
    let seconds: f64 = typed.parse().map_err(|error| format!("{error}"))?;
    if seconds > 0.0 && seconds <= 86_400.0 {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("more than 0 and at most 86400 seconds are needed".to_owned())
    }
}

impl From<&LimitArgs> for Limits {
    fn from(args: &LimitArgs) -> Self {
        let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        let body = bytes(args.max_body);
        Self {
            body,
            // A budget in which one body fits, or none would ever be taken.
            bodies: bytes(args.max_bodies).max(body),
            pixels: args.max_pixels,
            tokens: args.max_tokens,
            choices: args.max_choices,
            requests: args.max_requests,
            connections: args.max_connections,
            request_time: args.request_time,
            header_time: args.header_time,
            body_time: args.body_time,
            write_time: args.write_time,
            stop_time: args.stop_time,
        }
    }
}

/// Serves until it is stopped.
///
/// # Errors
/// The recipe cannot be used or was not run; the address cannot be used; the model does not fit.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let access = Access { key: args.key()?, hosts: args.allow_hosts.clone() };
    // Before anything heavy: the port may be another's.
    let wanted = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(wanted)
        .map_err(|error| CliError::failed(format!("{wanted} cannot be listened at: {error}")))?;
    let address = listener.local_addr().map_err(CliError::failed)?;
    if !address.ip().is_loopback() && access.key.is_none() {
        terminal.note(&format!(
            "warning: whoever reaches {address} may ask, as there is no key; --api-key-file names one"
        ));
    }
    let (mut served, _) = args.model.served(false, terminal)?;
    if let Some(name) = &args.name {
        served = served.named(name);
    }
    let engine = Engine::start(served, args.engine.limits(&args.model.subject))?;
    let client = engine.client();
    let (stop, stopped) = stop();
    on_interrupt("finishing what is being answered", move || stop.now())?;
    terminal.print(&format!("{} at http://{address}", client.card().name()))?;
    crossloom_serve::run(listener, client, (&args.limits).into(), access, stopped)
        .map_err(|error| CliError::failed(format!("the server ended: {error}")))?;
    engine.finish()?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// The key that requests must have, where one was given.
    fn key(&self) -> Result<Option<String>, CliError> {
        let key = match &self.api_key_file {
            Some(path) => std::fs::read_to_string(path).map(Some).map_err(|error| {
                CliError::failed(format!("the key in {} cannot be read: {error}", path.display()))
            })?,
            None => std::env::var(KEY).ok(),
        };
        let key = key.map(|key| key.trim().to_owned());
        if key.as_ref().is_some_and(|key| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(CliError::usage(
                "the key is empty, or has characters that no header can have",
                "a key is one line of letters, digits and signs, such as `openssl rand -hex 32` gives",
            ));
        }
        Ok(key)
    }
}

impl EngineArgs {
    fn limits(&self, subject: &SubjectArgs) -> engine::Limits {
        engine::Limits {
            slots: self.slots,
            positions: self.positions,
            pictures: self.pictures,
            queue: self.queue,
            resources: subject.resources.into(),
        }
    }
}
