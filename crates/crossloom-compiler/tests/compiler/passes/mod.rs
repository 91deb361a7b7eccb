//! One module per pass: its named effects.

mod agf_fusion;
mod amp_batching;
mod attention_fusion;
mod cse;
mod dce;
mod elementwise_fusion;
mod epilogue_fusion;
mod fold;
mod fold_pads;
mod norm_fusion;
mod precision;
mod product_fusion;
mod rematerialise;
