//! The vision states that a topology reads.

use crossloom_graph::Tensor;
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{Recipe, VisionAddress};

use super::{Tower, tapped};
use crate::params::Params;
use crate::{ModelError, inputs};

/// Patch tokens `[B, N, Dv]` by address.
pub(crate) struct States(Vec<(VisionAddress, Tensor)>);

impl States {
    /// Those of an encoder over pixels `[B, C, H, W]`.
    pub(crate) fn encode(p: &mut Params, recipe: &Recipe, pixels: Tensor) -> Result<Self, ModelError> {
        let tower = Tower::build(p, pixels, &recipe.model.vision)?;
        p.enter("vision.tap");
        let states = tapped(recipe).into_iter().map(|address| Ok((address, tower.tap(p, address)?)));
        let states = states.collect::<Result<_, ModelError>>()?;
        p.leave();
        Ok(Self(states))
    }

    /// Those of an encoder that ran before, as inputs.
    pub(crate) fn given(p: &mut Params, recipe: &Recipe, batch: usize) -> Self {
        let vision = &recipe.model.vision;
        let ty = TensorType::f32([batch, vision.tokens(), vision.hidden]);
        let states = tapped(recipe)
            .into_iter()
            .map(|address| (address, p.graph.param(&inputs::state(address), Role::Input, ty.clone())));
        Self(states.collect())
    }

    /// All, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (VisionAddress, Tensor)> {
        self.0.iter().copied()
    }

    /// The patch tokens of a state.
    pub(crate) fn get(&self, address: VisionAddress) -> Result<Tensor, ModelError> {
        let found = self.0.iter().find(|(at, _)| *at == address);
        found.map(|(_, state)| *state).ok_or_else(|| {
            ModelError::Incomplete(format!("the topology does not read the vision state `{address}`"))
        })
    }
}
