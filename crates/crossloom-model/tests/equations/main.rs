//! Injection from a recipe's text to numbers, against a model of its own: the equations in f64, written from the papers
//! and sharing no code with the builder.
//!
//! `settings` is what a recipe can say; `written` writes it as a recipe, from which the product builds its graph; `vision`,
//! `language`, `injection` and `model` compute what it means, on `tape`, which also gives the gradients.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod algebra;
mod batch;
mod compare;
mod injection;
mod language;
mod methods;
mod model;
mod options;
mod product;
mod random;
mod settings;
mod strategy;
mod tape;
mod vision;
mod weights;
mod windows;
mod written;
