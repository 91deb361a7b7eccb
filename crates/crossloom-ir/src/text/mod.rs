//! The text form of functions, parseable both ways.
//!
//! ```text
//! func @train {
//!   input  %0 "pixels": f32[16, 192]
//!   weight %1 "projector.weight": f32[96, 192]
//!   state  %2 "optimizer.projector.weight": f32[96, 192]
//!
//!   projector:
//!     %3, %4 = linear %0, %1 {act = gelu_tanh} : f32[16, 96], f32[16, 96]
//!
//!   loss:
//!     %5 = reduce_sum %3 {axes = [0, 1]} : f32[]
//!
//!   return "loss" = %5
//!   update %1 = %2
//! }
//! ```
//!
//! - One statement a line; a `;` starts a comment that ends with the line.
//! - Parameters come first, then instructions, then results.
//! - A line `PATH:` sets the scope of the instructions after it; before the first one it is the root, which is written
//!   `"":` when code returns to it. A path with unusual characters is quoted.
//! - Values are `%` and letters, digits, `_` or `.`. Reading accepts any such label; printing numbers values densely in
//!   print order, so that equal functions print alike and a snapshot changes only where the function does.
//! - Attributes stand in braces after the operands, the output types after the colon. Types are not believed: they are
//!   compared with what the op's type rule gives.
//! - Strings know the escapes `\"`, `\\`, `\n`, `\r`, `\t` and `\u{HEX}`. Real numbers are printed so that they read back
//!   to the same bits.
//!
//! Reading never panics and finds all errors, each with its line. It is bounded: lists nest at most [`MAX_DEPTH`] deep, a
//! tensor has at most [`MAX_ELEMENTS`](crate::verify::MAX_ELEMENTS) elements, and after [`MAX_ERRORS`] errors the rest is
//! only counted.

mod assemble;
mod lex;
mod nearest;
mod print;
mod statement;

pub use assemble::{Lines, parse, parse_with_lines};
pub use print::print;

/// How deep lists of attributes may nest.
pub const MAX_DEPTH: usize = 8;

/// How many errors a parse reports before it only counts them.
pub const MAX_ERRORS: usize = 100;

/// Whether a character may stand in a bare word: a mnemonic, an attribute, a number, a scope path.
fn is_word_char(c: char) -> bool {
    is_label_char(c) || matches!(c, '-' | '+' | '>')
}

/// Whether a character may stand in the label of a value.
fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.')
}

/// Whether a name can be printed without quotes.
fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_word_char)
}
