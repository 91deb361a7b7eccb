//! The operands of `agf_gate` in order, by name.

use super::{AgfGate, PoolAttention};

/// Operands of one multi-head attention: `wq, bq, wk, wv, bv, wo, bo`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Projections<V> {
    pub(super) wq: V,
    pub(super) bq: V,
    pub(super) wk: V,
    pub(super) wv: V,
    pub(super) bv: V,
    pub(super) wo: V,
    pub(super) bo: V,
}

impl<V: Copy> Projections<V> {
    fn new(operands: &[V]) -> Self {
        let [wq, bq, wk, wv, bv, wo, bo] = [0, 1, 2, 3, 4, 5, 6].map(|i| operands[i]);
        Self { wq, bq, wk, wv, bv, wo, bo }
    }
}

/// All operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands<V> {
    pub(super) h: V,
    pub(super) v: V,
    pub(super) pool_mask: V,
    /// Where some tokens are not pooled.
    pub(super) token_mask: Option<V>,
    pub(super) query_vision: V,
    pub(super) query_hidden: V,
    pub(super) vision: Option<Projections<V>>,
    pub(super) hidden: Option<Projections<V>>,
    pub(super) controller_w: V,
    pub(super) controller_b: V,
}

const PROJECTIONS: [&str; 7] = ["wq", "bq", "wk", "wv", "bv", "wo", "bo"];

impl<V: Copy> Operands<V> {
    /// Takes operands, whose number has been checked, apart.
    pub(super) fn new(op: AgfGate, operands: &[V]) -> Self {
        let mut operands = operands.to_vec();
        let token_mask = op.masked.then(|| operands.remove(3));
        let (vision, hidden) = match op.attention {
            PoolAttention::None => (None, None),
            PoolAttention::Shared => {
                let shared = Projections::new(&operands[5..]);
                (Some(shared), Some(shared))
            }
            PoolAttention::Separate => {
                (Some(Projections::new(&operands[5..])), Some(Projections::new(&operands[12..])))
            }
        };
        let [h, v, pool_mask, query_vision, query_hidden] = [0, 1, 2, 3, 4].map(|i| operands[i]);
        let controller = operands.len() - 2;
        let (controller_w, controller_b) = (operands[controller], operands[controller + 1]);
        Self {
            h,
            v,
            pool_mask,
            token_mask,
            query_vision,
            query_hidden,
            vision,
            hidden,
            controller_w,
            controller_b,
        }
    }
}

/// Names of all operands, in order.
pub(super) fn names(op: AgfGate) -> Vec<String> {
    let mut names: Vec<String> = ["h", "v", "pool_mask"].map(str::to_owned).into();
    names.extend(op.masked.then(|| "token_mask".to_owned()));
    names.extend(["query_vision", "query_hidden"].map(str::to_owned));
    match op.attention {
        PoolAttention::None => {}
        PoolAttention::Shared => names.extend(PROJECTIONS.map(str::to_owned)),
        PoolAttention::Separate => {
            for side in ["vision", "hidden"] {
                names.extend(PROJECTIONS.map(|name| format!("{side} {name}")));
            }
        }
    }
    names.extend(["controller_w", "controller_b"].map(str::to_owned));
    names
}
