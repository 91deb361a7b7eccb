//! The body of a request, up to a limit, within a time, and out of a budget of all bodies.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use futures_util::StreamExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::Shared;
use crate::error::ApiError;

/// Bytes that are taken out of the budget at once.
pub(super) const UNIT: usize = 1 << 10;

/// The bytes of a body, and what they take of the budget until they are dropped.
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    permit: Option<OwnedSemaphorePermit>,
}

/// Refuses what is not said to be JSON. A page of another site can send other types without being asked for leave.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let said = headers.get(CONTENT_TYPE).and_then(|said| said.to_str().ok()).unwrap_or_default();
    let media = said.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(ApiError::MediaType) }
}

/// Reads a body.
///
/// # Errors
/// It is too large, comes too slowly or not to its end, or there is no room for it now.
pub(super) async fn read(headers: &HeaderMap, body: Body, shared: &Shared) -> Result<Held, ApiError> {
    let limit = shared.limits.body;
    let promised = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if promised.is_some_and(|promised| promised > limit as u64) {
        return Err(ApiError::Large(limit));
    }
    match timeout(shared.limits.body_time, collect(body, limit, shared)).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::Time("the body did not arrive")),
    }
}

async fn collect(body: Body, limit: usize, shared: &Shared) -> Result<Held, ApiError> {
    let mut held = Held { bytes: Vec::new(), permit: None };
    let (mut pieces, mut units) = (body.into_data_stream(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| ApiError::invalid("", "the body ended before it was complete"))?;
        let bytes = held.bytes.len() + piece.len();
        if bytes > limit {
            return Err(ApiError::Large(limit));
        }
        let more = u32::try_from(bytes.div_ceil(UNIT) - units).unwrap_or(u32::MAX);
        let permit = Arc::clone(&shared.bodies).try_acquire_many_owned(more);
        let permit = permit.map_err(|_| ApiError::Full("too many bytes of requests are held"))?;
        match &mut held.permit {
            Some(all) => all.merge(permit),
            none => *none = Some(permit),
        }
        units = bytes.div_ceil(UNIT);
        held.bytes.extend_from_slice(&piece);
    }
    Ok(held)
}
