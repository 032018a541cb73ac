//! A small server that speaks the protocol of chat endpoints, on a real socket, and misbehaves on
//! command.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Streams these pieces and ends as it should.
    Say(Vec<&'static str>),
    /// The same, with a pause before each piece.
    Slowly(Vec<&'static str>, Duration),
    /// Streams these pieces, then closes the connection in the middle of an event.
    BreakOff(Vec<&'static str>),
    /// Streams these pieces, then nothing, and stays.
    FallSilent(Vec<&'static str>),
    /// Streams this again and again, without an end.
    Drip(&'static str),
    /// Begins an error with this status, and adds a letter to it again and again.
    DripStatus(u16),
    /// Answers in one piece, without a stream.
    Whole(&'static str),
    /// Streams an error after these pieces.
    FailAfter(Vec<&'static str>, &'static str),
    /// A status, further lines of the head, and a body; `{key}` is what was sent as a key.
    Status(u16, &'static str, &'static str),
    /// A body with status 200 and this type.
    Body(&'static str, &'static str),
    /// Takes the request and closes.
    HangUp,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

/// A server that does one act after the other; the last one stays.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut acts: VecDeque<Act> = acts.into_iter().collect();
        let heard = requests.clone();
        // Ends with the process: it waits for connections as long as there may be one.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let Some(request) = read(&stream) else { continue };
                let act = if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() };
                let key = request.authorization.clone().unwrap_or_default();
                heard.lock().unwrap().push(request);
                let Some(act) = act else { continue };
                std::thread::spawn(move || drop(perform(&stream, &act, &key)));
            }
        });
        Self { address, requests }
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { path, authorization, body: serde_json::from_slice(&body).ok()? })
}

fn piece(text: &str) -> String {
    let delta = json!({"model": "scripted-1", "choices": [{"delta": {"content": text}}]});
    format!("data: {delta}\r\n\r\n")
}

fn perform(mut stream: &TcpStream, act: &Act, key: &str) -> std::io::Result<()> {
    let chunk = |mut stream: &TcpStream, text: &str| {
        write!(stream, "{:x}\r\n{text}\r\n", text.len())?;
        stream.flush()
    };
    let begin = |mut stream: &TcpStream| {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
    };
    let end = |mut stream: &TcpStream| {
        let last = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
        chunk(stream, &format!("data: {last}\n\n"))?;
        let usage = json!({"choices": [], "usage": {"completion_tokens": 7}});
        chunk(stream, &format!(": usage\ndata: {usage}\n\ndata: [DONE]\n\n"))?;
        write!(stream, "0\r\n\r\n")
    };
    match act {
        Act::Say(pieces) => {
            begin(stream)?;
            // As a network may cut it: within lines, and within letters.
            let all: String = pieces.iter().map(|text| piece(text)).collect();
            for part in all.as_bytes().chunks(5) {
                write!(stream, "{:x}\r\n", part.len())?;
                stream.write_all(part)?;
                write!(stream, "\r\n")?;
            }
            end(stream)
        }
        Act::Slowly(pieces, pause) => {
            begin(stream)?;
            for text in pieces {
                std::thread::sleep(*pause);
                chunk(stream, &piece(text))?;
            }
            end(stream)
        }
        Act::Drip(text) => {
            begin(stream)?;
            loop {
                chunk(stream, text)?;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Act::DripStatus(status) => {
            write!(stream, "HTTP/1.1 {status} So\r\ntransfer-encoding: chunked\r\n\r\n")?;
            loop {
                chunk(stream, "x")?;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Act::BreakOff(pieces) | Act::FallSilent(pieces) => {
            begin(stream)?;
            for text in pieces {
                chunk(stream, &piece(text))?;
            }
            if matches!(act, Act::FallSilent(_)) {
                std::thread::sleep(Duration::from_secs(60));
            }
            write!(stream, "40\r\ndata: {{\"choi")?;
            stream.flush()?;
            stream.shutdown(std::net::Shutdown::Both)
        }
        Act::FailAfter(pieces, why) => {
            begin(stream)?;
            for text in pieces {
                chunk(stream, &piece(text))?;
            }
            chunk(stream, &format!("data: {}\n\n", json!({"error": {"message": why}})))?;
            write!(stream, "0\r\n\r\n")
        }
        Act::Whole(text) => {
            let body = json!({"model": "scripted-1",
                "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]});
            reply(stream, "200 OK", "content-type: application/json\r\n", &body.to_string())
        }
        Act::Status(status, head, body) => {
            reply(stream, &format!("{status} No"), head, &body.replace("{key}", key))
        }
        Act::Body(kind, body) => {
            reply(stream, "200 OK", &format!("content-type: {kind}\r\n"), body)
        }
        Act::HangUp => Ok(()),
    }
}

fn reply(mut stream: &TcpStream, status: &str, head: &str, body: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\n{head}content-length: {}\r\n\r\n{body}", body.len())
}
