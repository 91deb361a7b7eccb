//! Values by name.

use crossloom_ir::{DType, Role, TensorType};
use luminal::op::Function;
use luminal::prelude::{NodeIndex, Tensor};

use super::{LuminalGraph, ParamSlot};
use crate::GraphError;
use crate::error::nearest;
use crate::operator::Load;
use crate::slots::Place;

/// Up to here every whole number is a float.
const EXACT_IDS: i32 = 1 << 24;

impl LuminalGraph {
    /// Sets a float parameter, in row-major order. Inputs keep their value until they are set again.
    ///
    /// # Errors
    /// Unknown name, wrong length, or a parameter that holds ids.
    pub fn set(&mut self, name: &str, values: &[f32]) -> Result<(), GraphError> {
        let at = self.param_index(name, DType::F32)?;
        self.put(at, values.to_vec())
    }

    /// Sets an id parameter, in row-major order.
    ///
    /// # Errors
    /// Unknown name, wrong length, a parameter that holds floats, or an id beyond ±2^24.
    pub fn set_ids(&mut self, name: &str, ids: &[i32]) -> Result<(), GraphError> {
        let at = self.param_index(name, DType::I32)?;
        if let Some(index) = ids.iter().position(|id| !(-EXACT_IDS..=EXACT_IDS).contains(id)) {
            return Err(GraphError::IdRange { name: name.to_owned(), index, id: ids[index] });
        }
        self.put(at, ids.iter().map(|&id| id as f32).collect())
    }

    /// A float result of the last run, or the current value of a float parameter.
    ///
    /// # Errors
    /// Unknown name, no value yet, or ids.
    pub fn get(&self, name: &str) -> Result<Vec<f32>, GraphError> {
        self.read(name, DType::F32)
    }

    /// An id result of the last run, or the current value of an id parameter.
    ///
    /// # Errors
    /// Unknown name, no value yet, or floats.
    pub fn get_ids(&self, name: &str) -> Result<Vec<i32>, GraphError> {
        Ok(self.read(name, DType::I32)?.into_iter().map(|id| id as i32).collect())
    }

    fn param_index(&self, name: &str, dtype: DType) -> Result<usize, GraphError> {
        let Some(at) = self.params.iter().position(|slot| slot.info.name == name) else {
            let near = nearest(name, self.params().map(|info| info.name.as_str()));
            return Err(GraphError::UnknownParam { name: name.to_owned(), near });
        };
        check_element(name, &self.params[at].info.ty, dtype)?;
        Ok(at)
    }

    fn put(&mut self, at: usize, values: Vec<f32>) -> Result<(), GraphError> {
        let slot = &self.params[at];
        let info = &slot.info;
        if values.len() != info.ty.elements() {
            return Err(GraphError::Length {
                name: info.name.clone(),
                ty: info.ty.clone(),
                given: values.len(),
            });
        }
        let gone = || GraphError::malformed(format!("the node of parameter `{}` is gone", info.name));
        match (slot.place, info.role) {
            (Place::Region, _) => match &self.region {
                Some(region) => return region.set(&info.name, &values),
                None => return Err(gone()),
            },
            (Place::Load(node) | Place::Function(node), Role::Weight | Role::State) => {
                self.give(node, values);
            }
            (Place::Load(node), Role::Input) => {
                let operator = self.graph.graph.node_weight_mut(node).ok_or_else(gone)?;
                let load = operator.as_mut().as_any_mut().downcast_mut::<Load>().ok_or_else(gone)?;
                load.set_value(values);
            }
            (Place::Function(node), Role::Input) => {
                let operator = self.graph.graph.node_weight_mut(node).ok_or_else(gone)?;
                let load = operator.as_mut().as_any_mut().downcast_mut::<Function>().ok_or_else(gone)?;
                load.1 = Box::new(move |_| vec![Tensor::new(values.clone())]);
            }
        }
        self.params[at].given = true;
        Ok(())
    }

    fn read(&self, name: &str, dtype: DType) -> Result<Vec<f32>, GraphError> {
        if let Some(slot) =
            self.results.iter().find(|slot| slot.info.name == name && slot.info.updates.is_none())
        {
            check_element(name, &slot.info.ty, dtype)?;
            let value = self.tensor(slot.node, slot.output);
            return value.ok_or_else(|| GraphError::NotComputed { name: name.to_owned() });
        }
        if let Some(slot) = self.params.iter().find(|slot| slot.info.name == name) {
            check_element(name, &slot.info.ty, dtype)?;
            return self.param_value(slot).ok_or_else(|| GraphError::Unset { names: vec![name.to_owned()] });
        }
        let names = self.results.iter().map(|slot| slot.info.name.as_str());
        Err(GraphError::UnknownResult { name: name.to_owned(), near: nearest(name, names) })
    }

    /// Names of the parameters that a run would miss.
    pub(super) fn unset(&self) -> Vec<String> {
        let missing = |slot: &&ParamSlot| match slot.place {
            Place::Load(node) => {
                self.load(node).is_none_or(|load| load.value().is_none()) && !self.holds(node)
            }
            Place::Function(node) => !slot.given && !self.holds(node),
            Place::Region => self.region.as_ref().is_some_and(|region| !region.holds(&slot.info.name)),
        };
        self.params.iter().filter(missing).map(|slot| slot.info.name.clone()).collect()
    }

    pub(super) fn tensor(&self, node: NodeIndex, output: u8) -> Option<Vec<f32>> {
        self.graph.get_tensor_ref(node, output)?.data.as_any().downcast_ref::<Vec<f32>>().cloned()
    }

    fn param_value(&self, slot: &ParamSlot) -> Option<Vec<f32>> {
        match slot.place {
            Place::Load(node) => {
                self.tensor(node, 0).or_else(|| self.load(node)?.value().map(<[f32]>::to_vec))
            }
            Place::Function(node) => self.tensor(node, 0),
            Place::Region => self.region.as_ref()?.get(&slot.info.name),
        }
    }

    fn holds(&self, node: NodeIndex) -> bool {
        self.graph.get_tensor_ref(node, 0).is_some()
    }

    fn load(&self, node: NodeIndex) -> Option<&Load> {
        self.graph.graph.node_weight(node)?.as_ref().as_any().downcast_ref()
    }
}

fn check_element(name: &str, ty: &TensorType, dtype: DType) -> Result<(), GraphError> {
    if ty.dtype == dtype {
        Ok(())
    } else {
        Err(GraphError::WrongElement { name: name.to_owned(), ty: ty.clone() })
    }
}
