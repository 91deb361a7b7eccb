//! `doctor`: what this machine has.

mod cuda;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crossloom_data::assets::AssetCache;
use serde::Serialize;

use crate::cli::{CliError, Terminal, bytes, counted};
use crossloom_run::backends::{Backend, CudaFindings};
use crossloom_run::machine::processor;
use crossloom_run::memory::Limit;

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Show versions, processor, threads, memory and folders, and which helpers are missing on this machine. Put \
its output into reports of problems.";

const AFTER_HELP: &str = "\
Examples:
  $ crossloom doctor
  $ crossloom doctor --json

Nothing that may be missing is needed to build, to test or to run recipes on generated data. CUDA is looked for in \
the folders of CUDA_HOME, of the active Python environment and of the system; `--backend cuda` runs recipes on it.";

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct Args {
    /// Write one JSON document.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    crossloom: &'static str,
    backend: &'static str,
    instruction_set: Kernels,
    os: &'static str,
    arch: &'static str,
    cpu: Cpu,
    memory: Option<Memory>,
    /// The tightest of all limits of this process.
    limit: Option<Limit>,
    cache: Cache,
    cuda: CudaFindings,
    tools: Vec<Tool>,
}

#[derive(Debug, Serialize)]
struct Cpu {
    model: Option<String>,
    /// Of the instruction sets that kernels make use of, those that the processor has.
    features: Vec<&'static str>,
    threads: usize,
}

/// Which instruction set the backend's kernels use, or why none.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Kernels {
    Use(&'static str),
    Problem { problem: String },
}

impl Kernels {
    fn of(backend: Backend) -> Self {
        match backend.instruction_set() {
            Ok(set) => Self::Use(set),
            Err(error) => Self::Problem { problem: error.to_string() },
        }
    }
}

/// In bytes.
#[derive(Debug, Serialize)]
struct Memory {
    total: u64,
    available: u64,
}

#[derive(Debug, Serialize)]
struct Cache {
    folder: Option<PathBuf>,
    exists: bool,
    problem: Option<String>,
}

/// A program that crossloom can make use of.
#[derive(Debug, Serialize)]
struct Tool {
    name: &'static str,
    /// Its version or place; absent where it was not found.
    found: Option<String>,
    needed_for: &'static str,
}

/// Prints what was found.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let findings = examine();
    if args.json {
        terminal.json(&findings)?;
    } else {
        terminal.print(&text(&findings))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn examine() -> Findings {
    let chromium = env::var_os("CHROMIUM").map(PathBuf::from).filter(|path| path.exists());
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let chromium = chromium.or_else(|| browsers.into_iter().find_map(on_path));
    Findings {
        crossloom: env!("CARGO_PKG_VERSION"),
        backend: Backend::Auto.target().name(),
        instruction_set: Kernels::of(Backend::Auto),
        os: env::consts::OS,
        arch: env::consts::ARCH,
        cpu: Cpu { model: processor(), features: cpu_features(), threads: rayon::current_num_threads() },
        memory: memory(),
        limit: Limit::tightest(),
        cache: cache(),
        cuda: CudaFindings::of_machine(),
        tools: vec![
            Tool {
                name: "python3",
                found: first_line("python3", &["--version"]),
                needed_for: "fetching real data sets",
            },
            Tool {
                name: "pip",
                found: first_line("python3", &["-m", "pip", "--version"]),
                needed_for: "fetching real data sets",
            },
            Tool {
                name: "chromium",
                found: chromium.map(|path| path.display().to_string()),
                needed_for: "the test that looks at a report in a browser",
            },
        ],
    }
}

fn text(findings: &Findings) -> String {
    let Findings { crossloom, backend, instruction_set, os, arch, cpu, memory, limit, cache, cuda, tools } =
        findings;
    let unknown = || "unknown".to_owned();
    let features = if cpu.features.is_empty() { "none".to_owned() } else { cpu.features.join(", ") };
    let mut lines = vec![
        ("crossloom", format!("{crossloom}, backend {backend}")),
        ("system", format!("{os} on {arch}")),
        ("processor", cpu.model.clone().unwrap_or_else(unknown)),
        ("features", features),
        (
            "kernels",
            match instruction_set {
                Kernels::Use(set) => (*set).to_owned(),
                Kernels::Problem { problem } => format!("cannot run: {problem}"),
            },
        ),
        ("threads", counted(cpu.threads, "thread")),
        (
            "memory",
            memory.as_ref().map_or_else(unknown, |memory| {
                format!("{}, {} available", bytes(memory.total), bytes(memory.available))
            }),
        ),
    ];
    let least =
        |limit: &Limit| format!("{} of {} left by {}", bytes(limit.left), bytes(limit.total), limit.source);
    lines.push(("limit", limit.as_ref().map_or_else(unknown, least)));
    let folder = cache.folder.as_ref().map(|folder| folder.display().to_string());
    lines.push((
        "cache",
        match (folder, cache.exists, &cache.problem) {
            (Some(folder), _, Some(problem)) => format!("{folder}: {problem}"),
            (Some(folder), true, None) => folder,
            (Some(folder), false, None) => format!("{folder} (made at the first fetch)"),
            (None, _, problem) => problem.clone().unwrap_or_else(unknown),
        },
    ));
    lines.extend(cuda::lines(cuda));
    for tool in tools {
        let missing = || format!("not found; needed for {}", tool.needed_for);
        lines.push((tool.name, tool.found.clone().unwrap_or_else(missing)));
    }
    let lines: Vec<String> = lines.into_iter().map(|(name, value)| format!("{name:<10} {value}")).collect();
    lines.join("\n")
}

macro_rules! detected {
    ($test:ident: $($feature:tt),*) => {
        [$(($feature, std::arch::$test!($feature))),*]
            .into_iter()
            .filter_map(|(name, has)| has.then_some(name))
            .collect()
    };
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    detected!(is_x86_feature_detected: "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl")
}

#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<&'static str> {
    detected!(is_aarch64_feature_detected: "neon", "fp16", "sve")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}

/// From Linux's own table; other systems have none that is a file.
fn memory() -> Option<Memory> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| -> Option<u64> {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some(Memory { total: 1024 * kib("MemTotal")?, available: 1024 * kib("MemAvailable")? })
}

fn cache() -> Cache {
    match AssetCache::of_user() {
        Err(error) => Cache { folder: None, exists: false, problem: Some(error.to_string()) },
        Ok(cache) => {
            let folder = cache.root().to_owned();
            let state = std::fs::metadata(&folder);
            let problem = match &state {
                Ok(metadata) if !metadata.is_dir() => Some("is not a folder".to_owned()),
                Ok(metadata) if metadata.permissions().readonly() => Some("cannot be written".to_owned()),
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Some(error.to_string()),
                _ => None,
            };
            Cache { folder: Some(folder), exists: state.is_ok(), problem }
        }
    }
}

/// The first line that a program prints, if it can be started and succeeds.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().next().map(str::trim)?;
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

/// Where a program is, without starting it.
fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| Path::is_file(path))
}
