//! The panic boundary: luminal and backends may panic, callers of this crate get errors.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::GraphError;

/// Runs `f`; a panic becomes an error that says what was going on.
///
/// State that `f` was changing may be half changed afterwards: callers discard it or mark it unusable.
///
/// # Errors
/// [`GraphError::Panic`].
pub(crate) fn catch<T>(during: &str, f: impl FnOnce() -> T) -> Result<T, GraphError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| GraphError::Panic {
        during: during.to_owned(),
        message: message(payload.as_ref()),
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}
