//! Whether the phases compute what one forward pass computes: each edge by itself, and all together.

use crossloom_ir::{Role, Tensor};
use crossloom_model::{Chunking, ModelError, Span, caches, chunking};

use super::super::bench::{Bench, ROUNDING};
use super::super::evaluate::{Change, Changed, Evaluated, Named, apart, rows};
use super::super::functions::{Function, Use};
use super::super::report::{Aspect, Verified};
use super::super::scene::Scene;
use super::super::sequences::{ANSWER, Sequence};
use super::super::stream::KEPT;
use super::gates::told;
use crate::ExperimentError;

/// A call of a function, and what the interpreter makes of it.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) function: Function,
    pub(crate) given: Named,
    pub(crate) results: Named,
}

/// What is kept between calls: caches by name, and those of pictures as they are when each of the taps shows something else, or
/// nothing.
#[derive(Default)]
struct Kept {
    now: Named,
    other: Vec<Named>,
    nothing: Vec<Named>,
}

/// What a call reads of every sequence.
struct Part<'p> {
    name: &'static str,
    spans: &'p [Vec<usize>],
    held: &'p [usize],
    /// Positions of a row that there is room for.
    tokens: usize,
    usage: Use,
    /// Whether it generates.
    decodes: bool,
}

/// A whole pass with what every edge adds in it, and what `connect` gives for the phases.
struct Whole<'w, 'f> {
    scene: &'w Scene<'f>,
    updates: Vec<Option<Tensor<f64>>>,
    seen: Named,
    other: Vec<Named>,
    nothing: Vec<Named>,
}

/// Compares a whole forward pass over states with one from pixels, with prefill and decode, and with prefill in chunks. Gives the
/// calls that were made.
pub(crate) fn check(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    verified: &mut Verified,
) -> Result<Vec<Call>, ExperimentError> {
    let mut calls = Vec::new();
    let pixels = bench.function(Use::Whole)?;
    let from_pixels = Evaluated::new(&pixels.func, &[&bench.pixels, &bench.text, &bench.weights])?;
    let pair = [from_pixels.result("logits"), scene.base.result("logits")];
    agree(verified, "from pixels", pair.map(Option::<&Tensor<f64>>::cloned));

    let connect = bench.function(Use::Connect)?;
    let connected = Evaluated::new(&connect.func, &[&bench.states, &bench.text, &bench.weights])?;
    let seen_by = |change: &Change| -> Result<Named, ExperimentError> {
        let changed = connected.changed(change, None)?;
        let results = connect.func.results().iter();
        Ok(results.map(|r| (r.name.clone(), connected.after(&changed, r.value).clone())).collect())
    };
    let [other, nothing] = bench.instead(&connect.func);
    let wiring = &bench.wiring;
    let update =
        |edge: usize| scene.update(wiring, edge, &Change::default(), &scene.cut(wiring, edge, &scene.world));
    let whole = Whole {
        scene,
        updates: (0..wiring.edges.len()).map(update).collect::<Result<_, _>>()?,
        seen: connected.results(),
        other: other.iter().map(seen_by).collect::<Result<_, _>>()?,
        nothing: nothing.iter().map(seen_by).collect::<Result<_, _>>()?,
    };
    let given = bench.states.iter().chain(&bench.text).map(|(n, t)| (n.clone(), t.clone())).collect();
    let results = connected.results();
    drop(connected);
    calls.push(Call { name: "connect", function: connect, given, results });

    let prompts: Vec<Vec<usize>> = bench.sequences.all.iter().map(Sequence::prompt).collect();
    let longest = prompts.iter().map(Vec::len).max().unwrap_or_default();
    let none = vec![0; prompts.len()];
    let usage = Use::Prefill { tokens: longest, span: Span::Whole };
    let part = Part { name: "prefill", spans: &prompts, held: &none, tokens: longest, usage, decodes: false };
    let mut cache = Kept::default();
    calls.push(one(bench, &whole, &part, &mut cache, verified)?);
    let mut held: Vec<usize> = prompts.iter().map(Vec::len).collect();
    let asked = bench.sequences.all.iter().map(|sequence| sequence.questions.len()).max().unwrap_or(1);
    for token in 0..ANSWER {
        let next = |sequence: &Sequence| {
            sequence.questions.iter().map(|question| question.answer.start + token).collect()
        };
        let spans: Vec<Vec<usize>> = bench.sequences.all.iter().map(next).collect();
        let usage = Use::Decode { tokens: asked };
        let part = Part { name: "decode", spans: &spans, held: &held, tokens: asked, usage, decodes: true };
        calls.push(one(bench, &whole, &part, &mut cache, verified)?);
        held.iter_mut().zip(&spans).for_each(|(held, span)| *held += span.len());
    }
    in_chunks(bench, &whole, &prompts, verified)?;
    Ok(calls)
}

/// Reads the prompts again, in chunks that cut the picture where that may be.
fn in_chunks(
    bench: &Bench<'_>,
    whole: &Whole<'_, '_>,
    prompts: &[Vec<usize>],
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let pictures = bench.sequences.all.iter().map(|sequence| sequence.picture.clone());
    let largest = pictures.clone().map(|picture| picture.len()).max().unwrap_or(1);
    let rule = chunking(&bench.recipe);
    let tokens = match rule {
        Chunking::Anywhere => largest / 2 + 1,
        Chunking::AroundPictures | Chunking::Never => largest,
    };
    let cut = prompts
        .iter()
        .zip(pictures)
        .map(|(prompt, picture)| rule.cut(&bench.recipe, prompt.len(), picture, tokens));
    let cut: Vec<_> = match cut.collect() {
        Ok(cut) => cut,
        Err(ModelError::Chunks { reason, .. }) => {
            verified.shared("chunks").note(format!("prompts are read at once: {reason}"));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let mut held = vec![0; prompts.len()];
    let mut cache = Kept::default();
    for call in 0..cut.iter().map(Vec::len).max().unwrap_or_default() {
        let of = |(prompt, cut): (&Vec<usize>, &Vec<std::ops::Range<usize>>)| {
            cut.get(call).map(|span| prompt[span.clone()].to_vec()).unwrap_or_default()
        };
        let spans: Vec<Vec<usize>> = prompts.iter().zip(&cut).map(of).collect();
        // Where pictures take no positions, the first call reads them.
        let sees = call == 0
            || bench
                .sequences
                .all
                .iter()
                .zip(&spans)
                .any(|(sequence, span)| span.iter().any(|position| sequence.picture.contains(position)));
        let usage = Use::Prefill { tokens, span: if sees { Span::Chunk } else { Span::Text } };
        let part = Part { name: "chunks", spans: &spans, held: &held, tokens, usage, decodes: false };
        one(bench, whole, &part, &mut cache, verified)?;
        held.iter_mut().zip(&spans).for_each(|(held, span)| *held += span.len());
    }
    Ok(())
}

/// Makes a call and compares it with the whole pass; what the cache holds goes on.
fn one(
    bench: &Bench<'_>,
    whole: &Whole<'_, '_>,
    part: &Part<'_>,
    cache: &mut Kept,
    verified: &mut Verified,
) -> Result<Call, ExperimentError> {
    let Part { name, spans, held, tokens, usage, .. } = *part;
    let function = bench.function(usage)?;
    let mut given = bench.sequences.call(&bench.text, spans, held, tokens);
    given.extend(whole.seen.iter().map(|(name, tensor)| (name.clone(), tensor.clone())));
    for param in function.func.params().iter().filter(|param| param.role == Role::State) {
        // What lies behind the length of a sequence is never read.
        let unread = || Tensor::splat(function.func.shape(param.value), 7.0);
        given.insert(param.name.clone(), cache.now.get(&param.name).cloned().unwrap_or_else(unread));
    }
    // What is given of a row whatever its positions are the same in every call.
    for param in function.func.params().iter().filter(|param| param.role == Role::Input) {
        if let (false, Some(tensor)) = (given.contains_key(&param.name), bench.text.get(&param.name)) {
            given.insert(param.name.clone(), tensor.clone());
        }
    }
    let call = [&given, &bench.weights];
    // A call that is given pictures may be given others; one that is not reads what was kept of others.
    let instead = |shown: &[Named], kept: &[Named]| -> Vec<Change> {
        let of = |tap: usize| shown[tap].iter().chain(kept.get(tap).into_iter().flatten());
        (0..shown.len()).map(|tap| Change::of_params(&function.func, of(tap))).collect()
    };
    let other = instead(&whole.other, &cache.other);
    let nothing = instead(&whole.nothing, &cache.nothing);
    let result = (bench.layers(), "logits");
    let scene = Scene::new(&function.func, &call, (&other, &nothing), &bench.wiring, result)?;
    let scene = match scene {
        Ok(scene) => scene,
        Err(problems) => {
            for problem in problems {
                verified.shared(name).fail(problem);
            }
            let results = Evaluated::new(&function.func, &call)?.results();
            return Ok(Call { name, function, given, results });
        }
    };
    edges(bench, whole, &scene, part, verified)?;
    // Of a result `[B*T, V]` the rows that are read, and those of the same positions in the whole pass.
    let here: Vec<usize> = spans
        .iter()
        .enumerate()
        .flat_map(|(row, span)| (0..span.len()).map(move |at| row * tokens + at))
        .collect();
    let there = positions(bench, spans);
    let logits = scene.base.result("logits").map(|logits| rows(logits, here));
    let expected = whole.scene.base.result("logits").map(|logits| rows(logits, there));
    agree(verified, name, [logits, expected]);
    let results = scene.base.results();
    cache.other = scene.other.iter().map(|seen| pictures(&scene, seen)).collect();
    cache.nothing = scene.world.nothing.iter().map(|seen| pictures(&scene, seen)).collect();
    let states = results.iter().filter(|(name, _)| name.starts_with(caches::PREFIX));
    cache.now.extend(states.map(|(name, tensor)| (name.clone(), tensor.clone())));
    drop(scene);
    Ok(Call { name, function, given, results })
}

/// What is kept of pictures behind a call when they show something else; where the call writes nothing, what it was given.
fn pictures(scene: &Scene<'_>, seen: &Changed) -> Named {
    let func = scene.base.func;
    let states =
        func.params().iter().filter(|param| param.role == Role::State && param.name.starts_with(KEPT));
    let behind = |param: &crossloom_ir::Param| {
        let written =
            func.results().iter().find(|result| result.updates.is_some() && result.name == param.name);
        let value = written.map_or(param.value, |result| result.value);
        (param.name.clone(), scene.base.after(seen, value).clone())
    };
    states.map(behind).collect()
}

/// The rows of positions in a state `[B, T, D]` of the whole pass.
fn positions(bench: &Bench<'_>, spans: &[Vec<usize>]) -> Vec<usize> {
    let tokens = bench.sequences.tokens;
    spans.iter().enumerate().flat_map(|(row, span)| span.iter().map(move |at| row * tokens + at)).collect()
}

/// From the hidden state that the whole pass has there, every edge adds what it adds in the whole pass.
fn edges(
    bench: &Bench<'_>,
    whole: &Whole<'_, '_>,
    scene: &Scene<'_>,
    part: &Part<'_>,
    verified: &mut Verified,
) -> Result<(), ExperimentError> {
    let wiring = &bench.wiring;
    let there = positions(bench, part.spans);
    for (edge, wire) in wiring.edges.iter().enumerate() {
        let acts = wiring.points[wire.point].acts[usize::from(part.decodes)];
        let proof = verified.edge(edge, Aspect::Phase);
        let (Some(expected), Some(segment), Some(from)) =
            (&whole.updates[edge], scene.segment(wire.point), whole.scene.segment(wire.point))
        else {
            continue;
        };
        if !acts {
            if scene.entries[wire.point].iter().any(|entry| scene.depends(*entry, wire.tap).is_some()) {
                proof.fail(format!("it acts in {}, which its phase excludes", part.name));
            }
            continue;
        }
        let mut h = scene.base.value(segment.start).clone();
        let (width, of_whole) = (h.last(), rows(whole.scene.base.value(from.start), there.iter().copied()));
        let here: Vec<usize> = part
            .spans
            .iter()
            .enumerate()
            .flat_map(|(row, span)| (0..span.len()).map(move |at| row * part.tokens + at))
            .collect();
        for (&to, row) in here.iter().zip(of_whole.data.chunks(width)) {
            h.data[to * width..(to + 1) * width].copy_from_slice(row);
        }
        let change = Change { values: [(segment.start, h)].into(), ..Change::default() };
        let cut = scene.cut(wiring, edge, &scene.world);
        let Some(found) = scene.update(wiring, edge, &change, &cut)? else { continue };
        let (found, expected) = (rows(&found, here), rows(expected, there.iter().copied()));
        let off = apart(&found, &expected);
        proof.at_most(part.name, off);
        if off > ROUNDING {
            let lost = found.data.iter().all(|x| *x == 0.0);
            proof.fail(if lost {
                format!("it adds nothing in {}, and something in a whole forward pass", part.name)
            } else {
                format!("in {} it adds something else than in a whole forward pass", part.name)
            });
        }
        // What prefill tells is what pages and metrics show.
        if part.usage == (Use::Prefill { tokens: part.tokens, span: Span::Whole }) {
            let here = told(bench, scene, edge, &change)?;
            let there = told(bench, whole.scene, edge, &Change::default())?;
            let same = match (&here, &there) {
                (Some(here), Some(there)) => apart(here, there) <= ROUNDING,
                (here, there) => here.is_some() == there.is_some(),
            };
            if !same {
                let problem = "in prefill another gate is told of it than in a whole forward pass";
                verified.edge(edge, Aspect::Phase).fail(problem);
            }
        }
    }
    Ok(())
}

/// Two ways to the same logits.
fn agree(verified: &mut Verified, name: &'static str, pair: [Option<Tensor<f64>>; 2]) {
    let proof = verified.shared(name);
    let [Some(found), Some(expected)] = pair else {
        proof.fail("there are no logits");
        return;
    };
    let off = apart(&found, &expected);
    proof.at_most("off", off);
    if off > ROUNDING {
        proof.fail(format!(
            "the logits are not those of a whole forward pass over vision states: {off:.1e} off"
        ));
    }
}
