//! A client that can misbehave.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request that is right in everything that a test does not change.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn post(address: SocketAddr, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let headers = [
            ("Host", address.to_string()),
            ("Content-Type", "application/json".to_owned()),
            ("Content-Length", body.len().to_string()),
        ];
        Self {
            line: "POST /v1/events HTTP/1.1".to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
            body,
        }
    }

    /// Asks for a path.
    pub(crate) fn get(address: SocketAddr, path: &str) -> Self {
        let host = vec![("Host".to_owned(), address.to_string())];
        Self { line: format!("GET {path} HTTP/1.1"), headers: host, body: Vec::new() }
    }

    /// Shows a key.
    pub(crate) fn key(self, key: &str) -> Self {
        self.with("Authorization", &format!("Bearer {key}"))
    }

    pub(crate) fn ndjson(address: SocketAddr, body: impl Into<Vec<u8>>) -> Self {
        Self::post(address, body).with("Content-Type", "application/x-ndjson")
    }

    pub(crate) fn line(mut self, line: &str) -> Self {
        self.line = line.to_owned();
        self
    }

    /// Sets or replaces a header.
    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        let mut request = self.without(name);
        request.headers.push((name.to_owned(), value.to_owned()));
        request
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    pub(crate) async fn send(&self, address: SocketAddr) -> Reply {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&self.head()).await.unwrap();
        stream.write_all(&self.body).await.unwrap();
        Reply::read(&mut stream).await
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether it ended before it was whole.
    pub(crate) cut: bool,
}

/// The next chunk of an answer, of which the first bytes are there already; an empty one is
/// the last. None if the connection ended.
pub(crate) async fn chunk(
    stream: &mut (impl AsyncRead + Unpin),
    left: &mut Vec<u8>,
) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = left.windows(2).position(|window| window == b"\r\n") {
            let text = std::str::from_utf8(&left[..end]).unwrap();
            let length = usize::from_str_radix(text, 16).unwrap();
            let whole = end + 2 + length + 2;
            if left.len() >= whole {
                let chunk = left[end + 2..end + 2 + length].to_vec();
                left.drain(..whole);
                return Some(chunk);
            }
        }
        if stream.read_buf(left).await.ok()? == 0 {
            return None;
        }
    }
}

impl Reply {
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Self {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let read = stream.read_buf(&mut bytes).await.unwrap();
            assert!(read > 0, "no whole answer: {:?}", String::from_utf8_lossy(&bytes));
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut reply = Self { status, head, body: bytes.split_off(end), cut: false };
        if reply.header("transfer-encoding") == Some("chunked") {
            let mut left = std::mem::take(&mut reply.body);
            while let Some(chunk) = chunk(stream, &mut left).await {
                if chunk.is_empty() {
                    return reply;
                }
                reply.body.extend(chunk);
            }
            reply.cut = true;
            return reply;
        }
        let length = match reply.status {
            304 => 0,
            _ => reply.header("content-length").map_or(0, |length| length.parse().unwrap()),
        };
        while reply.body.len() < length {
            assert!(stream.read_buf(&mut reply.body).await.unwrap() > 0, "the answer was cut");
        }
        reply
    }

    /// One that nobody waited for.
    pub(crate) fn of_status(status: u16) -> Self {
        Self { status, head: String::new(), body: Vec::new(), cut: false }
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All values of a header.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The detail of a problem, which must be one in every respect.
    pub(crate) fn detail(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
        problem["detail"].as_str().unwrap().to_owned()
    }
}
