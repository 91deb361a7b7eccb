//! Who may ask.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq as _;

use super::Shared;
use crate::error::ApiError;

/// Lets requests pass that name this server as their host.
pub(super) async fn host(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let named = request.headers().get(HOST).map_or(Ok(""), |host| host.to_str());
    let named = named.unwrap_or_default();
    if !shared.access.admits(named) {
        return Err(ApiError::Host(named.to_owned()));
    }
    Ok(next.run(request).await)
}

/// Lets requests pass that have the key, where one is wanted.
pub(super) async fn key(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(key) = &shared.access.key
        && !has(request.headers(), key)
    {
        return Err(ApiError::Key);
    }
    Ok(next.run(request).await)
}

/// Whether the key is in the headers; how long that takes to tell does not depend on how much of it is right.
fn has(headers: &HeaderMap, key: &str) -> bool {
    const SCHEME: &[u8] = b"Bearer ";
    let Some(given) = headers.get(AUTHORIZATION) else { return false };
    let Some((scheme, given)) = given.as_bytes().split_at_checked(SCHEME.len()) else { return false };
    scheme.eq_ignore_ascii_case(SCHEME) && bool::from(given.ct_eq(key.as_bytes()))
}
