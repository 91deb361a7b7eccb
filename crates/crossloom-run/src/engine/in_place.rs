//! An engine without a thread of its own: whoever owns the model runs its rounds. So a training can be asked between two steps, on the
//! threads that it has, and an evaluation is the same whenever it is done.

use std::sync::Arc;

use crossloom_recipe::{PointAddress, Tap};

use super::Client;
use super::intake::Intake;
use super::queue::{Found, Queue};
use super::slots::Slots;
use crate::phases::Phases;

/// An engine over a model that belongs to someone else.
pub(crate) struct InPlace<'m> {
    pub(super) slots: Slots<'m>,
    pub(super) client: Client,
}

impl<'m> InPlace<'m> {
    /// Over the phases and the gated points of a model; at most `queue` requests wait.
    pub(crate) fn new(
        phases: &'m mut Phases,
        gates: &'m [(PointAddress, Vec<Tap>)],
        intake: Intake,
        queue: usize,
    ) -> Self {
        let card = Arc::clone(&intake.card);
        let queue = Arc::new(Queue::new(queue, phases.slots()));
        let slots = Slots::new(phases, gates, intake, Arc::clone(&queue));
        Self { slots, client: Client { card, queue } }
    }

    /// A way to it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Takes what waits, as far as there is room, and does one round. Says whether there is more to do.
    pub(crate) fn round(&mut self) -> bool {
        match self.client.queue.take(self.slots.free(), false) {
            Found::Some(asked) => self.slots.admit(asked),
            Found::End | Found::Stop => return false,
        }
        self.slots.round();
        !self.slots.is_idle() || self.client.stats().waiting > 0
    }
}
