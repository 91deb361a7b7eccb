//! See `crossloom_weights::hostile::configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| assert!(crossloom_weights::hostile::configuration(bytes)));
