use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::experiment::{VARIANTS, folder, verb};
use crate::interrupt::RED_PNG;
use crate::support::{crossloom, program};

/// Words that the generated data has.
const QUESTION: &str = "what color is the shape?";

/// A server of the program, until it is dropped.
struct Server {
    child: Child,
    address: String,
    name: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Server {
    fn start(folder: &std::path::Path, more: &[&str]) -> Self {
        let mut command = program(folder);
        command.args(["serve", "tiny.toml", "--variant", "a", "--port", "0"]).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let told = said.trim().split_once(" at http://");
        let Some((name, address)) = told else {
            let mut err = String::new();
            child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
            panic!("{said}{err}");
        };
        Self { name: name.to_owned(), address: address.to_owned(), child }
    }

    /// The status and the body of a response.
    fn ask(&self, method: &str, path: &str, body: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}", self.address);
        let kind = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(format!("{head}{kind}").as_bytes()).unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn chat(&self, body: &Value) -> (u16, String) {
        self.ask("POST", "/v1/chat/completions", &body.to_string(), "")
    }

    /// Sends a signal; the exit code, and what was said on standard error.
    #[cfg(unix)]
    fn ended_by(mut self, signal: &str) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code(), err)
    }
}

/// A question about four by four red pixels.
fn question(more: &Value) -> Value {
    let url = format!("data:image/png;base64,{}", STANDARD.encode(RED_PNG));
    let parts = json!([
        { "type": "image_url", "image_url": { "url": url } }, { "type": "text", "text": QUESTION },
    ]);
    let mut body =
        json!({ "model": "tiny/a", "temperature": 0, "messages": [{ "role": "user", "content": parts }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[cfg(unix)]
#[test]
fn a_variant_is_served_until_a_signal_and_answers_as_generate_does() {
    let folder = folder(VARIANTS);
    verb(&folder, "run", &["--variant", "a"]).exits(0);
    std::fs::write(folder.path().join("red.png"), RED_PNG).unwrap();
    let asked = ["--variant", "a", "--image", "red.png", "--question", QUESTION, "--json"];
    let expected = verb(&folder, "generate", &asked).exits(0).json()["answers"][0]["answer"].clone();

    let server = Server::start(folder.path(), &["--slots", "2"]);
    assert_eq!(server.name, "tiny/a");
    let (status, models) = server.ask("GET", "/v1/models", "", "");
    assert!(status == 200 && models.contains("\"id\":\"tiny/a\""), "{models}");
    let (status, page) = server.ask("GET", "/", "", "");
    assert!(status == 200 && page.contains("Drop a picture"), "{page}");
    let (status, told) = server.chat(&question(&json!({ "max_tokens": 3 })));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["choices"][0]["message"]["content"], expected, "{told}");
    let (status, told) =
        server.chat(&question(&json!({ "messages": [{ "role": "user", "content": "red?" }] })));
    assert!(status == 400 && told.contains("pictures"), "{told}");
    let (code, err) = server.ended_by("TERM");
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("SIGTERM: finishing what is being answered"), "{err}");
}

#[test]
fn a_key_is_read_from_a_file_and_wanted() {
    let folder = folder(VARIANTS);
    verb(&folder, "run", &["--variant", "a"]).exits(0);
    std::fs::write(folder.path().join("key.txt"), "right\n").unwrap();
    let server = Server::start(folder.path(), &["--api-key-file", "key.txt", "--name", "mine"]);
    assert_eq!(server.name, "mine");
    assert_eq!(server.ask("GET", "/v1/models", "", "").0, 401);
    let (status, models) = server.ask("GET", "/v1/models", "", "Authorization: Bearer right\r\n");
    assert!(status == 200 && models.contains("\"mine\""), "{models}");
}

#[test]
fn what_cannot_be_served_is_refused_before_anything_is_compiled() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let serve =
        |more: &[&str]| crossloom(&[&["serve", "recipes/synthetic.toml", "--variant", "cli"], more].concat());
    serve(&["--port", &port]).exits(1).complains(&["cannot be listened at"]);
    serve(&["--port", "0", "--api-key-file", "no-such-file"]).exits(1).complains(&["no-such-file"]);
    serve(&["--port", "0", "--api-key-file", "/dev/null"]).exits(2).complains(&["the key is empty"]);
    serve(&["--port", "0", "--slots", "0"]).exits(2).complains(&["--slots", "at least 1"]);
    serve(&["--port", "0", "--request-time", "0"]).exits(2).complains(&["--request-time"]);
    serve(&["--port", "0", "--max-body", "much"]).exits(2).complains(&["--max-body"]);
    let nothing = tempfile::tempdir().unwrap();
    let out = nothing.path().to_str().unwrap();
    serve(&["--port", "0", "--out", out]).exits(2).complains(&["was not run", "crossloom run"]);
}
