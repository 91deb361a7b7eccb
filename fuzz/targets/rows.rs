//! See `crossloom_data::records::sound`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| assert!(crossloom_data::records::sound(bytes)));
