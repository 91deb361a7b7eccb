//! What a server admits.

use std::net::IpAddr;
use std::time::Duration;

/// Bounds on requests and connections. Together with the engine's own they bound what clients can make the process hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes of a body (default 16 MiB).
    pub body: usize,
    /// Most bytes of all bodies that are held at once (default 256 MiB); a request that finds no room is told to come again.
    pub bodies: usize,
    /// Most pixels of a picture (default 16,777,216), counted before it is decoded.
    pub pixels: u64,
    /// Most tokens of an answer (default 4096), where the model does not have room for fewer.
    pub tokens: usize,
    /// Most answers to one request: prompts times `n` (default 16).
    pub choices: usize,
    /// Most requests that are read, prepared or answered at once (default 128).
    pub requests: usize,
    /// Most connections (default 512); further ones wait in the system's queue.
    pub connections: usize,
    /// The longest time from a request's first byte to the last one of its answer (default 10 minutes).
    pub request_time: Duration,
    /// The longest time in which a request's headers must arrive, and in which a connection may lie idle (default 10 s).
    pub header_time: Duration,
    /// The longest time in which a body must arrive (default 60 s).
    pub body_time: Duration,
    /// The longest time in which a client must take something of what is written to it (default 30 s).
    pub write_time: Duration,
    /// How long a server that is stopped goes on with what runs (default 30 s).
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 16 << 20,
            bodies: 256 << 20,
            pixels: 1 << 24,
            tokens: 4096,
            choices: 16,
            requests: 128,
            connections: 512,
            request_time: Duration::from_mins(10),
            header_time: Duration::from_secs(10),
            body_time: Duration::from_mins(1),
            write_time: Duration::from_secs(30),
            stop_time: Duration::from_secs(30),
        }
    }
}

/// Who may ask.
#[derive(Clone, Default)]
pub struct Access {
    /// What `Authorization: Bearer` must say, where anything.
    pub key: Option<String>,
    /// Names that `Host` may have besides addresses and `localhost`.
    pub hosts: Vec<String>,
}

impl std::fmt::Debug for Access {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("key", &self.key.is_some()).field("hosts", &self.hosts).finish()
    }
}

impl Access {
    /// Whether a request may name this host. A browser that was led here by the name of another site sends that name; whoever
    /// means this machine sends an address, `localhost`, or a name that was allowed.
    pub fn admits(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_localhost_and_what_was_allowed() {
        let access = Access { key: None, hosts: vec!["box.lan".to_owned()] };
        for host in ["127.0.0.1:8000", "[::1]:80", "localhost", "LOCALHOST:1", "box.lan:8000", "10.0.0.1"] {
            assert!(access.admits(host), "{host}");
        }
        for host in ["example.org", "127.0.0.1.example.org:8000", "box.lan.example.org", "", "localhost:80:x"]
        {
            assert!(!access.admits(host), "{host}");
        }
    }

    #[test]
    fn the_key_is_not_printed() {
        let access = Access { key: Some("hidden".to_owned()), hosts: Vec::new() };
        assert!(!format!("{access:?}").contains("hidden"));
    }
}
