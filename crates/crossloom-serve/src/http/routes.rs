//! Which path is what.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, Uri};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{get, post};
use crossloom_run::engine::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{Json, Shared, access, body, metrics, page};
use crate::answer::{Events, Form, streamed, whole};
use crate::error::ApiError;
use crate::request::{Asked, Interface, asked, refused};
use crate::settings::{Access, Limits};

/// All paths of a server.
pub fn router(client: Client, limits: Limits, access: Access) -> Router {
    let shared = Arc::new(Shared::new(client, limits, access));
    let with_key = from_fn_with_state(Arc::clone(&shared), access::key);
    let guarded = Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/metrics", get(metrics::write))
        .layer(with_key);
    Router::new()
        .route("/", get(page::page))
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .merge(guarded)
        .fallback(|uri: Uri| async move { ApiError::Path(uri.path().to_owned()) })
        .method_not_allowed_fallback(|method: Method| async move { ApiError::Method(method.to_string()) })
        .layer(from_fn_with_state(Arc::clone(&shared), access::host))
        .layer(from_fn_with_state(Arc::clone(&shared), metrics::count))
        .layer(map_response(plain))
        .with_state(shared)
}

/// What holds of all responses: they are what they say, and nobody keeps them.
async fn plain(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn models(State(shared): State<Arc<Shared>>) -> Json {
    Json(json!({ "object": "list", "data": [described(&shared)] }))
}

async fn model(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<Json, ApiError> {
    if name == shared.client.card().name() {
        Ok(Json(described(&shared)))
    } else {
        Err(ApiError::Model(name))
    }
}

/// The model in OpenAI's form, and what a client may want to know before it asks.
fn described(shared: &Shared) -> Value {
    let card = shared.client.card();
    let (least, most) = card.pictures();
    json!({
        "id": card.name(),
        "object": "model",
        "created": shared.created,
        "owned_by": "crossloom",
        "crossloom": {
            "positions": card.positions(),
            "pictures": { "least": least, "most": most },
            "gates": card.gated_edges().len(),
        },
    })
}

async fn chat(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, ApiError> {
    answer(Interface::Chat, shared, request).await
}

async fn completion(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, ApiError> {
    answer(Interface::Completion, shared, request).await
}

/// Reads, asks and tells. Whoever leaves drops this future or the stream that it gives, and with it what runs.
async fn answer(by: Interface, shared: Arc<Shared>, request: Request) -> Result<Response, ApiError> {
    let deadline = Instant::now() + shared.limits.request_time;
    let admitted = Arc::clone(&shared.requests).try_acquire_owned();
    let admitted = admitted.map_err(|_| ApiError::Full("too many requests are being answered"))?;
    let (head, body) = request.into_parts();
    body::is_json(&head.headers)?;
    let held = body::read(&head.headers, body, &shared).await?;
    let late = |_| ApiError::Time("the request could not be prepared");
    let Asked { wanted, requests } =
        timeout_at(deadline, prepared(by, &shared, held)).await.map_err(late)??;
    let count = requests.len();
    let events = Events::ask(&shared.client, requests, deadline).map_err(|why| refused(&why, by))?;
    let form = Form::new(by, &wanted, shared.client.clone());
    if wanted.stream {
        let held = (admitted, shared.metrics.streaming());
        return Ok(streamed(events, form, count, wanted.include_usage, held));
    }
    whole(events, &form, count).await
}

/// Reads a body on a thread that may be busy for a while; as many at once as there are processors.
async fn prepared(by: Interface, shared: &Arc<Shared>, held: body::Held) -> Result<Asked, ApiError> {
    let turn = Arc::clone(&shared.preparing).acquire_owned().await.map_err(|_| ApiError::Stopping)?;
    let of = Arc::clone(shared);
    let work = move || {
        let _turn = turn;
        asked(by, &held.bytes, of.client.card(), &of.limits)
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ApiError::Failed("the request could not be prepared".to_owned()))?
}
