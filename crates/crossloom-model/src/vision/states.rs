//! What an encoder gives of a picture, by name.

use crossloom_graph::Tensor;
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{Recipe, VisionAddress, VisionModel};

use super::views::Views;
use super::{Tower, tapped};
use crate::ModelError;
use crate::params::Params;

/// A state of the encoder as the rest of the model reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VisionState {
    /// Its patches, `[B, N, Dv]`.
    Patches(VisionAddress),
    /// Its class token, `[B, 1, Dv]`.
    Class(VisionAddress),
    /// The patches of a picture of so many times the side, tile by tile through the encoder, row by row `[B, side² N, Dv]`.
    Tiles(VisionAddress, usize),
}

impl VisionState {
    /// The name of the input or result that it is: `state.block.7`, `state.block.7.class`.
    pub fn name(self) -> String {
        match self {
            Self::Patches(address) => format!("state.{address}"),
            Self::Class(address) => format!("state.{address}.class"),
            Self::Tiles(address, side) => format!("state.{address}.tiles.{side}"),
        }
    }

    /// The state of the encoder that it is of.
    pub fn address(self) -> VisionAddress {
        match self {
            Self::Patches(address) | Self::Class(address) | Self::Tiles(address, _) => address,
        }
    }

    /// Elements of one picture's.
    pub fn elements(self, vision: &VisionModel) -> usize {
        self.rows(vision) * vision.hidden
    }

    fn rows(self, vision: &VisionModel) -> usize {
        match self {
            Self::Patches(_) => vision.tokens(),
            Self::Class(_) => 1,
            Self::Tiles(_, side) => side * side * vision.tokens(),
        }
    }
}

/// States by what they are.
pub(crate) struct States(Vec<(VisionState, Tensor)>);

impl States {
    /// Those of an encoder over pixels `[B, C, H, W]`.
    pub(crate) fn encode(p: &mut Params, recipe: &Recipe, pixels: Tensor) -> Result<Self, ModelError> {
        let views = Views::of(p, recipe, pixels)?;
        let tower = Tower::build(p, views.pixels(), &recipe.model.vision)?;
        p.enter("vision.tap");
        let states = tapped(recipe).into_iter().map(|state| Ok((state, views.state(p, &tower, state)?)));
        let states = states.collect::<Result<_, ModelError>>()?;
        p.leave();
        Ok(Self(states))
    }

    /// Those of an encoder that ran before, as inputs.
    pub(crate) fn given(p: &mut Params, recipe: &Recipe, batch: usize) -> Self {
        let vision = &recipe.model.vision;
        let given = |state: VisionState| {
            let ty = TensorType::f32([batch, state.rows(vision), vision.hidden]);
            (state, p.graph.param(&state.name(), Role::Input, ty))
        };
        Self(tapped(recipe).into_iter().map(given).collect())
    }

    /// All, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (VisionState, Tensor)> {
        self.0.iter().copied()
    }

    /// One of them.
    pub(crate) fn get(&self, state: VisionState) -> Result<Tensor, ModelError> {
        let found = self.0.iter().find(|(at, _)| *at == state);
        found.map(|(_, state)| *state).ok_or_else(|| {
            ModelError::Incomplete(format!("the topology does not read the vision state `{}`", state.name()))
        })
    }

    /// Pictures of the batch.
    pub(crate) fn batch(&self, p: &Params) -> Result<usize, ModelError> {
        let first =
            self.0.first().ok_or_else(|| ModelError::Incomplete("no vision state is read".to_owned()))?;
        Ok(p.graph.shape(first.1)[0])
    }
}
