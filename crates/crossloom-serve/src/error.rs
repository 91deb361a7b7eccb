//! What a client is told where it gets no answer, in the form that OpenAI's clients read.

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::http::Json;

/// Seconds after which a request that found no room is worth trying again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The longest message, in bytes: a message may quote the request, and a request may be long.
const MESSAGE_BYTES: usize = 2000;

/// Something of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, as `messages[0].content[1].image_url.url`; empty where it is the request as a whole.
    pub param: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl Problem {
    /// A field and what is wrong with it.
    pub fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: param.into(), message: message.into() }
    }
}

/// Why a request has no answer. Every kind has one status. What can never succeed is none of 408, 409 and 429, which clients
/// try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiError {
    /// 400: fields that are wrong, all of them.
    Invalid(Vec<Problem>),
    /// 400: prompt and answer are longer than the model reads.
    TooLong(Problem),
    /// 401: no key, or another one.
    Key,
    /// 403: the request names a host that this server is not, as a page of another site would.
    Host(String),
    /// 404: no such model.
    Model(String),
    /// 404: nothing lies at this path.
    Path(String),
    /// 405: the path is there, the method is not.
    Method(String),
    /// 408: the request did not arrive, or was not answered, in time.
    Time(&'static str),
    /// 413: the body has more bytes than the limit.
    Large(usize),
    /// 415: the body is said to be something else than JSON.
    MediaType,
    /// 429: no room now.
    Full(&'static str),
    /// 500: the model failed.
    Failed(String),
    /// 503: the server stops.
    Stopping,
}

impl ApiError {
    /// One field that is wrong.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Problem::new(param, message)])
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::TooLong(_) => StatusCode::BAD_REQUEST,
            Self::Key => StatusCode::UNAUTHORIZED,
            Self::Host(_) => StatusCode::FORBIDDEN,
            Self::Model(_) | Self::Path(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Time(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Large(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// `type` and `code` of OpenAI's form.
    fn kind(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Invalid(_) | Self::Method(_) | Self::MediaType => ("invalid_request_error", None),
            Self::TooLong(_) => ("invalid_request_error", Some("context_length_exceeded")),
            Self::Key => ("authentication_error", Some("invalid_api_key")),
            Self::Host(_) => ("permission_error", Some("host_not_allowed")),
            Self::Model(_) => ("invalid_request_error", Some("model_not_found")),
            Self::Path(_) => ("invalid_request_error", Some("unknown_url")),
            Self::Time(_) => ("timeout_error", Some("timeout")),
            Self::Large(_) => ("invalid_request_error", Some("request_too_large")),
            Self::Full(_) => ("rate_limit_error", Some("rate_limit_exceeded")),
            Self::Failed(_) => ("server_error", Some("generation_failed")),
            Self::Stopping => ("server_error", Some("shutting_down")),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Invalid(problems) => {
                let told: Vec<String> = problems
                    .iter()
                    .map(|Problem { param, message }| match param.as_str() {
                        "" => message.clone(),
                        param => format!("{param}: {message}"),
                    })
                    .collect();
                told.join("; ")
            }
            Self::TooLong(problem) => problem.message.clone(),
            Self::Key => "this server wants its key, as `Authorization: Bearer KEY`".to_owned(),
            Self::Host(host) => format!(
                "this server does not answer for the host {host:?}; it answers for addresses of this machine, and for what \
                 --allow-host names"
            ),
            Self::Model(name) => {
                format!("there is no model {name:?} here; /v1/models lists what there is")
            }
            Self::Path(path) => format!("nothing lies at {path}"),
            Self::Method(method) => format!("the method {method} is not for this path"),
            Self::Time(what) => format!("out of time: {what}"),
            Self::Large(limit) => format!("the body has more than {limit} bytes, which is the limit"),
            Self::MediaType => "the body must be JSON, with `Content-Type: application/json`".to_owned(),
            Self::Full(what) => format!("no room now: {what}; try again later"),
            Self::Failed(why) => format!("the model failed: {why}"),
            Self::Stopping => "the server is being stopped".to_owned(),
        }
    }

    fn param(&self) -> Option<&str> {
        let problem = match self {
            Self::Invalid(problems) => problems.first(),
            Self::TooLong(problem) => Some(problem),
            Self::Model(_) => return Some("model"),
            _ => None,
        };
        problem.map(|problem| problem.param.as_str()).filter(|param| !param.is_empty())
    }

    /// `{"error": {"message", "type", "param", "code"}}`: the body of a response, or an event of a stream.
    pub fn body(&self) -> Value {
        #[derive(Serialize)]
        struct Told<'a> {
            message: &'a str,
            r#type: &'static str,
            param: Option<&'a str>,
            code: Option<&'static str>,
        }
        let (kind, code) = self.kind();
        let message = self.message();
        let message = shortened(&message);
        json!({ "error": Told { message: &message, r#type: kind, param: self.param(), code } })
    }
}

/// The message with what is too much of it left out of its middle.
fn shortened(message: &str) -> std::borrow::Cow<'_, str> {
    if message.len() <= MESSAGE_BYTES {
        return message.into();
    }
    let half = MESSAGE_BYTES / 2;
    let head = message.floor_char_boundary(half);
    let tail = message.ceil_char_boundary(message.len() - half);
    format!("{} … {}", &message[..head], &message[tail..]).into()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        match self {
            Self::Full(_) | Self::Stopping => drop(response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS)),
            Self::Key => {
                let scheme = HeaderValue::from_static("Bearer");
                drop(response.headers_mut().insert(WWW_AUTHENTICATE, scheme));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_told_and_the_first_names_the_field() {
        let error =
            ApiError::Invalid(vec![Problem::new("top_p", "too large"), Problem::new("n", "too small")]);
        let body = error.body();
        assert_eq!(body["error"]["message"], "top_p: too large; n: too small");
        assert_eq!(body["error"]["param"], "top_p");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["code"], Value::Null);
    }

    #[test]
    fn a_long_message_keeps_its_ends() {
        let error = ApiError::invalid("stop", "ü".repeat(1 << 20));
        let message = error.body()["error"]["message"].as_str().map(str::to_owned).unwrap_or_default();
        assert!(
            message.len() < MESSAGE_BYTES + 16 && message.starts_with("stop: ü") && message.ends_with('ü')
        );
    }
}
