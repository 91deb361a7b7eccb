//! A server on a real socket, over an engine that follows a script, and a client.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crossloom_data::chat::ChatFormat;
use crossloom_data::conversations::PictureReader;
use crossloom_data::image::{Fit, Image, ImageProcessor, Normalization, ResizeFilter};
use crossloom_data::tokenizer::{
    ChatTokenizer, PublishedTokenizer, QuestionTokenizer, Spelled, Tokenizer, TokenizerOptions,
};
use crossloom_run::engine::testing::{Act, Model, Scripted};
use crossloom_run::engine::{Event, GateValue, Reason, Request, Token, Usage};
use crossloom_serve::{Access, Limits, router, serve};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Tokens of [`question`]: five words, and two, one and two of the template.
pub(crate) const QUESTION_TOKENS: usize = 10;

/// What the model is called.
pub(crate) const MODEL: &str = "scripted/one";

/// Positions of a slot.
pub(crate) const POSITIONS: usize = 64;

/// The words that the model knows.
const WORDS: &str = "user assistant system : what color is the shape red blue green stop a b c";

/// How it writes conversations: two tokens in front of what is said, one behind it.
const TEMPLATE: &str = "{% for m in messages %}{{ m.role }} : {{ m.content }} <eos> {% endfor %}\
                        {% if add_generation_prompt %}assistant : {% endif %}";

/// A model of words; it sees up to three pictures of four tokens each, or none at all.
pub(crate) fn model(sees: bool) -> Model {
    let words = Tokenizer::train(WORDS.split(' '), &TokenizerOptions::default()).unwrap();
    let published =
        PublishedTokenizer::from_json(words.to_json().unwrap().as_bytes(), Spelled::Tokens).unwrap();
    let tokens = [("eos_token".to_owned(), "<eos>".to_owned())].into();
    let format =
        ChatFormat { template: TEMPLATE.to_owned(), tokens, image_token: Some("<image>".to_owned()) };
    let tokenizer = QuestionTokenizer::Chat(ChatTokenizer::new(published, format).unwrap());
    let processor =
        ImageProcessor::squares(Fit::Stretch, 8, ResizeFilter::Bilinear, Normalization::HALF).unwrap();
    let pictures = sees.then(|| (PictureReader::new(processor, 4, None).unwrap(), 3));
    let edge = |tap: &str, point: &str| (tap.to_owned(), point.to_owned());
    let edges = vec![edge("block.0", "layer.0"), edge("block.1", "layer.0")];
    Model { name: MODEL.to_owned(), tokenizer, positions: POSITIONS, pictures, edges }
}

/// A token with its text.
pub(crate) fn token(id: i32, text: &str, request: &Request) -> Event {
    let logprob = request.logprobs.map(|_| -0.5);
    Event::Token(Token { id, text: text.to_owned(), logprob, top: likeliest(request) })
}

/// As many of the likeliest tokens as a request asks for.
fn likeliest(request: &Request) -> Vec<(i32, f32)> {
    (0..request.logprobs.unwrap_or(0)).map(|rank| (rank as i32, -0.5 - rank as f32)).collect()
}

/// The start of an answer.
pub(crate) fn started(request: &Request) -> Act {
    let gate = |tap: &str, value| GateValue { tap: tap.to_owned(), point: "layer.0".to_owned(), value };
    let gates = request.gates.then(|| vec![gate("block.0", 0.25), gate("block.1", 0.75)]);
    let told = |(place, &id): (usize, &i32)| Token {
        id,
        text: format!("[{id}]"),
        logprob: request.logprobs.filter(|_| place > 0).map(|_| -0.25),
        top: if place > 0 { likeliest(request) } else { Vec::new() },
    };
    let prompt: Vec<Token> = request.prompt.tokens().iter().enumerate().map(told).collect();
    let prompt = if request.echo { prompt } else { Vec::new() };
    Act::Tell(Event::Started { prompt_tokens: request.prompt.positions(), prompt, gates })
}

/// The end of an answer of so many tokens.
pub(crate) fn done(request: &Request, tokens: usize, reason: Reason) -> Act {
    let usage = Usage { prompt_tokens: request.prompt.positions(), completion_tokens: tokens };
    Act::Tell(Event::Done { text: String::new(), reason, end: None, usage })
}

/// A script that says some words, as many as the request has room for.
pub(crate) fn says(words: &'static [&'static str]) -> impl Fn(&Request) -> Vec<Act> + Send + 'static {
    move |request| {
        let most = request.max_new_tokens.min(words.len());
        let reason = if most < words.len() { Reason::Length } else { Reason::Stop };
        let mut acts = vec![started(request)];
        acts.extend(
            words[..most].iter().enumerate().map(|(i, word)| Act::Tell(token(i as i32, word, request))),
        );
        acts.push(done(request, most, reason));
        acts
    }
}

/// A script that says a word again and again, each after some time.
pub(crate) fn slowly(pause: Duration, times: usize) -> impl Fn(&Request) -> Vec<Act> + Send + 'static {
    move |request| {
        let mut acts = vec![started(request)];
        for _ in 0..times {
            acts.push(Act::Wait(pause));
            acts.push(Act::Tell(token(1, "red ", request)));
        }
        acts.push(done(request, times, Reason::Stop));
        acts
    }
}

/// A server that runs until it is dropped or stopped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) engine: Scripted,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) text: String,
}

impl Said {
    /// The body as JSON, after asserting the status.
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The field and the message of an error of this status in OpenAI's form.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> (String, String) {
        let body = self.json(status);
        let error = &body["error"];
        assert!(error["type"].is_string() && error.as_object().unwrap().len() == 4, "{body}");
        let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        (text("param"), text("message"))
    }

    /// The events of a stream, without the last, after asserting that it is `[DONE]`.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut events = self.data();
        assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{}", self.text);
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }

    /// What the events of a stream carry.
    pub(crate) fn data(&self) -> Vec<String> {
        self.text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

impl Server {
    pub(crate) async fn start(
        sees: bool,
        queue: usize,
        script: impl Fn(&Request) -> Vec<Act> + Send + 'static,
        limits: Limits,
        access: Access,
    ) -> Self {
        let engine = Scripted::start(model(sees), queue, script).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let paths = router(engine.client(), limits, access);
        let running = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            serve(listener, paths, &limits, stopped).await;
        });
        Self { address, engine, stop: Some(stop), running }
    }

    /// One that answers with words, with the default limits, and needs no key.
    pub(crate) async fn simple(words: &'static [&'static str]) -> Self {
        Self::start(true, 8, says(words), Limits::default(), Access::default()).await
    }

    /// Tells it to stop.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has stopped, once it was told to, and gives how long that took.
    pub(crate) async fn stopped(mut self) -> Duration {
        self.stop();
        let began = Instant::now();
        (&mut self.running).await.unwrap();
        began.elapsed()
    }

    /// Waits for something to be true of the engine.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(crossloom_run::engine::Stats) -> bool) {
        let began = Instant::now();
        while !holds(self.engine.client().stats()) {
            assert!(began.elapsed() < Duration::from_secs(20), "{what}: {:?}", self.engine.client().stats());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The head of a response, on a connection of its own.
    pub(crate) async fn open(&self, request: hyper::Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: hyper::Request<Full<Bytes>>) -> Said {
        let response = self.open(request).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Said { status: head.status.as_u16(), headers: head.headers, text }
    }

    pub(crate) async fn get(&self, path: &str) -> Said {
        self.send(request(Method::GET, path, String::new())).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl ToString) -> Said {
        self.send(request(Method::POST, path, body.to_string())).await
    }

    /// The answer to a conversation.
    pub(crate) async fn chat(&self, body: Value) -> Said {
        self.post("/v1/chat/completions", body).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A request as a client of this machine sends it.
pub(crate) fn request(method: Method, path: &str, body: String) -> hyper::Request<Full<Bytes>> {
    hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

/// A question in words that the model knows, with more fields.
pub(crate) fn question(more: Value) -> Value {
    let mut body =
        json!({ "model": MODEL, "messages": [{ "role": "user", "content": "what color is the shape" }] });
    let Value::Object(fields) = more else { panic!("{more} has no fields") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

/// A picture of one colour as a data URL.
pub(crate) fn picture(width: u32, height: u32) -> String {
    let image = Image::new(width, height, vec![200; (width * height * 3) as usize]).unwrap();
    format!("data:image/png;base64,{}", STANDARD.encode(image.to_png().unwrap()))
}

/// A question about pictures.
pub(crate) fn about(urls: &[&str]) -> Value {
    let mut content: Vec<Value> =
        urls.iter().map(|url| json!({ "type": "image_url", "image_url": { "url": url } })).collect();
    content.push(json!({ "type": "text", "text": "what color is the shape" }));
    question(json!({ "messages": [{ "role": "user", "content": content }] }))
}

/// The paths alone, over an engine that answers one word; to be asked without a socket.
pub(crate) fn paths() -> (Router, Scripted) {
    let engine = Scripted::start(model(true), 64, says(&["red"])).unwrap();
    (router(engine.client(), Limits::default(), Access::default()), engine)
}
