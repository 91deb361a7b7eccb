//! Bodies of responses.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// A response of JSON. axum's own would have the whole workspace built with a feature of serde_json that nothing needs.
#[derive(Debug)]
pub(crate) struct Json(pub(crate) Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        text_of("application/json", self.0.to_string())
    }
}

/// A response of a text of this type.
pub(crate) fn text_of(kind: &'static str, text: String) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}
