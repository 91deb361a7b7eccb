//! A tiny model and data set that obey the traits exactly: linear regression with AdamW written out by hand.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossloom_recipe::Schedule;
use crossloom_train::step::Dtype;
use crossloom_train::{
    BatchSource, BoxError, Checkpoints, GateMeans, GroupRates, MetricSink, MicroOutput, MicroStep,
    ModelState, NonFinite, RateCurve, RecipeChange, ResumePolicy, Silent, StateTensor, Summary, TrainBatch,
    TrainError, TrainIo, TrainOptions, TrainStep, Trainer, Update, Visit,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

pub(crate) const WIDTH: usize = 3;
pub(crate) const EDGE: &str = "block.1->layer.0";

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) x: [f32; WIDTH],
    pub(crate) y: f32,
}

#[derive(Debug, Clone)]
pub(crate) struct FakeBatch(pub(crate) Vec<Row>);

impl TrainBatch for FakeBatch {
    fn target_tokens(&self) -> usize {
        self.0.len()
    }

    fn sample_ids(&self) -> Vec<String> {
        self.0.iter().map(|row| format!("row-{}", row.id)).collect()
    }
}

/// Rows in a shuffled order that changes every epoch; batch sizes cycle through `sizes`.
#[derive(Debug, Clone)]
pub(crate) struct FakeSource {
    rows: Vec<Row>,
    sizes: Vec<usize>,
    seed: u64,
    epoch: u64,
    position: usize,
    batches: u64,
    order: Vec<usize>,
    pub(crate) handed_out: Vec<Vec<u64>>,
}

impl FakeSource {
    pub(crate) fn new(seed: u64, sizes: &[usize]) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let rows = (0..20)
            .map(|id| {
                let x = [rng.random::<f32>() - 0.5, rng.random::<f32>() - 0.5, rng.random::<f32>() - 0.5];
                Row { id, x, y: 2.0 * x[0] - x[1] + 0.5 * x[2] + 0.3 }
            })
            .collect();
        let (sizes, handed_out) = (sizes.to_vec(), Vec::new());
        let mut source =
            Self { rows, sizes, seed, epoch: 0, position: 0, batches: 0, order: Vec::new(), handed_out };
        source.shuffle();
        source
    }

    fn shuffle(&mut self) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.epoch);
        self.order = (0..self.rows.len()).collect();
        for i in (1..self.order.len()).rev() {
            self.order.swap(i, rng.random_range(0..=i));
        }
    }
}

impl BatchSource for FakeSource {
    type Batch = FakeBatch;

    fn next_batch(&mut self) -> Result<FakeBatch, BoxError> {
        if self.rows.is_empty() {
            return Err("the data set is empty".into());
        }
        let size = self.sizes[(self.batches % self.sizes.len() as u64) as usize];
        self.batches += 1;
        let mut batch = Vec::new();
        for _ in 0..size {
            if self.position == self.order.len() {
                (self.epoch, self.position) = (self.epoch + 1, 0);
                self.shuffle();
            }
            batch.push(self.rows[self.order[self.position]].clone());
            self.position += 1;
        }
        self.handed_out.push(batch.iter().map(|row| row.id).collect());
        Ok(FakeBatch(batch))
    }

    fn state(&self) -> Result<Value, BoxError> {
        Ok(json!({ "epoch": self.epoch, "position": self.position, "batches": self.batches }))
    }

    fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
        let read = |key: &str| state.get(key).and_then(Value::as_u64).ok_or(format!("no `{key}`"));
        (self.epoch, self.position, self.batches) =
            (read("epoch")?, read("position")? as usize, read("batches")?);
        self.shuffle();
        Ok(())
    }
}

/// `y = w·x + b` with dropout-like noise on `x`, so that the model has a random generator of its own.
#[derive(Debug, Clone)]
pub(crate) struct FakeModel {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) m: [Vec<f32>; 2],
    pub(crate) v: [Vec<f32>; 2],
    pub(crate) gradient: [Vec<f32>; 2],
    pub(crate) rng: ChaCha8Rng,
    pub(crate) noise: f32,
    pub(crate) micro_steps: Vec<(u64, usize, usize, bool)>,
    pub(crate) poison: Option<u64>,
    /// A step at which the second row of a batch is far off.
    pub(crate) outlier: Option<u64>,
    pub(crate) raise_stop: Option<(u64, usize, Rc<AtomicBool>)>,
    pub(crate) lrs: Vec<[f32; 2]>,
    pub(crate) discarded: Cell<u32>,
    /// Target tokens of the micro-batches that the first non-finite value was looked for in, and the update's number.
    pub(crate) located: Option<(Vec<usize>, u64)>,
}

const NAMES: [&str; 2] = ["language_model.model.weight", "injection.gate.layer.0.controller.bias"];

impl FakeModel {
    pub(crate) fn new() -> Self {
        let zeros = || [vec![0.0; WIDTH], vec![0.0; 1]];
        Self {
            weight: vec![0.1, -0.2, 0.3],
            bias: vec![0.0],
            m: zeros(),
            v: zeros(),
            gradient: zeros(),
            rng: ChaCha8Rng::seed_from_u64(11),
            noise: 0.05,
            micro_steps: Vec::new(),
            poison: None,
            outlier: None,
            raise_stop: None,
            lrs: Vec::new(),
            discarded: Cell::new(0),
            located: None,
        }
    }

    fn tensors(&self) -> [(String, Vec<usize>, &[f32]); 6] {
        let [weight, bias] = NAMES;
        [
            (weight.to_owned(), vec![1, WIDTH], &self.weight),
            (format!("optimizer.m.{weight}"), vec![1, WIDTH], &self.m[0]),
            (format!("optimizer.v.{weight}"), vec![1, WIDTH], &self.v[0]),
            (bias.to_owned(), vec![1], &self.bias),
            (format!("optimizer.m.{bias}"), vec![1], &self.m[1]),
            (format!("optimizer.v.{bias}"), vec![1], &self.v[1]),
        ]
    }

    /// Every bit of the tensors.
    pub(crate) fn bits(&self) -> Vec<(String, Vec<u32>)> {
        self.tensors().map(|(name, _, values)| (name, values.iter().map(|v| v.to_bits()).collect())).into()
    }
}

/// A tensor of floats.
pub(crate) fn tensor<'a>(name: &'a str, shape: &'a [usize], bytes: &'a [u8]) -> StateTensor<'a> {
    StateTensor { name, dtype: Dtype::F32, shape, bytes }
}

/// Floats as a checkpoint has them.
pub(crate) fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

impl ModelState for FakeModel {
    fn visit_state(&self, visit: &mut Visit<'_>) -> Result<(), BoxError> {
        let mut tensors = self.tensors().into_iter();
        tensors.try_for_each(|(name, shape, values)| visit(tensor(&name, &shape, &bytes_of(values))))
    }

    fn load_state(&mut self, tensor: StateTensor<'_>) -> Result<(), BoxError> {
        let name = tensor.name;
        let (kind, name) = match name.strip_prefix("optimizer.") {
            Some(rest) => rest.split_once('.').ok_or("bad name")?,
            None => ("w", name),
        };
        let index = NAMES.iter().position(|known| *known == name).ok_or("unknown tensor")?;
        let target = match (kind, index) {
            ("w", 0) => &mut self.weight,
            ("w", _) => &mut self.bias,
            ("m", _) => &mut self.m[index],
            (_, _) => &mut self.v[index],
        };
        let (values, _) = tensor.bytes.as_chunks::<4>();
        target.copy_from_slice(&values.iter().map(|&v| f32::from_le_bytes(v)).collect::<Vec<_>>());
        Ok(())
    }
}

impl TrainStep for FakeModel {
    type Batch = FakeBatch;

    fn micro_step(&mut self, batch: &FakeBatch, micro: &MicroStep<'_>) -> Result<MicroOutput, BoxError> {
        self.micro_steps.push((micro.step, micro.index, micro.count, micro.update.is_some()));
        if let Some((step, index, stop)) = &self.raise_stop
            && (*step, *index) == (micro.step, micro.index)
        {
            stop.store(true, Ordering::Relaxed);
        }
        if micro.index == 0 {
            self.gradient = [vec![0.0; WIDTH], vec![0.0; 1]];
        }
        let (mut loss, n) = (0.0, batch.0.len() as f32);
        let mut sample_losses = Vec::new();
        for (index, row) in batch.0.iter().enumerate() {
            let x = row.x.map(|x| x + self.noise * (self.rng.random::<f32>() - 0.5));
            let error = x.iter().zip(&self.weight).map(|(x, w)| x * w).sum::<f32>() + self.bias[0] - row.y;
            let outlier = self.outlier == Some(micro.step) && index == 1;
            let of_row = if outlier { 1e3 } else { error * error };
            sample_losses.push(Some(of_row));
            loss += of_row / n;
            for (g, x) in self.gradient[0].iter_mut().zip(x) {
                *g += micro.weight * 2.0 * error * x / n;
            }
            self.gradient[1][0] += micro.weight * 2.0 * error / n;
        }
        if self.poison == Some(micro.step) {
            loss = f32::NAN;
            if let Some(last) = sample_losses.last_mut() {
                *last = Some(loss);
            }
        }
        let grad_norm = micro.update.map(|update| {
            let norm = self.gradient.iter().flatten().map(|g| g * g).sum::<f32>().sqrt();
            let scale = (1.0 / norm).min(1.0);
            let rates = ["language", "gate"].map(|group| update.rates.get(group).unwrap_or_default() as f32);
            self.lrs.push(rates);
            for (i, rate) in rates.into_iter().enumerate() {
                let parameter = if i == 0 { &mut self.weight } else { &mut self.bias };
                for (j, parameter) in parameter.iter_mut().enumerate() {
                    let g = self.gradient[i][j] * scale;
                    self.m[i][j] = 0.9 * self.m[i][j] + 0.1 * g;
                    self.v[i][j] = 0.95 * self.v[i][j] + 0.05 * g * g;
                    let m = self.m[i][j] / (1.0 - 0.9_f32.powi(update.step as i32));
                    let v = self.v[i][j] / (1.0 - 0.95_f32.powi(update.step as i32));
                    *parameter -= rate * (m / (v.sqrt() + 1e-8) + 0.01 * *parameter);
                }
            }
            norm
        });
        let gate_means = Some(GateMeans::from_iter([(EDGE.to_owned(), n)]));
        Ok(MicroOutput { loss, sample_losses, grad_norm, gate_means })
    }

    fn discard_gradients(&mut self) -> Result<(), BoxError> {
        self.discarded.set(self.discarded.get() + 1);
        self.gradient = [vec![9.0; WIDTH], vec![9.0; 1]];
        Ok(())
    }

    fn locate_non_finite(&mut self, batches: &[FakeBatch], update: &Update) -> Option<NonFinite> {
        self.located = Some((batches.iter().map(TrainBatch::target_tokens).collect(), update.step));
        Some(NonFinite { op: "div".into(), scope: "language.layer.3.attn".into(), value_name: "v42".into() })
    }

    fn rng_state(&self) -> Value {
        json!({ "word": self.rng.get_word_pos() as u64 })
    }

    fn restore_rng(&mut self, state: &Value) -> Result<(), BoxError> {
        self.rng.set_word_pos(u128::from(state["word"].as_u64().ok_or("no `word`")?));
        Ok(())
    }
}

pub(crate) fn options(steps: u64) -> TrainOptions {
    TrainOptions {
        steps,
        accumulate: 1,
        log_every: 2,
        checkpoint_every: None,
        validate_every: None,
        evaluate_every: None,
        recipe_hash: "recipe-a".into(),
    }
}

/// The same rate for both of the model's parameters.
pub(crate) fn rates(rate: f64) -> GroupRates {
    GroupRates::new([("language", rate), ("gate", rate)])
}

/// A trainer whose schedule covers 40 steps, however many it will do.
pub(crate) fn trainer(options: TrainOptions) -> Trainer {
    let schedule = RateCurve { shape: Schedule::Cosine, warmup_steps: 4, total_steps: 40, min_ratio: 0.1 };
    Trainer::new(options, rates(0.05), schedule).unwrap()
}

pub(crate) fn run(
    trainer: &mut Trainer,
    model: &mut FakeModel,
    source: &mut FakeSource,
    checkpoints: Option<&Checkpoints>,
    stop: &AtomicBool,
) -> Result<Summary, TrainError> {
    run_with(trainer, model, source, checkpoints, stop, &mut [])
}

pub(crate) fn run_with(
    trainer: &mut Trainer,
    model: &mut FakeModel,
    source: &mut FakeSource,
    checkpoints: Option<&Checkpoints>,
    stop: &AtomicBool,
    sinks: &mut [Box<dyn MetricSink>],
) -> Result<Summary, TrainError> {
    let mut io = TrainIo {
        progress: &mut Silent,
        sinks,
        checkpoints,
        samples: None,
        stop,
        validate: None,
        evaluate: None,
    };
    trainer.run(model, source, &mut io)
}

pub(crate) fn never() -> AtomicBool {
    AtomicBool::new(false)
}

pub(crate) const SAME_RECIPE: ResumePolicy<'static> =
    ResumePolicy { recipe_hash: "recipe-a", changes: &|_| None::<Vec<RecipeChange>> };

/// All files below a folder with their contents, by relative path.
pub(crate) fn files_below(root: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}
