//! The CUDA kernels of every shipped recipe, compiled by NVIDIA's compiler without a GPU: for training, and for every phase of an answer.
//!
//! All of them for one architecture, and the quickstart's for both; with `CROSSLOOM_ALL_KERNELS=1` all for both, which takes five
//! minutes on two processors.
//!
//! The snapshot says which kernels there are, by file: how many distinct ones, the most registers, stack and shared memory that one of
//! them takes, and what it spills; and which programs do not lower, with the reason, until there are none.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod shipped;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crossloom_cuda::PRELUDE;
use crossloom_cuda::cubins::{Cubins, whole};
use crossloom_cuda::nvrtc::{Nvrtc, Resources};
use crossloom_cuda::probe::Places;
use crossloom_data::assets::AssetCache;
use crossloom_recipe::Recipe;
use crossloom_run::backends::Backend;
use crossloom_run::cells::standing_for_seeds;
use crossloom_run::stages::{Depth, Format, Mode, Shapes, Stage, Subject, render};
use serde_json::Value;
use shipped::{recipe, recipes, studies};

const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90a"];
const MODES: [Mode; 5] = [Mode::Train, Mode::Encode, Mode::Connect, Mode::Prefill, Mode::Decode];

/// Files whose kernels may keep registers in memory, how many bytes each, and the reason.
const SPILLS: [(&str, u32, &str); 1] = [(
    "gemm",
    12,
    "in `f32` on sm_90a, 64 columns and 32 steps: the assembler stops at 80 registers, so that three blocks fit, and stores three numbers once",
)];

/// Warnings that say nothing is wrong, with the reason.
const WARNINGS: [(&str, &str); 2] = [
    ("#128-D", "widths are constants, and a row that is narrower than a piece has no loop over pieces"),
    ("#186-D", "a number of something is a constant, and nothing is below one that is zero"),
];

/// Kernels of one program of NVRTC: enough that what it does once weighs little.
const TOGETHER: usize = 24;

/// A kernel, and what its launches ask for.
#[derive(Clone, Debug, PartialEq)]
struct Kernel {
    source: String,
    /// Bytes of shared memory, the most of its launches.
    shared: u64,
}

/// What is lowered.
#[derive(Default)]
struct Lowered {
    /// Programs that have all kernels.
    programs: usize,
    kernels: BTreeMap<String, Kernel>,
    /// What keeps others from having them, and which ones.
    missing: BTreeMap<String, BTreeSet<String>>,
}

/// Work for all processors: one result per item, in the items' order.
fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let result = work(item);
                    results.lock().unwrap().push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Every variant of every recipe and study, seeds aside; of one that is trained in stages each stage.
fn subjects() -> Vec<(String, Recipe, Shapes)> {
    let mut all = Vec::new();
    for name in recipes().into_iter().chain(studies()) {
        let loaded = recipe(&name);
        for (title, variant) in standing_for_seeds(&loaded.variants.iter().collect::<Vec<_>>()) {
            for stage in variant.recipe.by_stage() {
                let shapes = Shapes::of_stage(&variant.recipe, &stage).unwrap();
                let of = stage.stage().map_or_else(String::new, |stage| format!(".{stage}"));
                all.push((format!("{name}.{title}{of}"), stage, shapes));
            }
        }
    }
    all
}

/// All programs of the subjects whose names begin so.
fn lowered(start: &str) -> Lowered {
    let subjects = subjects();
    let programs: Vec<(&(String, Recipe, Shapes), Mode)> = (subjects.iter())
        .filter(|subject| subject.0.starts_with(start))
        .flat_map(|subject| MODES.map(|mode| (subject, mode)))
        .collect();
    let rendered = side_by_side(&programs, |((name, recipe, shapes), mode)| {
        let (shapes, backend) = (*shapes, Backend::Cuda);
        let subject = Subject { name, recipe, shapes, mode: *mode, backend, verify: false };
        render(&subject, Stage::Cuda, Format::Json, Depth::Nodes).map_err(|error| error.to_string())
    });
    let mut all = Lowered::default();
    for ((subject, mode), rendered) in programs.iter().zip(rendered) {
        match rendered {
            Ok(text) => {
                all.programs += 1;
                all.add(&serde_json::from_str(&text).unwrap());
            }
            Err(error) => {
                let reason = error.lines().next().unwrap_or_default().to_owned();
                let program = format!("{} {}", subject.0, mode.name());
                all.missing.entry(reason).or_default().insert(program);
            }
        }
    }
    all
}

impl Lowered {
    fn add(&mut self, program: &Value) {
        for (name, kernel) in program["kernels"].as_object().unwrap() {
            let source = kernel["source"].as_str().unwrap().to_owned();
            let known = self
                .kernels
                .entry(name.clone())
                .or_insert_with(|| Kernel { source: source.clone(), shared: 0 });
            assert_eq!(known.source, source, "two kernels are called {name}");
        }
        let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        for step in list(program, "functions").iter().flat_map(|function| list(function, "steps")) {
            for launch in list(&step, "launches") {
                let kernel = self.kernels.get_mut(launch["kernel"].as_str().unwrap()).unwrap();
                kernel.shared = kernel.shared.max(launch["shared_bytes"].as_u64().unwrap());
            }
        }
    }

    /// Compiles every kernel; what it takes, by name. Nothing spills but what may, and no warning is unknown.
    fn compiled(&self, nvrtc: &Nvrtc, architecture: &str) -> BTreeMap<String, Resources> {
        let start = Instant::now();
        let kernels: Vec<(&String, &Kernel)> = self.kernels.iter().collect();
        let parts: Vec<&[(&String, &Kernel)]> = kernels.chunks(TOGETHER).collect();
        let cubins = side_by_side(&parts, |part| {
            let sources = part.iter().map(|(_, kernel)| kernel.source.as_str());
            let source: String = std::iter::once(PRELUDE).chain(sources).collect::<Vec<_>>().join("\n");
            let names: Vec<&str> = part.iter().map(|(name, _)| name.as_str()).collect();
            let cubin = nvrtc.compile(&source, architecture);
            cubin.unwrap_or_else(|error| panic!("{architecture}, {}: {error}", names.join(", ")))
        });
        let mut compiled = BTreeMap::new();
        for cubin in cubins {
            let told = cubin.log.lines().filter(|line| line.contains("warning #"));
            let unknown: Vec<&str> =
                told.filter(|line| !WARNINGS.iter().any(|(number, _)| line.contains(number))).collect();
            assert!(cubin.bytes.starts_with(b"\x7fELF") && unknown.is_empty(), "{unknown:#?}");
            compiled.extend(cubin.kernels.into_iter().map(|kernel| (kernel.kernel.clone(), kernel)));
        }
        println!("{} kernels for {architecture}: {:.0} s", kernels.len(), start.elapsed().as_secs_f64());
        assert!(compiled.keys().eq(self.kernels.keys()), "not every kernel was compiled");
        let most = |name: &str| {
            let file = name.rsplit_once('_').map_or(name, |(file, _)| file);
            SPILLS.iter().find(|(spills, ..)| *spills == file).map_or(0, |(_, bytes, _)| *bytes)
        };
        let told = |kernel: &Resources| {
            let constants =
                self.kernels[&kernel.kernel].source.lines().filter(|line| line.starts_with("#define"));
            format!("{kernel:?}\n{}", constants.collect::<Vec<_>>().join("\n"))
        };
        for kernel in compiled.values().filter(|kernel| kernel.spills != (0, 0)) {
            println!("{architecture}: {}", told(kernel));
        }
        let spilling: Vec<String> = (compiled.values())
            .filter(|kernel| kernel.spills.0.max(kernel.spills.1) > most(&kernel.kernel))
            .map(told)
            .collect();
        assert!(spilling.is_empty(), "{}", spilling.join("\n"));
        compiled
    }

    /// Of every file of kernels how many, and the most that one of them takes.
    fn table(&self, compiled: &BTreeMap<String, Resources>) -> String {
        let mut files: BTreeMap<&str, (usize, Resources, u64)> = BTreeMap::new();
        for (name, kernel) in compiled {
            let (file, _) = name.rsplit_once('_').unwrap();
            let (count, most, shared) = files.entry(file).or_default();
            *count += 1;
            most.registers = most.registers.max(kernel.registers);
            most.stack = most.stack.max(kernel.stack);
            most.spills.0 = most.spills.0.max(kernel.spills.0);
            most.spills.1 = most.spills.1.max(kernel.spills.1);
            *shared = (*shared).max(u64::from(kernel.shared) + self.kernels[name].shared);
        }
        let mut text = format!("{} programs, {} distinct kernels\n\n", self.programs, self.kernels.len());
        text += "kernel                      n regs stck  shared stored loaded\n";
        for (file, (count, most, shared)) in files {
            let Resources { registers, stack, spills: (stored, loaded), .. } = most;
            writeln!(
                text,
                "{file:<24} {count:>4} {registers:>4} {stack:>4} {shared:>7} {stored:>6} {loaded:>6}"
            )
            .unwrap();
        }
        if !self.missing.is_empty() {
            text += "\nprograms that do not lower:\n";
        }
        for (reason, programs) in &self.missing {
            writeln!(text, "{reason}").unwrap();
            for program in programs {
                writeln!(text, "  {program}").unwrap();
            }
        }
        text
    }
}

fn nvrtc() -> Nvrtc {
    let package = AssetCache::of_user().unwrap().ensure("nvidia-cuda-nvrtc", &mut |_| {}).unwrap();
    let places = Places { folders: vec![package.join("nvidia/cu13/lib")], loader: false };
    let nvrtc = Nvrtc::find(&places).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(nvrtc.version(), "13.0");
    nvrtc
}

/// What `tests/gpu/prepare.sh` carries to a GPU: the cubins of the recipes that run there, each as a driver looks for it.
#[test]
#[ignore = "writes cubins to the folder that CROSSLOOM_CUBINS names"]
fn cubins_to_carry() {
    let folder = std::env::var_os("CROSSLOOM_CUBINS").expect("CROSSLOOM_CUBINS names a folder");
    let (cubins, nvrtc) = (Cubins::new(folder), nvrtc());
    let lowered = lowered("synthetic.");
    assert!(lowered.missing.is_empty(), "{:#?}", lowered.missing);
    let kernels: Vec<&Kernel> = lowered.kernels.values().collect();
    for architecture in ARCHITECTURES {
        drop(side_by_side(&kernels, |kernel| {
            let source = whole(&kernel.source);
            let cubin = nvrtc.compile(&source, architecture).unwrap_or_else(|error| panic!("{error}"));
            cubins.write(nvrtc.version(), architecture, &source, &cubin.bytes).unwrap();
        }));
    }
    println!("{} kernels for {}", kernels.len(), ARCHITECTURES.join(" and "));
}

/// What the book shows of the quickstart's training step is what is generated: the update with its norm (AGF), and the second layer of the
/// shared projector with the branches of all taps (AMP). `CROSSLOOM_BLESS=1` writes it anew.
#[test]
fn the_book_shows_generated_kernels() {
    let (name, quickstart, shapes) =
        subjects().into_iter().find(|(name, ..)| name == "quickstart.cli").expect("the quickstart has `cli`");
    let (mode, backend) = (Mode::Train, Backend::Cuda);
    let subject = Subject { name: &name, recipe: &quickstart, shapes, mode, backend, verify: false };
    let text = render(&subject, Stage::Cuda, Format::Json, Depth::Nodes).unwrap();
    let program: Value = serde_json::from_str(&text).unwrap();
    let sources = program["kernels"].as_object().unwrap().iter();
    let sources: Vec<(&String, &str)> =
        sources.map(|(name, kernel)| (name, kernel["source"].as_str().unwrap())).collect();
    let is_agf = |name: &str, _: &str| name.starts_with("agf_norm_") && !name.starts_with("agf_norm_grad");
    let is_amp = |name: &str, source: &str| name.starts_with("gemm_") && !source.contains("#define RANK 0\n");
    for (file, is) in [("agf.cu", &is_agf as &dyn Fn(&str, &str) -> bool), ("amp.cu", &is_amp)] {
        let found: Vec<&str> =
            sources.iter().filter(|(name, source)| is(name, source)).map(|(_, source)| *source).collect();
        assert_eq!(found.len(), 1, "{file}: {} kernels", found.len());
        let path = shipped::root().join("docs/src/generated").join(file);
        if std::env::var("CROSSLOOM_BLESS").as_deref() == Ok("1") {
            std::fs::write(&path, found[0]).unwrap();
        }
        let shown = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(shown, found[0], "{} is stale: run this test with CROSSLOOM_BLESS=1", path.display());
    }
}

#[test]
fn every_shipped_recipes_kernels_compile_without_spills() {
    if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() != Ok("1") {
        println!("skipped: set CROSSLOOM_NETWORK_TESTS=1 to fetch NVRTC");
        return;
    }
    let nvrtc = nvrtc();
    let [baseline, newest] = ARCHITECTURES;
    let (all, quickstart) = (lowered(""), lowered("quickstart."));
    assert!(all.programs > 0 && all.kernels.len() > 100);
    insta::assert_snapshot!(baseline, all.table(&all.compiled(&nvrtc, baseline)));
    assert_eq!(newest, "sm_90a");
    insta::assert_snapshot!("quickstart_sm_90a", quickstart.table(&quickstart.compiled(&nvrtc, newest)));
    if std::env::var("CROSSLOOM_ALL_KERNELS").as_deref() == Ok("1") {
        insta::assert_snapshot!(newest, all.table(&all.compiled(&nvrtc, newest)));
    } else {
        println!("not all for {newest}: set CROSSLOOM_ALL_KERNELS=1");
    }
}
