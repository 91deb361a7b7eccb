//! The IR: ops, types, verifier, text form.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ops;
mod picture;
mod quantized;
mod result_types;
mod text_form;
mod text_fuzz;
mod verify_functions;
mod verify_type_rules;
