//! What the workspace tests share. The test targets lie in `tests/tests`, the files they read beside it.

pub mod filetest;
