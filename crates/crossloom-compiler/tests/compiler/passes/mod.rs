//! One module per pass: its named effects.

mod agf_fusion;
mod agf_norm_fusion;
mod amp_batching;
mod attention_fusion;
mod cse;
mod dce;
mod elementwise_fusion;
mod epilogue_fusion;
mod fold;
mod fold_pads;
mod head_fusion;
mod low_rank_fusion;
mod norm_fusion;
mod precision;
mod product_fusion;
mod rematerialise;
