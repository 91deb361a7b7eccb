//! Phases of whole models as sessions: prefill and decode give what one forward pass gives, and a row has the same bits alone
//! and among others.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossloom_compiler::{Context, Mode, compile};
use crossloom_cpu::CpuDevice;
use crossloom_ir::{DType, Role};
use crossloom_model::{
    BatchShape, CacheShape, ModelGraph, Outputs, Span, StepShape, build, decode, encode_and_connect, inputs,
    prefill,
};
use crossloom_recipe::{PointAddress, Recipe, Tap, Topology};
use crossloom_runtime::{Arena, Device, Executable, Session, Store};

use crate::support::{VOCAB, method, methods, start};

/// Largest difference of two logits of one position, as a part of the largest logit: sums of f32 in another order.
const TOLERANCE: f32 = 2e-5;
/// 16 positions of the picture and a text of six.
const TOKENS: usize = 22;
/// Of which so many are the prompt of each row.
const PROMPTS: [usize; 3] = [20, 18, 21];

type Edges = Vec<(Tap, PointAddress)>;
type Named = BTreeMap<String, Vec<f32>>;

/// Weights on the CPU, and what is run over them.
struct Subject {
    recipe: Recipe,
    edges: Edges,
    device: Arc<dyn Device>,
    arena: Arena,
}

impl Subject {
    fn new(recipe: Recipe) -> Self {
        let edges = Topology::new(&recipe).unwrap().pairs();
        let device = CpuDevice::shared();
        let arena = Arena::new(&Store::new(&device).unwrap());
        Self { recipe, edges, device, arena }
    }

    /// A graph as a session; weights that were not there get their start values, and caches garbage.
    fn session(&self, graph: &ModelGraph) -> Session {
        let func = graph.graph.lift().unwrap();
        let cx = Context { verify: true, ..Context::new(self.device.target(), Mode::Forward) };
        let set = compile(&func, &cx).unwrap_or_else(|e| panic!("{e}"));
        let store = self.arena.store();
        let before: Vec<String> = store.tensors().into_iter().map(|tensor| tensor.name).collect();
        let session =
            Session::new(&Executable::new(&self.device, set.main.plan).unwrap(), &self.arena).unwrap();
        for tensor in store.tensors().into_iter().filter(|tensor| !before.contains(&tensor.name)) {
            let elements = tensor.ty.elements();
            match (tensor.role, tensor.ty.dtype) {
                (Role::Weight, _) => {
                    store.write(&tensor.name, &start(&graph.params, &tensor.name, elements)).unwrap();
                }
                (_, DType::I32) => store.write(&tensor.name, &vec![1; elements]).unwrap(),
                _ => store.write(&tensor.name, &vec![f32::NAN; elements]).unwrap(),
            }
        }
        session
    }

    fn whole(&self) -> Session {
        let shape = BatchShape { batch: PROMPTS.len(), tokens: TOKENS, targets: TOKENS, views: None };
        self.session(&build(&self.recipe, &self.edges, shape, VOCAB, Outputs::Predictions).unwrap())
    }
}

/// Runs a session; returns its float results.
fn call(session: &mut Session, given: &Named, names: &[&str]) -> Named {
    let func = session.plan().func.clone();
    for param in func.params().iter().filter(|param| param.role == Role::Input) {
        let values = given.get(&param.name).unwrap_or_else(|| panic!("no input `{}`", param.name));
        match func.ty(param.value).dtype {
            DType::I32 => {
                let whole: Vec<i32> = values.iter().map(|&x| x as i32).collect();
                session.write(&param.name, &whole).unwrap();
            }
            _ => session.write(&param.name, values).unwrap(),
        }
    }
    session.run().unwrap();
    let known = names.iter().filter(|name| session.result_type(name).is_ok());
    known.map(|name| ((*name).to_owned(), session.read(name).unwrap())).collect()
}

/// The value of an input at a position of a sequence.
fn at(name: &str, row: usize, t: usize) -> f32 {
    match name {
        inputs::TOKENS => ((row * 7 + t * 5) % VOCAB) as f32,
        inputs::POSITIONS => t as f32,
        inputs::SEGMENTS | inputs::TEXT_MASK => f32::from(u8::from(t >= 16)),
        // Text is pooled too; a gate never pools what is generated.
        inputs::QUESTION_MASK => f32::from(u8::from((16..PROMPTS[row]).contains(&t))),
        inputs::POOL_MASK => f32::from(u8::from(t < PROMPTS[row])),
        _ => panic!("{name}"),
    }
}

/// Positions `from[i] .. to[i]` of some rows, as the inputs of a call of `tokens` positions.
fn part(
    recipe: &Recipe,
    rows: &[usize],
    slots: &[usize],
    from: &[usize],
    to: &[usize],
    tokens: usize,
) -> Named {
    let mut named = Named::new();
    let by_position = [
        inputs::TOKENS,
        inputs::POSITIONS,
        inputs::SEGMENTS,
        inputs::POOL_MASK,
        inputs::TEXT_MASK,
        inputs::QUESTION_MASK,
    ];
    for name in by_position {
        let value = |i: usize| {
            let (i, t) = (i / tokens, i % tokens);
            if from[i] + t < to[i] { at(name, rows[i], from[i] + t) } else { 0.0 }
        };
        named.insert(name.into(), (0..rows.len() * tokens).map(value).collect());
    }
    let floats = |f: &dyn Fn(usize) -> usize| (0..rows.len()).map(|i| f(i) as f32).collect::<Vec<f32>>();
    named.insert(inputs::SLOT.into(), floats(&|i| slots[i]));
    named.insert(inputs::PICTURE_SLOT.into(), floats(&|i| slots[i]));
    named.insert(inputs::START.into(), floats(&|i| from[i]));
    named.insert(inputs::COUNT.into(), floats(&|i| to[i] - from[i]));
    let visual = recipe.visual_positions();
    let index = (0..rows.len() * visual).map(|i| (i % visual) as f32).collect();
    named.insert(inputs::IMAGE_INDEX.into(), index);
    named
        .insert(inputs::TARGET_INDEX.into(), (0..rows.len() * tokens).map(|i| (i % tokens) as f32).collect());
    let size = 3 * recipe.picture_side().pow(2);
    let pixel = |i: usize| ((rows[i / size] * 31 + i % size) as f32 * 0.37).sin();
    named.insert(inputs::PIXELS.into(), (0..rows.len() * size).map(pixel).collect());
    named
}

/// The logits of every position of some rows by prefill and decode: `[row][position]`.
fn by_phases(subject: &Subject, rows: &[usize], slots: &[usize], cache: CacheShape) -> Vec<Vec<Vec<f32>>> {
    let Subject { recipe, edges, .. } = subject;
    let mut logits = vec![Vec::new(); rows.len()];
    let mut keep = |named: &Named, from: &[usize], to: &[usize], tokens: usize| {
        for (i, logits) in logits.iter_mut().enumerate() {
            for t in 0..to[i] - from[i] {
                logits.push(named["logits"][(i * tokens + t) * VOCAB..][..VOCAB].to_vec());
            }
        }
    };
    let prompts: Vec<usize> = rows.iter().map(|&row| PROMPTS[row]).collect();
    let longest = PROMPTS.into_iter().max().unwrap();
    let from = vec![0; rows.len()];
    let mut given = part(recipe, rows, slots, &from, &prompts, longest);
    let asked = BatchShape { batch: rows.len(), tokens: longest, targets: 1, views: None };
    let mut see = subject.session(&encode_and_connect(recipe, edges, asked, VOCAB).unwrap());
    given.extend(call(&mut see, &given, &[inputs::VISUAL, inputs::FEATURES]));
    let step = |tokens: usize| StepShape { rows: rows.len(), tokens, cache, visual: None };
    let read = prefill(recipe, edges, step(longest), longest, VOCAB, Span::Whole).unwrap();
    keep(&call(&mut subject.session(&read), &given, &["logits"]), &from, &prompts, longest);
    let mut next = subject.session(&decode(recipe, edges, step(1), VOCAB).unwrap());
    let mut at = prompts;
    while at.iter().any(|&at| at < TOKENS) {
        let to: Vec<usize> = at.iter().map(|at| (at + 1).min(TOKENS)).collect();
        keep(&call(&mut next, &part(recipe, rows, slots, &at, &to, 1), &["logits"]), &at, &to, 1);
        at = to;
    }
    logits
}

#[test]
fn prefill_and_decode_are_one_forward_pass_and_a_row_alone_has_the_same_bits() {
    for name in methods() {
        let subject = Subject::new(method(&name, &["model.language.layers=4"]));
        let given = part(&subject.recipe, &[0, 1, 2], &[0; 3], &[0; 3], &[TOKENS; 3], TOKENS);
        let expected = call(&mut subject.whole(), &given, &["logits"]).remove("logits").unwrap();
        let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(largest > 0.1, "{name}: the logits say something");
        let together = by_phases(&subject, &[0, 1, 2], &[1, 3, 0], CacheShape { slots: 4, capacity: 30 });
        for (row, positions) in together.iter().enumerate() {
            assert_eq!(positions.len(), TOKENS);
            for (t, logits) in positions.iter().enumerate() {
                let expected = &expected[(row * TOKENS + t) * VOCAB..][..VOCAB];
                for (g, e) in logits.iter().zip(expected) {
                    assert!(
                        (g - e).abs() <= TOLERANCE * largest,
                        "{name}: row {row}, position {t}: {g}, should be {e}"
                    );
                }
            }
        }
        let bits = |positions: &[Vec<f32>]| -> Vec<Vec<u32>> {
            positions.iter().map(|logits| logits.iter().map(|x| x.to_bits()).collect()).collect()
        };
        for row in 0..PROMPTS.len() {
            let alone = Subject::new(subject.recipe.clone());
            let alone = by_phases(&alone, &[row], &[0], CacheShape { slots: 1, capacity: 22 });
            assert!(bits(&alone[0]) == bits(&together[row]), "{name}: row {row} is another one alone");
        }
    }
}
