//! The spatial vision aggregator of Cambrian-1: visual tokens read, each in its own window, the states of several encoders; in front
//! of the language model, where they begin as one learned token, and again behind some of its layers.

use crossloom_graph::Tensor;
use crossloom_ir::op::{Activation, Attention, Unary, UnaryKind};
use crossloom_recipe::Part;

use super::{layer_norm, spread};
use crate::params::Params;
use crate::window_queries::cut;
use crate::{Init, ModelError};

/// The epsilon of its norms, PyTorch's own.
const NORM_EPS: f64 = 1e-5;

/// What its layers have in common; weights have the names of the published code's.
#[derive(Clone, Copy)]
pub(crate) struct Aggregator {
    /// The part that its weights belong to.
    pub(crate) part: Part,
    /// Heads.
    pub(crate) heads: usize,
    /// Width of what is read, and of the attention.
    pub(crate) hidden: usize,
    /// Visual tokens of a side.
    pub(crate) side: usize,
}

/// States of encoders as the aggregator reads them.
pub(crate) struct Sources {
    /// Every encoder's windows, one per visual token, `[B N, size², H]`.
    windows: Vec<Tensor>,
    /// The mean of the first encoder's state, `[B, H]`.
    context: Tensor,
}

impl Aggregator {
    /// States `[B, (side w)², ..]`, of any widths and window sizes `w`, brought to one width.
    pub(crate) fn sources(
        &self,
        p: &mut Params,
        prefix: &str,
        states: &[Tensor],
    ) -> Result<Sources, ModelError> {
        let mut windows = Vec::with_capacity(states.len());
        let mut context = None;
        for (i, &state) in states.iter().enumerate() {
            let rows = p.graph.shape(state)[1];
            let size = rows.isqrt() / self.side;
            if size == 0 || (size * self.side).pow(2) != rows {
                let side = self.side;
                let message = format!("a state of {rows} tokens is not cut into {side} by {side} windows");
                return Err(ModelError::Incomplete(message));
            }
            let name = format!("{prefix}mm_projector_aux_{i}");
            let x = self.two_layers(
                p,
                [&format!("{name}.0"), &format!("{name}.2")],
                [self.hidden; 2],
                true,
                state,
            )?;
            let x = layer_norm(p, (self.part, &format!("{name}.3")), NORM_EPS, x)?;
            if context.is_none() {
                let sum = p.graph.reduce_sum(x, &[1])?;
                context = Some(p.graph.affine(sum, (rows as f64).recip(), 0.0)?);
            }
            windows.push(cut(p, x, self.side, size)?);
        }
        let context = context.ok_or_else(|| ModelError::Incomplete("no encoder is aggregated".to_owned()))?;
        Ok(Sources { windows, context })
    }

    /// Visual tokens `[B, N, D]` of so many layers over a learned one, for a language model of that width.
    pub(crate) fn connect(
        &self,
        p: &mut Params,
        prefix: &str,
        sources: &Sources,
        [depth, width]: [usize; 2],
    ) -> Result<Tensor, ModelError> {
        let batch = p.graph.shape(sources.context)[0];
        let init = Init::Uniform { std: (width as f64).sqrt().recip() };
        let query = p.param(self.part, &format!("{prefix}vision_query"), &[1, self.hidden], init);
        let query = p.graph.reshape(query, &[self.hidden])?;
        let mut tokens = spread(p, query, &[batch, self.side * self.side, self.hidden], &[2])?;
        for layer in 0..depth {
            let name = format!("{prefix}vision_sampler_0.layers.{layer}");
            tokens = self.aggregate(p, &name, tokens, sources)?;
        }
        let names = [&*format!("{prefix}mm_projector.0"), &*format!("{prefix}mm_projector.2")];
        self.two_layers(p, names, [width; 2], true, tokens)
    }

    /// One layer: visual tokens `[B, N, D]` with what they read of their windows.
    pub(crate) fn aggregate(
        &self,
        p: &mut Params,
        prefix: &str,
        tokens: Tensor,
        sources: &Sources,
    ) -> Result<Tensor, ModelError> {
        let &[batch, count, width] = p.graph.shape(tokens) else {
            return Err(ModelError::Incomplete(format!("the visual tokens of `{prefix}` have no rows")));
        };
        let hidden = self.hidden;
        let context = self.linear(p, &format!("{prefix}.proj_context"), hidden, sources.context, false)?;
        let context = spread(p, context, &[batch, count, hidden], &[0, 2])?;
        let x = p.graph.concat(&[tokens, context], 2)?;
        let x = self.linear(p, &format!("{prefix}.proj_in"), hidden, x, false)?;
        let x = p.graph.reshape(x, &[batch * count, 1, hidden])?;
        let read = self.attend(p, prefix, x, &sources.windows)?;
        let x = p.graph.add(x, read)?;
        let x = layer_norm(p, (self.part, &format!("{prefix}.norm")), NORM_EPS, x)?;
        let names = ["linear_1", "linear_2"].map(|name| format!("{prefix}.proj_out.{name}"));
        let update = self.two_layers(p, [&names[0], &names[1]], [hidden, width], false, x)?;
        let update = p.graph.reshape(update, &[batch, count, width])?;
        Ok(p.graph.add(tokens, update)?)
    }

    /// One query per window, `[B N, 1, H]`, over the windows of all encoders, whose rows have learned positions.
    fn attend(
        &self,
        p: &mut Params,
        prefix: &str,
        x: Tensor,
        windows: &[Tensor],
    ) -> Result<Tensor, ModelError> {
        let name = |name: &str| format!("{prefix}.cross_attn.{name}");
        let projected = |p: &mut Params, name: &str, x: Tensor| {
            let x = layer_norm(p, (self.part, &format!("{name}.0")), NORM_EPS, x)?;
            self.linear(p, &format!("{name}.1"), self.hidden, x, false)
        };
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (i, &window) in windows.iter().enumerate() {
            let rows = p.graph.shape(window)[1];
            let mut window = window;
            if rows > 1 {
                let shape = p.graph.shape(window).to_vec();
                let init = Init::Uniform { std: 1.0 };
                let positions = format!("{prefix}.pos_embed_{i}");
                let positions = p.param(self.part, &positions, &[rows, self.hidden], init);
                let positions = spread(p, positions, &shape, &[1, 2])?;
                window = p.graph.add(window, positions)?;
            }
            keys.push(projected(p, &name(&format!("k_proj_{i}")), window)?);
            values.push(projected(p, &name(&format!("v_proj_{i}")), window)?);
        }
        let query = projected(p, &name("q_proj"), x)?;
        let (keys, values) = (p.graph.concat(&keys, 1)?, p.graph.concat(&values, 1)?);
        let scale = ((self.hidden / self.heads) as f64).sqrt().recip();
        let op = Attention { heads: self.heads, kv_heads: self.heads, causal: false, segments: false, scale };
        let read = p.graph.one(op, &[query, keys, values])?;
        self.linear(p, &name("o_proj"), self.hidden, read, false)
    }

    fn linear(
        &self,
        p: &mut Params,
        name: &str,
        out: usize,
        x: Tensor,
        bias: bool,
    ) -> Result<Tensor, ModelError> {
        let width = p.graph.ty(x).last();
        p.linear(self.part, name, out, width, bias).apply(p, x)
    }

    /// Two linear layers of those widths with a GELU between them.
    fn two_layers(
        &self,
        p: &mut Params,
        names: [&str; 2],
        widths: [usize; 2],
        bias: bool,
        x: Tensor,
    ) -> Result<Tensor, ModelError> {
        let x = self.linear(p, names[0], widths[0], x, bias)?;
        let x = p.graph.one(Unary(UnaryKind::Act(Activation::GeluErf)), &[x])?;
        self.linear(p, names[1], widths[1], x, bias)
    }
}
