//! What a position may depend on, in whole models on batches as a run packs them: exact equality, not closeness.

use std::path::Path;

use crossloom_data::packing::{PackedBatch, TrainingOptions, TrainingPacker};
use crossloom_ir::Role;
use crossloom_model::{BatchShape, GATE_RESULT};
use crossloom_recipe::{Recipe, Split};
use crossloom_run::{Data, Model, Pools, load_batch};
use crossloom_runtime::Session;

use crate::support::recipe;

/// A compiled model and its first training batch.
struct Subject {
    model: Model,
    whole: Session,
    batch: PackedBatch,
    pools: Pools,
    tokens: usize,
    vocab: i32,
}

/// What a forward pass gave, as bits.
struct Seen {
    /// By target slot.
    logits: Vec<Vec<u32>>,
    /// By point.
    gates: Vec<Vec<u32>>,
}

impl Subject {
    fn new(recipe: &Recipe) -> Self {
        let data = Data::load(recipe, Path::new("."), &mut |_| ()).unwrap();
        let plan = data.plan(recipe).unwrap();
        let shape = BatchShape {
            batch: plan.batch_size,
            tokens: plan.sequence_len,
            targets: plan.targets,
            views: None,
        };
        let model = Model::new(recipe, shape, plan.vocab_size).unwrap();
        // The start values leave the branches of AMP and the values of some gates at zero: move everything a little.
        for tensor in model.store.tensors().into_iter().filter(|tensor| tensor.role == Role::Weight) {
            let mut values = model.store.read::<f32>(&tensor.name).unwrap();
            values.iter_mut().enumerate().for_each(|(i, x)| *x += 0.05 * (i as f32).sin());
            model.store.write(&tensor.name, &values).unwrap();
        }
        let (split, encoded) = data.images(Split::Train);
        let mut batch = PackedBatch::new(&plan);
        let options = TrainingOptions::default();
        TrainingPacker::new(&plan, encoded, split.images(), options).unwrap().fill(&mut batch).unwrap();
        let whole = model.whole(recipe, shape, plan.vocab_size).unwrap();
        Self {
            model,
            whole,
            batch,
            pools: Pools::of(recipe),
            tokens: plan.sequence_len,
            vocab: plan.vocab_size as i32,
        }
    }

    fn run(&mut self) -> Seen {
        load_batch(&mut self.whole, &self.batch, &self.pools).unwrap();
        self.whole.run().unwrap();
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        let read = |name: &str| bits(&self.whole.read::<f32>(name).unwrap());
        let logits = read("logits");
        let width = logits.len() / self.batch.target_index_bm.len();
        let names = self.model.gates.iter().map(|(point, _)| format!("{GATE_RESULT}{}", point.name()));
        let gates = names.map(|name| read(&name)).collect();
        Seen { logits: logits.chunks(width).map(<[u32]>::to_vec).collect(), gates }
    }

    /// Positions of the batch's first sequence that satisfy a condition on (segment, in the prompt).
    fn places(&self, wanted: impl Fn(i32, bool) -> bool) -> Vec<usize> {
        let at = |t: &usize| wanted(self.batch.segments_bt[*t], self.batch.prompt_mask_bt[*t] > 0.0);
        (0..self.tokens).filter(at).collect()
    }

    /// Writes another word at every one of these positions.
    fn change(&mut self, places: &[usize]) {
        assert!(!places.is_empty());
        for &t in places {
            let token = &mut self.batch.tokens_bt[t];
            // The first five ids are special.
            *token = 5 + (*token + 1 - 5).rem_euclid(self.vocab - 5);
        }
    }

    /// For every used target slot of the first sequence: the slot and its position.
    fn targets(&self) -> Vec<(usize, usize)> {
        let slots = self.batch.target_index_bm.len() / (self.batch.tokens_bt.len() / self.tokens);
        let used = (0..slots).filter(|&slot| self.batch.targets_bm[slot] >= 0);
        used.map(|slot| (slot, self.batch.target_index_bm[slot] as usize)).collect()
    }
}

#[test]
fn questions_about_one_picture_do_not_see_each_other_and_gates_read_the_picture_only() {
    let loaded = recipe(&[]);
    for variant in ["projector", "cli"] {
        let mut subject = Subject::new(&loaded.variant(variant).unwrap().recipe);
        let before = subject.run();
        let second = subject.places(|segment, _| segment == 2);
        subject.change(&second);
        let after = subject.run();
        assert_eq!(before.gates, after.gates, "{variant}: a question moved a gate");
        let targets = subject.targets();
        let (own, others): (Vec<_>, Vec<_>) = targets.into_iter().partition(|(_, t)| second.contains(t));
        assert!(!own.is_empty() && !others.is_empty());
        for (slot, t) in others {
            assert_eq!(before.logits[slot], after.logits[slot], "{variant}: position {t} sees question 2");
        }
        for (slot, t) in own {
            assert_ne!(
                before.logits[slot], after.logits[slot],
                "{variant}: position {t} does not see its own"
            );
        }
    }
}

#[test]
fn an_answer_is_seen_by_no_gate_and_by_nothing_before_it() {
    let set = "variants.cli.topology.gate.pool=prompt";
    let loaded = recipe(&["data.questions_per_sequence=1", set]);
    let mut subject = Subject::new(&loaded.variant("cli").unwrap().recipe);
    let before = subject.run();
    assert!(!before.gates.is_empty());

    let answer = subject.places(|segment, prompt| segment > 0 && !prompt);
    subject.change(&answer);
    let after = subject.run();
    assert_eq!(before.gates, after.gates, "a gate pools the answer: the label leaks");
    let (later, earlier): (Vec<_>, Vec<_>) =
        subject.targets().into_iter().partition(|(_, t)| *t >= answer[0]);
    assert!(!later.is_empty() && !earlier.is_empty());
    for (slot, t) in earlier {
        assert_eq!(before.logits[slot], after.logits[slot], "position {t} sees what comes after it");
    }
    for (slot, t) in later {
        assert_ne!(before.logits[slot], after.logits[slot], "position {t} does not see the answer's start");
    }

    // The question, on the other hand, is pooled.
    let question = subject.places(|segment, prompt| segment > 0 && prompt);
    subject.change(&question[..1]);
    assert_ne!(subject.run().gates, after.gates);
}

#[test]
fn padding_is_seen_by_nothing() {
    let loaded = recipe(&[]);
    let mut subject = Subject::new(&loaded.variant("cli").unwrap().recipe);
    let before = subject.run();
    let padding = subject.places(|segment, _| segment < 0);
    subject.change(&padding);
    let after = subject.run();
    assert_eq!((before.gates, before.logits), (after.gates, after.logits));
}
