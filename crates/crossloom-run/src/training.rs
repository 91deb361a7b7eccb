//! The compiled training step of a model, for every shape of batch that its data has.
//!
//! Batches of one training may differ in how many positions, visual tokens, targets and views they have. The step of the largest is
//! compiled with the model, and says how much memory there is; that of another shape is compiled when a batch of it comes first, into the
//! same memory and over the same weights, and kept.

use std::collections::BTreeMap;

use crossloom_compiler::Plan;
use crossloom_model::BatchShape;
use crossloom_runtime::{Arena, Executable, RunError, Session};

use crate::ExperimentError;
use crate::programs::{StepSource, TrainingPrograms};

/// The sessions of a training step.
pub struct Training {
    /// A training step, or its part for one micro-batch, of the largest shape.
    pub step: Session,
    /// With gradient accumulation: the end of a step, whatever the shapes of its parts.
    pub apply: Option<Session>,
    /// Where pictures are held out: the loss alone, of the largest shape.
    pub held_out: Option<Session>,
    /// Those of smaller shapes that a batch has had.
    others: BTreeMap<(BatchShape, Function), Session>,
    source: StepSource,
    arena: Arena,
}

/// What is computed of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Function {
    Step,
    Loss,
}

impl Training {
    /// Takes memory for the programs of a training.
    pub(crate) fn new(programs: TrainingPrograms, arena: &Arena) -> Result<Self, RunError> {
        let TrainingPrograms { step, apply, held_out, source, .. } = programs;
        Ok(Self {
            step: session(step, arena)?,
            apply: apply.map(|apply| session(apply, arena)).transpose()?,
            held_out: held_out.map(|loss| session(loss, arena)).transpose()?,
            others: BTreeMap::new(),
            source,
            arena: arena.clone(),
        })
    }

    /// The step for batches of that shape, and the end of a step.
    ///
    /// # Errors
    /// A shape that is larger than was planned for; the step cannot be compiled.
    pub(crate) fn of(
        &mut self,
        shape: BatchShape,
    ) -> Result<(&mut Session, Option<&mut Session>), ExperimentError> {
        if shape != self.source.shape() {
            self.compile(shape, Function::Step)?;
        }
        let Self { step, apply, others, .. } = self;
        Ok((others.get_mut(&(shape, Function::Step)).unwrap_or(step), apply.as_mut()))
    }

    /// The loss of batches of that shape; `None` where no pictures are held out.
    ///
    /// # Errors
    /// As [`Training::of`].
    pub(crate) fn loss_of(&mut self, shape: BatchShape) -> Result<Option<&mut Session>, ExperimentError> {
        if self.held_out.is_some() && shape != self.source.shape() {
            self.compile(shape, Function::Loss)?;
        }
        let Self { held_out, others, .. } = self;
        let Some(largest) = held_out.as_mut() else { return Ok(None) };
        Ok(Some(others.get_mut(&(shape, Function::Loss)).unwrap_or(largest)))
    }

    /// How many shapes of batches it has compiled steps for.
    pub fn shapes(&self) -> usize {
        1 + self.others.keys().filter(|(_, function)| *function == Function::Step).count()
    }

    fn compile(&mut self, shape: BatchShape, function: Function) -> Result<(), ExperimentError> {
        if self.others.contains_key(&(shape, function)) {
            return Ok(());
        }
        fits(shape, self.source.shape())?;
        let target = self.arena.store().device().target();
        let plan = match function {
            // Other lifetimes may want more memory at once, though the batch is smaller.
            Function::Step => self.source.step_of(shape, target, self.step.plan().arena_bytes())?,
            Function::Loss => self.source.loss_of(shape, target)?,
        };
        let made = session(plan, &self.arena)?;
        self.others.insert((shape, function), made);
        Ok(())
    }
}

fn session(plan: Plan, arena: &Arena) -> Result<Session, RunError> {
    Session::new(&Executable::new(arena.store().device(), plan)?, arena)
}

/// Memory was planned for the largest shape, and a step is over as many rows whatever their shape.
fn fits(shape: BatchShape, largest: BatchShape) -> Result<(), ExperimentError> {
    // Where views are not counted, rows have the tokens of one, which are fewer than those of several.
    let visual = |of: BatchShape| of.views.map_or(0, |views| views.tokens);
    let sizes = |of: BatchShape| [of.tokens, of.targets, of.images(), visual(of)];
    let names = ["positions", "targets", "views", "visual tokens of a row"];
    let above = sizes(shape).into_iter().zip(sizes(largest)).zip(names).find(|((own, most), _)| own > most);
    let message = match above {
        None if shape.batch == largest.batch => return Ok(()),
        None => format!("a batch of {} rows is trained in steps of {}", shape.batch, largest.batch),
        Some(((own, most), name)) => format!("a batch has {own} {name}, and at most {most} were planned"),
    };
    Err(ExperimentError::request(message, "plan the largest batch that the data has"))
}
