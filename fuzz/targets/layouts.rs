//! See `crossloom_weights::hostile::layouts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| assert!(crossloom_weights::hostile::layouts(bytes)));
