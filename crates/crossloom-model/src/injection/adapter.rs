//! From vision width to language width, for all injected taps at once.

use crossloom_graph::Tensor;
use crossloom_ir::op::{AmpProject, Attach};
use crossloom_ir::{Role, TensorType};
use crossloom_recipe::{
    Adapter, AmpAttach, Injection, Model, NamedInjection, Part, PointAddress, Recipe, Tap,
};

use crate::connector::windows;
use crate::layout::Layout;
use crate::linear::LowRank;
use crate::params::Params;
use crate::projector::{ProjectorWeights, SHARED, act, prepared, projected};
use crate::vision::{States, activation, tap};
use crate::{ModelError, inputs};

/// Whose features these are: a tap's, or those of one of its edges where every edge has its own.
type Source = (Tap, Option<PointAddress>);

/// The aligned features of all injected taps or edges, stacked.
pub(crate) struct Features {
    /// `[K, B, N, D]`, in the order of `sources`; of windows, as wide as those.
    stacked: Tensor,
    sources: Vec<Source>,
}

/// Whose features there are, in order.
fn sources(injection: &Injection, edges: &[(Tap, PointAddress)]) -> Vec<Source> {
    match injection.adapter {
        Adapter::PerEdge { .. } => edges.iter().map(|(tap, point)| (tap.clone(), Some(*point))).collect(),
        _ => injection.taps.iter().map(|tap| (tap.clone(), None)).collect(),
    }
}

/// Width of a visual token's features.
fn width(injection: &Injection, model: &Model) -> usize {
    match injection.adapter {
        Adapter::Windows { hidden } => model.projector.merge.pow(2) * hidden,
        _ => model.language.hidden,
    }
}

/// What the names of an adapter's weights begin with.
fn prefix(injection: NamedInjection<'_>, (tap, point): &Source) -> String {
    let own = format!("{}.adapter", injection.prefix());
    match point {
        Some(point) => format!("{own}.{}.{tap}", point.name()),
        None => format!("{own}.{tap}"),
    }
}

impl Features {
    /// Those that were computed before, as an input.
    pub(crate) fn given(
        p: &mut Params,
        model: &Model,
        injection: NamedInjection<'_>,
        edges: &[(Tap, PointAddress)],
        [batch, tokens]: [usize; 2],
    ) -> Self {
        let (sources, width) = (sources(injection.of, edges), width(injection.of, model));
        let ty = TensorType::f32([sources.len(), batch, tokens, width]);
        Self { stacked: p.graph.param(&injection.under(inputs::FEATURES), Role::Input, ty), sources }
    }

    /// Lays those of views `[K, V, n, D]` out as those of rows.
    pub(crate) fn lay(&mut self, p: &mut Params, layout: Layout) -> Result<(), ModelError> {
        self.stacked = layout.features(p, self.stacked)?;
        Ok(())
    }

    /// All, `[K, B, N, D]`.
    pub(crate) fn stacked(&self) -> Tensor {
        self.stacked
    }

    /// The features of some taps at a point, `[k, B, N, D]`, in that order.
    pub(crate) fn select(
        &self,
        p: &mut Params,
        point: PointAddress,
        taps: &[Tap],
    ) -> Result<Tensor, ModelError> {
        let feeds = |(of, own): &Source, tap: &Tap| of == tap && own.is_none_or(|own| own == point);
        if self.sources.len() == taps.len() && self.sources.iter().zip(taps).all(|(of, tap)| feeds(of, tap)) {
            return Ok(self.stacked);
        }
        let mut parts = Vec::with_capacity(taps.len());
        for tap in taps {
            let missing = || ModelError::Incomplete(format!("an edge leaves `{tap}`, which is no tap"));
            let index = self.sources.iter().position(|source| feeds(source, tap));
            parts.push(p.graph.slice(self.stacked, 0, index.ok_or_else(missing)?, 1)?);
        }
        if let [only] = parts[..] { Ok(only) } else { Ok(p.graph.concat(&parts, 0)?) }
    }
}

/// Aligns every tap of an injection with the language model.
pub(crate) fn adapt(
    p: &mut Params,
    states: &States,
    recipe: &Recipe,
    injection: NamedInjection<'_>,
    edges: &[(Tap, PointAddress)],
) -> Result<Features, ModelError> {
    let (model, adapter) = (&recipe.model, &injection.of.adapter);
    p.enter(&injection.under("adapter"));
    let sources = sources(injection.of, edges);
    let mut inputs = Vec::with_capacity(sources.len());
    for source in &sources {
        let state = tap(p, states, recipe, &source.0)?;
        if let Adapter::Windows { hidden } = adapter {
            inputs.push(windows(p, &prefix(injection, source), *hidden, state, model)?);
            continue;
        }
        let norm = format!("{}.norm", prefix(injection, source));
        inputs.push(prepared(p, Part::Adapter, &norm, adapter.tap_norm(), state, model)?);
    }
    let stacked = match adapter {
        Adapter::PerTap { .. } => own(p, &inputs, injection, &sources, &[], recipe)?,
        Adapter::PerEdge { corners, .. } => own(p, &inputs, injection, &sources, corners, recipe)?,
        Adapter::Linear { bias, .. } => linear(p, &inputs, injection, &sources, *bias, model)?,
        Adapter::Windows { .. } => stack(p, &inputs)?,
        Adapter::Shared { .. } => project(p, inputs, &Branches::None, model)?,
        Adapter::Amp { rank, alpha, attach, .. } => {
            let scale = alpha / *rank as f64;
            let branches = Branches::declare(p, injection, *attach, *rank, scale, model);
            project(p, inputs, &branches, model)?
        }
    };
    p.leave();
    Ok(Features { stacked, sources })
}

/// What AMP adds to the shared projector, tap by tap.
enum Branches {
    None,
    /// Beside the whole projector.
    Parallel(Vec<LowRank>),
    /// Beside each of its two layers.
    PerLinear(Vec<[LowRank; 2]>),
}

impl Branches {
    fn declare(
        p: &mut Params,
        injection: NamedInjection<'_>,
        attach: AmpAttach,
        rank: usize,
        scale: f64,
        model: &Model,
    ) -> Self {
        let (from, inner, to) = (model.merged_width(), model.projector.hidden, model.language.hidden);
        let (taps, own) = (&injection.of.taps, format!("{}.adapter", injection.prefix()));
        let mut pair =
            |prefix: String, sides| LowRank::declare(p, Part::Adapter, &prefix, sides, rank, scale);
        match attach {
            AmpAttach::Parallel => {
                Self::Parallel(taps.iter().map(|tap| pair(format!("{own}.{tap}."), [to, from])).collect())
            }
            AmpAttach::PerLinear => {
                let both = |tap: &Tap| {
                    let first = pair(format!("{own}.{tap}.linear_1."), [inner, from]);
                    [first, pair(format!("{own}.{tap}.linear_2."), [to, inner])]
                };
                Self::PerLinear(taps.iter().map(both).collect())
            }
        }
    }

    /// What one layer of the projector, or all of it, has beside it for every tap.
    fn beside(&self, place: Beside) -> Vec<LowRank> {
        match (self, place) {
            (Self::Parallel(pairs), Beside::Whole) => pairs.clone(),
            (Self::PerLinear(pairs), Beside::First) => pairs.iter().map(|pair| pair[0]).collect(),
            (Self::PerLinear(pairs), Beside::Second) => pairs.iter().map(|pair| pair[1]).collect(),
            _ => Vec::new(),
        }
    }

    fn attach(&self) -> Attach {
        match self {
            Self::None => Attach::None,
            Self::Parallel(_) => Attach::Parallel,
            Self::PerLinear(_) => Attach::PerLinear,
        }
    }

    /// All pairs, tap by tap.
    fn pairs(&self) -> Vec<LowRank> {
        match self {
            Self::None => Vec::new(),
            Self::Parallel(pairs) => pairs.clone(),
            Self::PerLinear(pairs) => pairs.concat(),
        }
    }
}

/// Where a branch is added.
#[derive(Clone, Copy)]
enum Beside {
    First,
    Second,
    Whole,
}

/// The shared projector over all taps, with low-rank branches or without: one operator, but where the projector has pairs of
/// its own.
fn project(
    p: &mut Params,
    inputs: Vec<Tensor>,
    branches: &Branches,
    model: &Model,
) -> Result<Tensor, ModelError> {
    if model.projector.windows().is_some() {
        let each = inputs.iter().map(|&input| projected(p, (Part::Projector, SHARED), input, 1, None, model));
        let parts = each.collect::<Result<Vec<_>, _>>()?;
        return stack(p, &parts);
    }
    let weights = ProjectorWeights::shared(p, model);
    if weights.is_adapted() {
        return project_adapted(p, &inputs, &weights, branches, model);
    }
    let pairs = branches.pairs();
    let op = AmpProject {
        taps: inputs.len(),
        act: activation(model.projector.activation),
        scale: pairs.first().map_or(1.0, |pair| pair.scale()),
        bias: model.projector.bias,
        attach: branches.attach(),
    };
    let matrices = pairs.into_iter().flat_map(LowRank::matrices);
    let operands: Vec<Tensor> = inputs.into_iter().chain(weights.operands()).chain(matrices).collect();
    Ok(p.graph.one(op, &operands)?)
}

/// The same layer by layer: the projector's own pairs are shared by all taps, as its weights are.
fn project_adapted(
    p: &mut Params,
    inputs: &[Tensor],
    weights: &ProjectorWeights,
    branches: &Branches,
    model: &Model,
) -> Result<Tensor, ModelError> {
    let x = stack(p, inputs)?;
    let hidden = weights.first.apply(p, x)?;
    let hidden = branched(p, hidden, x, &branches.beside(Beside::First))?;
    let hidden = act(p, hidden, model)?;
    let features = weights.second.apply(p, hidden)?;
    let features = branched(p, features, hidden, &branches.beside(Beside::Second))?;
    branched(p, features, x, &branches.beside(Beside::Whole))
}

/// `y [K, B, N, D]` with the branch of every tap over its own slice of `x [K, B, N, D']`.
fn branched(p: &mut Params, y: Tensor, x: Tensor, pairs: &[LowRank]) -> Result<Tensor, ModelError> {
    if pairs.is_empty() {
        return Ok(y);
    }
    let mut updates = Vec::with_capacity(pairs.len());
    for (tap, pair) in pairs.iter().enumerate() {
        let own = p.graph.slice(x, 0, tap, 1)?;
        updates.push(pair.apply(p, own)?);
    }
    let updates = p.graph.concat(&updates, 0)?;
    Ok(p.graph.add(y, updates)?)
}

/// A projector of its own for every tap or edge. Queries of edges into a corner's point begin there.
fn own(
    p: &mut Params,
    inputs: &[Tensor],
    injection: NamedInjection<'_>,
    sources: &[Source],
    corners: &[PointAddress],
    recipe: &Recipe,
) -> Result<Tensor, ModelError> {
    let mut parts = Vec::with_capacity(inputs.len());
    for (&input, source) in inputs.iter().zip(sources) {
        let name = format!("{}.projector", prefix(injection, source));
        let corner = source.1.and_then(|point| corners.iter().position(|corner| *corner == point));
        let states = recipe.topology.width_of(&source.0);
        parts.push(projected(p, (Part::Adapter, &name), input, states, corner, &recipe.model)?);
    }
    stack(p, &parts)
}

/// A linear layer of its own for every tap.
fn linear(
    p: &mut Params,
    inputs: &[Tensor],
    injection: NamedInjection<'_>,
    sources: &[Source],
    bias: bool,
    model: &Model,
) -> Result<Tensor, ModelError> {
    let mut parts = Vec::with_capacity(inputs.len());
    for (&input, source) in inputs.iter().zip(sources) {
        let (name, fan_in) = (format!("{}.linear", prefix(injection, source)), p.graph.ty(input).last());
        parts.push(p.linear(Part::Adapter, &name, model.language.hidden, fan_in, bias).apply(p, input)?);
    }
    stack(p, &parts)
}

/// `[B, N, D]` of every tap to `[K, B, N, D]`.
fn stack(p: &mut Params, taps: &[Tensor]) -> Result<Tensor, ModelError> {
    let mut parts = Vec::with_capacity(taps.len());
    for &tap in taps {
        let mut shape = vec![1];
        shape.extend_from_slice(p.graph.shape(tap));
        parts.push(p.graph.reshape(tap, &shape)?);
    }
    if let [only] = parts[..] { Ok(only) } else { Ok(p.graph.concat(&parts, 0)?) }
}
