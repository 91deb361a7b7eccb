//! Formats of files: each is a function from the bytes of a file to what they hold, by name. The tensors stay in the file.

pub(crate) mod gguf;
pub(crate) mod onnx;
#[cfg(test)]
pub(crate) mod tests;
