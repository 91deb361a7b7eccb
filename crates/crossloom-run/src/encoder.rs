//! The vision encoder as sessions over its weights, and the pictures that it has encoded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crossloom_compiler::{Plan, Target};
use crossloom_data::packing::{PackedBatch, VISUAL_PARTS};
use crossloom_ir::DType;
use crossloom_model::{ParamSpec, encode, inputs, tapped};
use crossloom_recipe::Recipe;
use crossloom_runtime::{Arena, Session};
use half::bf16;

use crate::ExperimentError;
use crate::graph::policy;
use crate::phases::{bucket, found, session};
use crate::programs::compiled;
use crate::states::{Counts, Encoding, Key, Picture, State, States};

/// The encoder, compiled for the largest batch.
pub(crate) struct EncoderProgram {
    recipe: Recipe,
    /// Pictures of the largest batch.
    batch: usize,
    plan: Plan,
    /// What identifies it, whatever the size of a batch.
    text: String,
    /// Every state: its name, the type in which it is held, and its elements for one picture.
    states: Vec<(String, DType, usize)>,
}

impl EncoderProgram {
    /// The encoder of a recipe for at most so many pictures at a time, and the weights that it reads.
    pub(crate) fn new(
        recipe: &Recipe,
        batch: usize,
        target: &dyn Target,
    ) -> Result<(Self, Vec<ParamSpec>), ExperimentError> {
        let one = encode(recipe, 1)?;
        let types = policy(recipe, &one.params)?;
        let text = format!("{}{types:?}", crossloom_ir::text::print(&one.graph.lift()?));
        let plan = compiled(&encode(recipe, batch)?.graph.lift()?, target, &types)?;
        let vision = &recipe.model.vision;
        // Nothing reads them yet, so nothing needs more than 16 bits.
        let states =
            tapped(recipe).into_iter().map(|state| (state.name(), DType::Bf16, state.elements(vision)));
        let states = states.collect();
        Ok((Self { recipe: recipe.clone(), batch, plan, text, states }, one.params))
    }

    /// Its plan.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Says that a plan reads the states. One that it reads in 32 bits is held in 32 bits.
    #[must_use]
    pub(crate) fn read_by(mut self, plan: &Plan) -> Self {
        for (name, dtype, _) in &mut self.states {
            if plan.func.param(name).is_some_and(|param| plan.func.dtype(param.value) == DType::F32) {
                *dtype = DType::F32;
            }
        }
        self
    }

    /// Bytes of the states of one picture.
    pub(crate) fn picture_bytes(&self) -> u64 {
        self.states.iter().map(|&(_, dtype, elements)| dtype.bytes_of(elements) as u64).sum()
    }
}

/// The encoder of a model, and the pictures that it has encoded.
#[derive(Debug)]
pub(crate) struct Encoder {
    recipe: Recipe,
    batch: usize,
    /// Visual tokens of a view.
    of_view: usize,
    text: String,
    states: Vec<(String, DType, usize)>,
    arena: Arena,
    /// By pictures.
    sessions: BTreeMap<usize, Session>,
    held: States,
}

impl Encoder {
    pub(crate) fn new(program: EncoderProgram, arena: &Arena, held: States) -> Result<Self, ExperimentError> {
        let EncoderProgram { recipe, batch, plan, text, states } = program;
        let sessions = BTreeMap::from([(batch, session(plan, arena)?)]);
        let of_view = recipe.model.visual_tokens();
        Ok(Self { recipe, batch, of_view, text, states, arena: arena.clone(), sessions, held })
    }

    /// The largest session.
    pub(crate) fn largest(&self) -> Option<&Session> {
        self.sessions.values().next_back()
    }

    /// Where pictures are held from now on; those that were held so far are forgotten.
    pub(crate) fn hold_in(&mut self, held: States) {
        self.held = held;
    }

    /// What it held, for the next model; it holds nothing any more.
    pub(crate) fn let_go(&mut self) -> States {
        std::mem::replace(&mut self.held, States::new(0, None))
    }

    /// Where pictures came from so far.
    pub(crate) fn counts(&self) -> Counts {
        self.held.counts
    }

    /// Bytes of pictures in memory and on disk.
    pub(crate) fn held(&self) -> (u64, u64) {
        self.held.bytes()
    }

    /// How pictures are encoded now.
    pub(crate) fn encoding(&mut self) -> Result<Encoding, ExperimentError> {
        let text = self.text.clone();
        Ok(Encoding::of(&text, self.session(1)?.1)?)
    }

    /// Writes the states of the images that some rows of a batch show into the inputs of a session that reads them; others
    /// are zero. Images that are not held are encoded first, so results of other sessions in the arena must have been
    /// read.
    pub(crate) fn load(
        &mut self,
        session: &mut Session,
        batch: &PackedBatch,
        rows: &[usize],
        encoding: Encoding,
    ) -> Result<(), ExperimentError> {
        let images = self.images(batch, rows);
        let pictures = self.pictures(batch, &images, encoding)?;
        for (number, (name, _, elements)) in self.states.iter().enumerate() {
            if !session.has_input(name) {
                continue;
            }
            let ty = session.input_type(name)?;
            let (all, dtype) = (ty.elements(), ty.dtype);
            let places = pictures.iter().map(|(row, picture)| (row * elements, &picture.0[number]));
            match dtype {
                DType::Bf16 => {
                    let mut values = vec![bf16::ZERO; all];
                    for (at, state) in places {
                        write_bf16(&mut values[at..at + elements], state);
                    }
                    session.write(name, &values)?;
                }
                _ => {
                    let mut values = vec![0.0; all];
                    for (at, state) in places {
                        write_f32(&mut values[at..at + elements], state);
                    }
                    session.write(name, &values)?;
                }
            }
        }
        Ok(())
    }

    /// The images that some rows of a batch show: of each row one, or, where views are counted, those of which a token is made.
    fn images(&self, batch: &PackedBatch, rows: &[usize]) -> Vec<usize> {
        if batch.plan().views.is_none() {
            return rows.to_vec();
        }
        let (of_view, of_row) = (self.of_view.max(1), batch.plan().visual_tokens * VISUAL_PARTS);
        let shown = rows.iter().flat_map(|row| {
            let parts = row * of_row..(row + 1) * of_row;
            batch.visual_rows_bn4[parts.clone()].iter().zip(&batch.visual_weights_bn4[parts])
        });
        let named = shown.filter(|(_, weight)| **weight != 0.0);
        let views = named.filter_map(|(row, _)| usize::try_from(*row).ok().map(|row| row / of_view));
        // The row behind those of all views is no view's.
        let there = |view: &usize| batch.plan().views.is_some_and(|views| *view < views);
        views.filter(there).collect::<BTreeSet<usize>>().into_iter().collect()
    }

    /// Some images of a batch, each encoded once at most.
    fn pictures(
        &mut self,
        batch: &PackedBatch,
        rows: &[usize],
        encoding: Encoding,
    ) -> Result<Vec<(usize, Arc<Picture>)>, ExperimentError> {
        let size = batch.pixels_bchw.len() / batch.plan().pixel_shape()[0].max(1);
        let pixels = |row: usize| &batch.pixels_bchw[row * size..(row + 1) * size];
        let layout: Vec<(DType, usize)> = self.states.iter().map(|&(_, dtype, n)| (dtype, n)).collect();
        let mut seen: BTreeMap<Key, Arc<Picture>> = BTreeMap::new();
        let mut missing: Vec<(Key, usize)> = Vec::new();
        let keys: Vec<(usize, Key)> = rows.iter().map(|&row| (row, Key::of(encoding, pixels(row)))).collect();
        for &(row, key) in &keys {
            if seen.contains_key(&key) || missing.iter().any(|&(known, _)| known == key) {
                continue;
            }
            match self.held.get(key, &layout) {
                Some(picture) => _ = seen.insert(key, picture),
                None => missing.push((key, row)),
            }
        }
        for group in missing.chunks(self.batch) {
            let given: Vec<&[f32]> = group.iter().map(|&(_, row)| pixels(row)).collect();
            for (&(key, _), picture) in group.iter().zip(self.encode(&given)?) {
                let picture = Arc::new(picture);
                self.held.put(key, &picture);
                seen.insert(key, picture);
            }
        }
        Ok(keys.into_iter().filter_map(|(row, key)| Some((row, Arc::clone(seen.get(&key)?)))).collect())
    }

    /// Encodes at most as many pictures as a batch has rows.
    fn encode(&mut self, pictures: &[&[f32]]) -> Result<Vec<Picture>, ExperimentError> {
        let states = self.states.clone();
        let session = self.session(pictures.len())?.1;
        let mut pixels = pictures.concat();
        pixels.resize(session.input_type(inputs::PIXELS)?.elements(), 0.0);
        session.write(inputs::PIXELS, &pixels)?;
        session.run()?;
        let mut encoded = vec![Picture(Vec::with_capacity(states.len())); pictures.len()];
        for (name, dtype, elements) in &states {
            let values = session.read::<f32>(name)?;
            for (picture, own) in encoded.iter_mut().zip(values.chunks(*elements)) {
                picture.0.push(State::of(own, *dtype));
            }
        }
        Ok(encoded)
    }

    /// The session that encodes so many pictures, and how many it has room for.
    fn session(&mut self, pictures: usize) -> Result<(usize, &mut Session), ExperimentError> {
        let room = bucket(pictures, self.batch);
        if !self.sessions.contains_key(&room) {
            let graph = encode(&self.recipe, room)?;
            let target = self.arena.store().device().target();
            let plan = compiled(&graph.graph.lift()?, target, &policy(&self.recipe, &graph.params)?)?;
            let session = session(plan, &self.arena)?;
            self.sessions.insert(room, session);
        }
        Ok((room, found(&mut self.sessions, &room)?))
    }
}

fn write_f32(values: &mut [f32], state: &State) {
    match state {
        State::F32(state) => values.copy_from_slice(state),
        // Never where a session reads it so, see `EncoderProgram::read_by`.
        State::Bf16(state) => values.iter_mut().zip(state).for_each(|(to, from)| *to = from.to_f32()),
    }
}

fn write_bf16(values: &mut [bf16], state: &State) {
    match state {
        State::Bf16(state) => values.copy_from_slice(state),
        State::F32(state) => values.iter_mut().zip(state).for_each(|(to, &from)| *to = bf16::from_f32(from)),
    }
}
