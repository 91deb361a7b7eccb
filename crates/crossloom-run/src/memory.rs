//! What a run of one variant holds at once, known from its plans and its data before anything is allocated or written.

use std::collections::BTreeMap;

use crossloom_compiler::passes::precision::COPY;
use crossloom_data::packing::{ImageMode, PackingPlan};
use crossloom_ir::Role;
use crossloom_model::{BatchShape, caches};
use crossloom_recipe::{Recipe, Source, Split};
use crossloom_runtime::Device;
use crossloom_runtime::limits::{self, resident_bytes};

pub use crossloom_runtime::limits::{DoesNotFit, Limit, Need};

use crate::backends::{Backend, Resources};
use crate::conversations::Setting;
use crate::data::image_mode;
use crate::datasets::same_data;
use crate::programs::Programs;
use crate::stages::Shapes;
use crate::start::Start;
use crate::states::PictureBudget;
use crate::{Data, ExperimentError};

/// The purposes whose memory is the device's; that of all others is the process's.
const ON_DEVICE: [&str; 7] = [
    "weights",
    limits::COPIES,
    "optimizer",
    "keys and values",
    "activations and gradients",
    "inputs",
    "scratch",
];

/// Pictures for training and for tests, and questions of one of them, in easy-VQA 1.0.
const EASY_VQA: (usize, usize, usize) = (4000, 1000, 10);

/// Bytes that a question holds, about: its text, its place in the split, and its tokens in the splits that know it.
const QUESTION: u64 = 224;

/// What a run holds at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes by purpose: weights, optimizer, activations and gradients, inputs, scratch, data, features, process.
    pub need: Need,
    /// How many of them the process has already.
    held: u64,
}

/// What a run holds of its data, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataNeed {
    /// Decoded pictures, and questions as text and as tokens.
    pub content: u64,
    /// Whether they are in memory already.
    pub read: bool,
    /// Batches that are packed on the host.
    pub batches: u64,
    /// Pictures that are asked about, which are held as they are encoded.
    pub pictures: usize,
    /// Pictures that are trained on or held out, which are held too where they are encoded before training.
    pub trained: usize,
    /// How much of encoded pictures may be held.
    pub budget: PictureBudget,
}

impl DataNeed {
    /// What is expected of data that was not read: pictures exactly, questions at an average. How many samples files hold is not known before
    /// they are read: nothing is expected of them.
    pub fn expected(recipe: &Recipe, shape: BatchShape) -> Self {
        let crossloom_recipe::Data { source, train_limit, test_limit, validation, .. } = &recipe.data;
        let counts = |source: &Source| match *source {
            Source::EasyVqa {} => EASY_VQA,
            Source::Files { .. } | Source::Conversations { .. } => (0, 0, 0),
            Source::Synthetic { train_images, test_images, questions_per_image, .. } => {
                (train_images, test_images, questions_per_image)
            }
        };
        let (train, test, _) = counts(source);
        let side = recipe.picture_side() as u64;
        let pixels = 3 * side * side;
        let limited =
            |images: usize, limit: Option<usize>| limit.map_or(images, |limit| images.min(limit)) as u64;
        // The data of all stages is in memory at once.
        let content = |data: &crossloom_recipe::Data| {
            let (train, test, per_image) = counts(&data.source);
            let images = limited(train, data.train_limit) + limited(test, data.test_limit);
            images * (pixels + per_image as u64 * QUESTION)
        };
        let mut sets = vec![&recipe.data];
        for stage in recipe.stages.iter().map(|stage| &stage.data) {
            if !sets.iter().any(|known| same_data(known, stage)) {
                sets.push(stage);
            }
        }
        let BatchShape { batch, tokens, targets, views } = shape;
        let (tokens, targets) = (tokens as u64, targets as u64);
        let vector = recipe.topology.conditioning.given_width().unwrap_or(0) as u64;
        // Where views are counted, every visual token has four parts, each a row and a weight.
        let visual = views.map_or(recipe.visual_positions(), |of| 9 * of.tokens) as u64;
        let row = 4 * tokens + visual + 2 * targets + vector;
        let batches = 1 + u64::from(*validation > 0.0) + u64::from(recipe.eval.every.is_some());
        let numbers = shape.images() as u64 * pixels + batch as u64 * row;
        Self {
            content: sets.into_iter().map(content).sum(),
            read: false,
            batches: batches * 4 * numbers,
            pictures: asked(recipe, limited(test, *test_limit) as usize),
            trained: seen(recipe, limited(train, *train_limit) as usize),
            budget: PictureBudget::default(),
        }
    }

    /// That of data that was read. Training packs one batch, one more where pictures are held out, and one where a sample is answered in between;
    /// evaluation one.
    pub fn of(recipe: &Recipe, data: &Data, plan: &PackingPlan) -> Self {
        let between = u64::from(recipe.data.validation > 0.0) + u64::from(recipe.eval.every.is_some());
        let batches = 1 + between;
        let setting = Setting::of(recipe, &data.tokenizer).ok().flatten();
        let streamed = setting.as_ref().map(Setting::host_bytes);
        let again = setting.zip(data.conversations()).map(|(setting, of)| setting.seen_again(recipe, of));
        let trained = again.unwrap_or_else(|| data.images(Split::Train).0.images().len());
        Self {
            content: data.bytes(),
            read: true,
            batches: streamed.unwrap_or_default() + batches * plan.batch_bytes(),
            pictures: asked(recipe, data.images(recipe.eval.split).0.images().len()),
            trained: seen(recipe, trained),
            budget: PictureBudget::default(),
        }
    }

    /// Bytes of the encoded pictures that programs hold in memory, and whether that is not all of them.
    pub(crate) fn held(&self, programs: &Programs) -> (u64, bool) {
        let trained = if programs.training.is_some() && programs.encodes_before { self.trained } else { 0 };
        let each = programs.phases.encoder.picture_bytes();
        let all = each.saturating_mul((self.pictures + trained) as u64);
        let memory = self.budget.memory(programs.encodes_before);
        (all.min(memory), all > memory)
    }
}

/// How many of so many pictures an evaluation asks about at the most: where questions are limited, one for each.
fn asked(recipe: &Recipe, pictures: usize) -> usize {
    seen(recipe, recipe.eval.limit.map_or(pictures, |questions| pictures.min(questions)))
}

/// How many of so many pictures look different to the model.
fn seen(recipe: &Recipe, pictures: usize) -> usize {
    match image_mode(recipe) {
        ImageMode::Shown => pictures,
        ImageMode::Withheld => pictures.min(1),
    }
}

/// Bytes by purpose of programs that are bound to one store and one arena, and of data: all but the process itself.
///
/// Weights and state are shared by name. The sessions share one arena that is as large as the largest of them needs,
/// working memory of kernels included; the inputs of each are its own.
pub fn need(programs: &Programs, data: DataNeed) -> Need {
    let mut kept: BTreeMap<&str, (Role, u64)> = BTreeMap::new();
    let (mut arena, mut scratch, mut inputs) = (0_u64, 0_u64, 0_u64);
    for plan in programs.plans() {
        for param in plan.func.params() {
            let bytes = plan.func.ty(param.value).bytes() as u64;
            match param.role {
                Role::Input => inputs = inputs.saturating_add(bytes),
                role => drop(kept.insert(&param.name, (role, bytes))),
            }
        }
        let (own, behind) = (plan.scratch_offset() as u64, plan.scratch as u64);
        if own.saturating_add(behind) > arena.saturating_add(scratch) {
            (arena, scratch) = (own, behind);
        }
    }
    let (mut weights, mut copies, mut cached, mut optimizer) = (0_u64, 0_u64, 0_u64, 0_u64);
    for (name, (role, bytes)) in kept {
        let purpose = match role {
            Role::Weight => &mut weights,
            _ if name.starts_with(COPY) => &mut copies,
            _ if name.starts_with(caches::PREFIX) => &mut cached,
            _ => &mut optimizer,
        };
        *purpose = purpose.saturating_add(bytes);
    }
    Need::new()
        .with("weights", weights)
        .with(limits::COPIES, copies)
        .with("optimizer", optimizer)
        .with("keys and values", cached)
        .with("activations and gradients", arena)
        .with("inputs", inputs)
        .with("scratch", scratch)
        .with("data", data.content.saturating_add(data.batches))
        .with("features", data.held(programs).0)
}

impl Memory {
    /// What [`need`] says, with the bytes that the process holds besides.
    pub fn new(programs: &Programs, data: DataNeed, held: u64) -> Self {
        let process = if data.read { held.saturating_sub(data.content) } else { held };
        Self { need: need(programs, data).with("process", process), held }
    }

    /// Compares it with what the process may have and with what the device may give.
    ///
    /// # Errors
    /// It is above one of these limits; the tightest is told.
    pub fn check(&self, device: &dyn Device, limits: &[Limit]) -> Result<(), DoesNotFit> {
        // A device that knows what is free has memory of its own; the processor's is the process's.
        let apart = device.free_memory();
        let mut on_device = Need::new();
        let mut on_host = Need::new();
        for (purpose, bytes) in self.need.parts() {
            let here = ON_DEVICE.contains(&purpose);
            if here {
                on_device.add(purpose, bytes);
            }
            if !here || apart.is_none() {
                on_host.add(purpose, bytes);
            }
        }
        let (budget, used) = (device.budget().limit() as u64, device.budget().used() as u64);
        let source = || limits::Source::Device(device.name().to_owned());
        let mut of_device =
            vec![Limit { left: budget.saturating_sub(used), total: budget, source: source() }];
        of_device.extend(apart.map(|free| Limit { left: free, total: free, source: source() }));
        on_device.check(&of_device)?;
        // Limits count what the process has already; so does the need.
        let of_process: Vec<Limit> = limits
            .iter()
            .map(|limit| Limit { left: limit.left.saturating_add(self.held), ..limit.clone() })
            .collect();
        on_host.check(&of_process)
    }
}

/// What a run of a recipe is expected to hold, and the programs that hold it.
pub struct Expected {
    /// Compiled, but of nothing allocated.
    pub programs: Programs,
    /// Bytes by purpose, but for the process itself.
    pub need: Need,
    /// To how many bytes of arena the training step was brought, where it would be above the budget otherwise.
    pub squeezed: Option<usize>,
}

/// What a run of a recipe with batches of that shape will hold; `budget` is what it may hold. Nothing is read or allocated. Of a
/// recipe with stages it is the last one, with the data of all of them.
///
/// # Errors
/// The graph cannot be built or compiled; pretrained weights that are not those of its model.
pub fn expected(
    recipe: &Recipe,
    shapes: Shapes,
    backend: Backend,
    budget: Option<u64>,
) -> Result<Expected, ExperimentError> {
    let target = backend.target();
    let mut programs = Programs::to_train(recipe, shapes.batch, shapes.vocab, None, target)?;
    Start::new(recipe, &programs.params)?;
    let data = DataNeed::expected(recipe, shapes.batch);
    let whole = need(&programs, data);
    let Some(Err(error)) = budget.map(|budget| whole.check(&[Limit::budget(budget)])) else {
        return Ok(Expected { programs, need: whole, squeezed: None });
    };
    let arena = room(&whole, &error);
    programs.squeeze(target, arena)?;
    let need = need(&programs, data);
    Ok(Expected { programs, need, squeezed: Some(arena) })
}

/// How many bytes of arena would fit a limit that a need is above.
fn room(need: &Need, error: &DoesNotFit) -> usize {
    let over = error.need.total().saturating_sub(error.limit.left);
    let arena = need.of("activations and gradients") + need.of("scratch");
    usize::try_from(arena.saturating_sub(over)).unwrap_or(usize::MAX)
}

/// Whether there is room now for what a run will hold beside this process.
///
/// # Errors
/// A limit of the process is below it; the tightest is told.
pub fn fits_here(need: &Need) -> Result<(), DoesNotFit> {
    need.check(&Limit::all())
}

/// What a variant holds, and what a record must say of that.
pub(crate) struct Fit {
    pub(crate) need: Need,
    pub(crate) notes: Vec<String>,
}

/// What a variant holds. One that does not fit computes values again where it is trained; if it still does not, it is refused,
/// unless the caller wants it tried.
///
/// # Errors
/// [`ExperimentError::DoesNotFit`].
pub(crate) fn fits(
    name: &str,
    programs: &mut Programs,
    data: DataNeed,
    device: &dyn Device,
    resources: Resources,
) -> Result<Fit, ExperimentError> {
    fits_beside(resident_bytes().unwrap_or(0), name, programs, data, device, resources)
}

/// [`fits`], in a process that holds so many bytes.
fn fits_beside(
    held: u64,
    name: &str,
    programs: &mut Programs,
    data: DataNeed,
    device: &dyn Device,
    resources: Resources,
) -> Result<Fit, ExperimentError> {
    let (memory, fitting) = loop {
        let memory = Memory::new(programs, data, held);
        let budget = resources.budget.map(|budget| {
            let left = budget.saturating_sub(memory.held);
            Limit { left, ..Limit::budget(budget) }
        });
        let limits: Vec<Limit> = Limit::all().into_iter().chain(budget).collect();
        let fitting = memory.check(device, &limits);
        let Err(error) = &fitting else { break (memory, fitting) };
        if !programs.squeeze(device.target(), room(&memory.need, error))? {
            break (memory, fitting);
        }
    };
    tracing::debug!(variant = name, bytes = memory.need.total(), "memory of the run");
    let again = programs.recomputed().map(|recomputed| format!("`{name}` {recomputed}"));
    let mut notes: Vec<String> = again.into_iter().collect();
    if let Err(error) = fitting {
        if !resources.force_memory {
            let help = error.help();
            return Err(ExperimentError::DoesNotFit {
                variant: name.to_owned(),
                error: Box::new(error),
                help,
            });
        }
        tracing::warn!(variant = name, %error, "tried although it does not fit");
        notes.push(format!("`{name}` was tried although it {error}"));
    }
    Ok(Fit { need: memory.need, notes })
}

impl Data {
    /// Bytes of pictures, texts and tokens in memory.
    pub fn bytes(&self) -> u64 {
        let splits = [Split::Train, Split::Test].map(|split| self.images(split).0.bytes());
        let tokens = [Split::Train, Split::Validation, Split::Test].map(|split| self.images(split).1.bytes());
        splits.into_iter().chain(tokens).chain([self.vector_bytes()]).sum()
    }
}

#[cfg(test)]
mod tests;
