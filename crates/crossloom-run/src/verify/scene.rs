//! A function in one call, with the places where what was seen enters its stream, and what enters there when taps show something
//! else.

use std::collections::BTreeMap;

use crossloom_ir::{Func, Tensor, Value};

use super::evaluate::{Change, Changed, Evaluated, Named, difference};
use super::stream::{Segment, Stream};
use super::wiring::Wiring;
use crate::ExperimentError;

/// What is seen in the place of what a call was given: as it is now, and as it is when each of the taps shows nothing.
pub(crate) struct Sight {
    pub(crate) now: Change,
    pub(crate) nothing: Vec<Change>,
}

/// The values of what is seen, by instruction, that go with a [`Sight`].
pub(crate) struct World {
    pub(crate) now: Changed,
    pub(crate) nothing: Vec<Changed>,
}

/// Operands of instructions.
pub(crate) type Operands = BTreeMap<(usize, usize), Tensor<f64>>;

/// A call.
pub(crate) struct Scene<'f> {
    pub(crate) base: Evaluated<'f>,
    pub(crate) stream: Stream,
    /// Operands through which what was seen enters at each point.
    pub(crate) entries: Vec<Vec<(usize, usize)>>,
    /// By point, its stretch of the stream.
    segments: Vec<Option<Segment>>,
    /// By tap, what is seen when it shows something else.
    pub(crate) other: Vec<Changed>,
    /// What is seen in the call itself.
    pub(crate) world: World,
}

impl<'f> Scene<'f> {
    /// A call of a function of a decoder with so many layers whose head ends in a result. `other` and `nothing` are the changes when
    /// each of the taps shows something else, or nothing.
    ///
    /// # Errors
    /// It cannot be run. Inner: its stream cannot be found.
    pub(crate) fn new(
        func: &'f Func,
        given: &[&Named],
        (other, nothing): (&[Change], &[Change]),
        wiring: &Wiring,
        (layers, result): (usize, &str),
    ) -> Result<Result<Self, Vec<String>>, ExperimentError> {
        let stream = match Stream::find(func, layers, &wiring.halves, result) {
            Ok(stream) => stream,
            Err(problems) => return Ok(Err(problems)),
        };
        let base = Evaluated::new(func, given)?;
        let seen = |change: &Change| base.changed(change, Some(&stream.seeing));
        let other = other.iter().map(seen).collect::<Result<_, _>>()?;
        let nothing = nothing.iter().map(seen).collect::<Result<_, _>>()?;
        let world = World { now: Changed::default(), nothing };
        let segments = segments(func, &stream, wiring);
        let entries = entries(&stream, &segments);
        Ok(Ok(Self { base, stream, entries, segments, other, world }))
    }

    /// What is seen by other inputs.
    pub(crate) fn world(&self, sight: &Sight) -> Result<World, ExperimentError> {
        let seen = |change: &Change| self.base.changed(change, Some(&self.stream.seeing));
        Ok(World {
            now: seen(&sight.now)?,
            nothing: sight.nothing.iter().map(seen).collect::<Result<_, _>>()?,
        })
    }

    /// The stretch of the stream in which a point lies. None where the function has no such place.
    pub(crate) fn segment(&self, point: usize) -> Option<&Segment> {
        self.segments[point].as_ref()
    }

    fn operand(&self, (inst, operand): (usize, usize)) -> Value {
        self.base.func.insts()[inst].inputs[operand]
    }

    /// What enters at a point in another state of what is seen.
    pub(crate) fn entering(&self, point: usize, seen: &Changed) -> Operands {
        let at = |&entry: &(usize, usize)| Some((entry, seen.operand(entry, self.operand(entry))?.clone()));
        self.entries[point].iter().filter_map(at).collect()
    }

    /// Which elements of what enters there depend on a tap; none where no element does.
    pub(crate) fn depends(&self, entry: (usize, usize), tap: usize) -> Option<Vec<bool>> {
        let value = self.operand(entry);
        let (base, other) = (self.base.value(value), self.other[tap].operand(entry, value)?);
        Some(base.data.iter().zip(&other.data).map(|(a, b)| a != b).collect())
    }

    /// What enters at an edge's point in a world when the edge is cut: what depends on its tap alone is zero; at the input, and where
    /// it depends on other taps of the point too, it is what it is when the tap shows nothing.
    pub(crate) fn cut(&self, wiring: &Wiring, edge: usize, world: &World) -> Operands {
        let wire = &wiring.edges[edge];
        let mut cut = Operands::new();
        for &entry in &self.entries[wire.point] {
            let Some(own) = self.depends(entry, wire.tap) else { continue };
            let others = self.of_others(wiring, edge, entry);
            let value = self.operand(entry);
            let at = |seen: &'_ Changed| seen.operand(entry, value).unwrap_or(self.base.value(value)).clone();
            let (now, nothing) = (at(&world.now), at(&world.nothing[wire.tap]));
            let element = |i: usize| match (own[i], others.iter().any(|(_, other)| other[i])) {
                (false, _) => now.data[i],
                (true, false) if !wire.is_input => 0.0,
                (true, _) => nothing.data[i],
            };
            let data = (0..now.data.len()).map(element).collect();
            cut.insert(entry, Tensor { shape: now.shape.clone(), data });
        }
        cut
    }

    /// What enters at an edge's point when all other taps of the point show something else.
    pub(crate) fn others_differ(&self, wiring: &Wiring, edge: usize) -> Operands {
        let wire = &wiring.edges[edge];
        let mut operands = Operands::new();
        for &entry in &self.entries[wire.point] {
            let value = self.operand(entry);
            let mut tensor = self.base.value(value).clone();
            for (tap, depends) in self.of_others(wiring, edge, entry) {
                let other = self.other[tap].operand(entry, value).unwrap_or(self.base.value(value));
                for (i, element) in tensor.data.iter_mut().enumerate().filter(|(i, _)| depends[*i]) {
                    *element = other.data[i];
                }
            }
            operands.insert(entry, tensor);
        }
        operands
    }

    /// Which elements of what enters depend on the other taps of an edge's point.
    pub(crate) fn of_others(
        &self,
        wiring: &Wiring,
        edge: usize,
        entry: (usize, usize),
    ) -> Vec<(usize, Vec<bool>)> {
        let wire = &wiring.edges[edge];
        let taps =
            wiring.into(wire.point).map(|other| wiring.edges[other].tap).filter(|&tap| tap != wire.tap);
        taps.filter_map(|tap| Some((tap, self.depends(entry, tap)?))).collect()
    }

    /// The hidden state behind a segment after a change in front of it or in it.
    pub(crate) fn replay(&self, segment: &Segment, change: &Change) -> Result<Tensor<f64>, ExperimentError> {
        let changed = self.base.changed(change, Some(&segment.insts))?;
        Ok(self.base.after(&changed, segment.end).clone())
    }

    /// What an edge adds behind its point after a change there: the state with it, less the state with what enters when it is cut.
    /// None where the function has no such place.
    pub(crate) fn update(
        &self,
        wiring: &Wiring,
        edge: usize,
        change: &Change,
        cut: &Operands,
    ) -> Result<Option<Tensor<f64>>, ExperimentError> {
        let Some(segment) = self.segment(wiring.edges[edge].point) else { return Ok(None) };
        let mut without = change.clone();
        without.operands.extend(cut.iter().map(|(at, tensor)| (*at, tensor.clone())));
        let with = self.replay(segment, change)?;
        Ok(Some(difference(&with, &self.replay(segment, &without)?)))
    }
}

/// By point, the operands through which what was seen enters there.
pub(crate) fn entries(stream: &Stream, segments: &[Option<Segment>]) -> Vec<Vec<(usize, usize)>> {
    let of = |segment: &Option<Segment>| {
        let within = |&&(inst, _): &&(usize, usize)| segment.as_ref().is_some_and(|s| s.insts[inst]);
        stream.entries.iter().filter(within).copied().collect()
    };
    segments.iter().map(of).collect()
}

/// By point, its stretch of the stream: all of its place, or, where several points lie there, what stands under its name.
pub(crate) fn segments(func: &Func, stream: &Stream, wiring: &Wiring) -> Vec<Option<Segment>> {
    let of = |declared: &super::wiring::Point| {
        let names: Vec<&str> = (wiring.points.iter())
            .filter(|point| point.place == declared.place)
            .map(|point| point.name.as_str())
            .collect();
        let at = stream.at(declared.place)?;
        Some(match names.len() {
            1 => stream.segments[at].clone(),
            _ => part(func, stream, at, &names, &declared.name),
        })
    };
    wiring.points.iter().map(of).collect()
}

/// The part of a segment that stands under the name of one of several points, from the state that enters it to the one that leaves it;
/// an empty one where nothing does. The input has no name of its own: it is what stands under none.
fn part(func: &Func, stream: &Stream, at: usize, names: &[&str], name: &str) -> Segment {
    let whole = &stream.segments[at];
    let under = |inst: usize| {
        let scope = func.insts()[inst].scope.as_str().strip_prefix("inject.").unwrap_or_default();
        // `layer.4` is no part of `layer.4.after`, which begins alike.
        let begins = |name: &&&str| {
            scope.strip_prefix(**name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        names.iter().filter(begins).max_by_key(|name| name.len()).copied().unwrap_or("input")
    };
    let within = |inst: usize| stream.of_inst[inst] == Some(at);
    let own = |inst: usize| within(inst) && under(inst) == name;
    let state = |value: Value| func.shape(value) == func.shape(whole.end);
    let enters = |value: Value| {
        let made = func.def_inst(value).map(|(inst, _)| inst.index());
        state(value) && (value == whole.start || made.is_some_and(|inst| within(inst) && !own(inst)))
    };
    let all = || func.insts().iter().enumerate().filter(|(inst, _)| own(*inst)).map(|(_, inst)| inst);
    let start = all().flat_map(|inst| inst.inputs.iter().copied()).find(|&value| enters(value));
    let end = all().flat_map(|inst| inst.outputs.iter().copied()).rfind(|&value| state(value));
    let (start, end) = start.zip(end).unwrap_or((whole.end, whole.end));
    let insts = (0..whole.insts.len()).map(|inst| whole.insts[inst] && (!within(inst) || own(inst)));
    Segment { place: whole.place, start, end, insts: insts.collect() }
}
