//! What edges do in the weights of a trained model: each is cut in turn, on the questions of the split that the run is scored on.

use std::collections::{BTreeMap, BTreeSet};

use crossloom_data::packing::{AnswerMode, EvaluationPacker, IGNORED_TARGET, PackedBatch};
use crossloom_ir::interp::coordinates;
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{Func, IrErrors, Role, TensorType};
use crossloom_model::Outputs;
use crossloom_recipe::Recipe;
use crossloom_runtime::Session;
use crossloom_train::run_dir::VariantDir;
use serde::Serialize;

use super::bench::Bench;
use super::functions::Built;
use super::scene::{Scene, entries, segments};
use super::stream::Stream;
use super::wiring::Wiring;
use crate::backends::Resources;
use crate::batch::{Pools, batch_shape, load_batch};
use crate::data::image_mode;
use crate::graph::forward_func;
use crate::interface::Interface;
use crate::memory::DataNeed;
use crate::trained::restored;
use crate::training_stage::newest;
use crate::{Data, ExperimentError};

/// Rows that are run at once, at most.
const ROWS: usize = 8;
/// A change of logits below this share is that of rounding.
const DEAD: f64 = 1e-6;
/// An edge without which the loss rises by less than this share, and as small a share of answers' tokens changes, is one that a study
/// could do without.
const SPARE: f64 = 1e-3;

/// What an edge does in trained weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contribution {
    /// Its name.
    pub edge: String,
    /// Edges that cannot be cut apart from it, as they are mixed before they arrive: what is told is told of all of them.
    pub with: Vec<String>,
    /// How much the logits change without it, as a share of them.
    pub logits: f64,
    /// The loss without it.
    pub loss: f64,
    /// Share of the answers' tokens of which another becomes the most likely.
    pub answers: f64,
    /// Whether the logits depend on it at all.
    pub alive: bool,
    /// Whether nothing is lost without it.
    pub spare: bool,
}

/// What the edges of a trained variant do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contributions {
    /// The stage whose newest checkpoint was measured.
    pub stage: Option<String>,
    /// Pictures that were shown.
    pub pictures: usize,
    /// Tokens of answers to their questions.
    pub tokens: usize,
    /// The mean loss of these tokens.
    pub loss: f64,
    /// Every edge, in the order of the topology.
    pub edges: Vec<Contribution>,
}

/// Cuts every edge of a trained variant in turn, on the first so many pictures of the split that it is scored on.
///
/// # Errors
/// No checkpoint; data that does not fit the variant; a backend that runs nothing, or too little memory.
pub fn contributions(
    dir: &VariantDir,
    recipe: &Recipe,
    data: &Data,
    resources: Resources,
    pictures: usize,
) -> Result<Contributions, ExperimentError> {
    let stage = newest(dir, recipe)?;
    let recipe = &stage.recipe;
    let (Interface { mut shapes, processor, .. }, _) = Interface::read(&stage.dir, recipe)?;
    shapes.batch_size = shapes.batch_size.min(ROWS);
    let shape = batch_shape(&shapes);
    let (_, func) = forward_func(recipe, shape, shapes.vocab_size, Outputs::Predictions)?;
    let (func, knives) = with_knives(recipe, &func)?;

    let held = DataNeed { batches: shapes.batch_bytes(), pictures: shapes.batch_size, ..DataNeed::default() };
    let model = restored(dir, &stage, &shapes, held, resources)?;
    let mut session = model.over(recipe, &func)?;
    let (split, encoded) = data.images(recipe.eval.split);
    let packer = EvaluationPacker::new(
        &shapes,
        encoded,
        split.images(),
        &processor.normalization(),
        image_mode(recipe),
    )?;
    let (pools, mut batch) = (Pools::of(recipe), PackedBatch::new(&shapes));
    let vectors = data.question_vectors(recipe)?;
    let mut sums = vec![Sums::default(); knives.edges.len() + 1];
    let mut shown = BTreeSet::new();
    for index in 0..packer.batches() {
        packer.fill(index, AnswerMode::Given, &mut batch)?;
        if let Some(vectors) = &vectors {
            vectors.lay(recipe.eval.split, &mut batch)?;
        }
        shown.extend((0..batch.real_rows()).filter_map(|row| batch.image_of_row(row)));
        load_batch(&mut session, &batch, &pools)?;
        let now = logits(&mut session, &knives, None)?;
        sums[0].add(&now, &now, &batch.targets_bm);
        for edge in 0..knives.edges.len() {
            let without = logits(&mut session, &knives, Some(edge))?;
            sums[edge + 1].add(&without, &now, &batch.targets_bm);
        }
        if shown.len() >= pictures {
            break;
        }
    }
    let whole = sums[0].clone();
    let loss = whole.loss / whole.tokens.max(1) as f64;
    let edges = knives.edges.into_iter().zip(&sums[1..]).map(|(edge, sums)| {
        let tokens = sums.tokens.max(1) as f64;
        let (logits, answers) =
            ((sums.off / sums.size.max(f64::MIN_POSITIVE)).sqrt(), sums.others as f64 / tokens);
        let without = sums.loss / tokens;
        Contribution {
            edge: edge.name,
            with: edge.with,
            logits,
            loss: without,
            answers,
            alive: logits > DEAD,
            spare: without <= loss * (1.0 + SPARE) && answers <= SPARE,
        }
    });
    let stage = recipe.stage().map(str::to_owned);
    Ok(Contributions { stage, pictures: shown.len(), tokens: whole.tokens, loss, edges: edges.collect() })
}

/// Inputs of a function that cut edges.
struct Knives {
    /// Every input with its length.
    inputs: BTreeMap<String, usize>,
    edges: Vec<Knife>,
}

/// How an edge is cut.
struct Knife {
    name: String,
    with: Vec<String>,
    /// Which elements of which inputs are zero then.
    zeros: Vec<(String, Vec<usize>)>,
}

/// The function with an input for every operand that brings what was seen into the stream: a factor for each of its slices along the
/// axis that tells the taps apart. Which slices belong to a tap is measured on the small model, whose axes of taps are as long.
fn with_knives(recipe: &Recipe, func: &Func) -> Result<(Func, Knives), ExperimentError> {
    let bench = Bench::new(recipe, &Built)?;
    let small = &bench.over_states.func;
    let [other, nothing] = bench.instead(small);
    let given = [&bench.states, &bench.text, &bench.weights];
    let result = (bench.layers(), "logits");
    let scene = Scene::new(small, &given, (&other, &nothing), &bench.wiring, result)?.map_err(lost)?;
    let wiring = &bench.wiring;
    let stream = Stream::find(func, recipe.model.language.layers, &wiring.halves, "logits").map_err(lost)?;
    let here = entries(&stream, &segments(func, &stream, wiring));

    let mut knives = Knives {
        inputs: BTreeMap::new(),
        edges: wiring
            .edges
            .iter()
            .map(|edge| Knife { name: edge.name.clone(), with: Vec::new(), zeros: Vec::new() })
            .collect(),
    };
    let mut factors: BTreeMap<(usize, usize), (String, usize)> = BTreeMap::new();
    for (point, real) in here.iter().enumerate() {
        let measured = &scene.entries[point];
        if real.len() != measured.len() {
            let what = format!("`{}` is fed by {} operands", wiring.points[point].name, real.len());
            return Err(lost(vec![format!("{what}, and by {} in small", measured.len())]));
        }
        for (&at, &of_small) in real.iter().zip(measured) {
            let value = func.insts()[at.0].inputs[at.1];
            let name = format!("keep.{}.{}", at.0, at.1);
            let Some((axis, own)) = axis(wiring, &scene, point, of_small) else {
                return Err(lost(vec![format!(
                    "what `{}` is fed has no axis of taps",
                    wiring.points[point].name
                )]));
            };
            let extent = func.shape(value)[axis];
            for (edge, slices) in &own {
                let shares = |(other, theirs): &&(usize, Vec<usize>)| {
                    other != edge && theirs.iter().any(|slice| slices.contains(slice))
                };
                for (other, _) in own.iter().filter(shares) {
                    let other = wiring.edges[*other].name.clone();
                    if !knives.edges[*edge].with.contains(&other) {
                        knives.edges[*edge].with.push(other);
                    }
                }
                // An axis that is all of one tap need not be as long in small.
                let all = slices.len() == scene.base.func.shape(operand(&scene, of_small))[axis];
                let slices = if all { (0..extent).collect() } else { slices.clone() };
                knives.edges[*edge].zeros.push((name.clone(), slices));
            }
            knives.inputs.insert(name.clone(), extent);
            factors.insert(at, (name, axis));
        }
    }
    Ok((multiplied(func, &factors).map_err(IrErrors::from)?, knives))
}

fn operand(scene: &Scene<'_>, (inst, operand): (usize, usize)) -> crossloom_ir::Value {
    scene.base.func.insts()[inst].inputs[operand]
}

/// Slices of an axis that belong to edges, by index.
type Slices = Vec<(usize, Vec<usize>)>;

/// The axis of an operand along which the taps of a point can be told apart, and every edge's slices of it.
fn axis(wiring: &Wiring, scene: &Scene<'_>, point: usize, entry: (usize, usize)) -> Option<(usize, Slices)> {
    let shape = scene.base.func.shape(operand(scene, entry));
    let masks: Vec<(usize, Vec<bool>)> = wiring
        .into(point)
        .filter_map(|edge| Some((edge, scene.depends(entry, wiring.edges[edge].tap)?)))
        .collect();
    let slices = |axis: usize, mask: &[bool]| -> Option<Vec<usize>> {
        let mut of: Vec<Option<bool>> = vec![None; shape[axis]];
        for (i, &depends) in mask.iter().enumerate() {
            let slice = &mut of[coordinates(i, shape)[axis]];
            if *slice.get_or_insert(depends) != depends {
                return None;
            }
        }
        Some((0..of.len()).filter(|&slice| of[slice] == Some(true)).collect())
    };
    (0..shape.len()).find_map(|axis| {
        let own = masks.iter().map(|(edge, mask)| Some((*edge, slices(axis, mask)?)));
        Some((axis, own.collect::<Option<Vec<_>>>()?))
    })
}

/// The function with some operands multiplied by inputs along an axis.
fn multiplied(
    func: &Func,
    factors: &BTreeMap<(usize, usize), (String, usize)>,
) -> Result<Func, crossloom_ir::IrError> {
    let mut rewriter = Rewriter::new(func);
    for (at, inst) in func.insts().iter().enumerate() {
        let mut operands = rewriter.get_all(&inst.inputs)?;
        for (operand, value) in operands.iter_mut().enumerate() {
            let Some((name, axis)) = factors.get(&(at, operand)) else { continue };
            let mut b = rewriter.builder(&inst.scope);
            let shape = b.func().shape(*value).to_vec();
            let keep = b.func_mut().add_param(name.clone(), Role::Input, TensorType::f32([shape[*axis]]));
            let keep = b.broadcast(keep, &shape, &[*axis])?;
            *value = b.mul(*value, keep)?;
        }
        let types = func.dtypes(&inst.outputs);
        let outputs = rewriter.builder(&inst.scope).push_as(inst.op.clone(), &operands, &types)?;
        rewriter.set_all(&inst.outputs, &outputs);
    }
    rewriter.finish()
}

/// The logits of all targets, without an edge if one is named.
fn logits(session: &mut Session, knives: &Knives, cut: Option<usize>) -> Result<Vec<f32>, ExperimentError> {
    for (name, &extent) in &knives.inputs {
        let mut keep = vec![1.0f32; extent];
        let zeros = cut.map(|edge| &knives.edges[edge].zeros[..]).unwrap_or_default();
        for slice in zeros.iter().filter(|(of, _)| of == name).flat_map(|(_, slices)| slices) {
            keep[*slice] = 0.0;
        }
        session.write(name, &keep)?;
    }
    session.run()?;
    Ok(session.read::<f32>("logits")?)
}

/// What is measured of all tokens so far.
#[derive(Clone, Default)]
struct Sums {
    tokens: usize,
    loss: f64,
    /// Of the squared change of logits, and of their squares.
    off: f64,
    size: f64,
    /// Tokens of which another became the most likely.
    others: usize,
}

impl Sums {
    /// Adds a batch: logits `[B*M, V]`, those of the whole model, and the tokens that are right.
    fn add(&mut self, logits: &[f32], whole: &[f32], targets: &[i32]) {
        let vocab = logits.len() / targets.len().max(1);
        let rows = logits.chunks(vocab.max(1)).zip(whole.chunks(vocab.max(1)));
        for ((row, before), &target) in rows.zip(targets) {
            let Some(right) = usize::try_from(target).ok().filter(|_| target != IGNORED_TARGET) else {
                continue;
            };
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&x| f64::from(x - largest).exp()).sum();
            self.loss += sum.ln() - f64::from(row[right] - largest);
            self.tokens += 1;
            self.others += usize::from(most_likely(row) != most_likely(before));
            for (now, before) in row.iter().zip(before) {
                self.off += f64::from(now - before).powi(2);
                self.size += f64::from(*before).powi(2);
            }
        }
    }
}

fn most_likely(row: &[f32]) -> usize {
    let better = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
    (0..row.len()).fold(0, better)
}

fn lost(problems: impl AsRef<[String]>) -> ExperimentError {
    ExperimentError::request(
        problems.as_ref().join("\n"),
        "verify the run's recipe: it says which edge is concerned",
    )
}
