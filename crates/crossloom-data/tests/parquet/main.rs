//! Samples in Parquet files, beside what pyarrow reads in them.

#![cfg(feature = "parquet")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod damaged;
mod reading;
