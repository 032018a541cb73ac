//! A server that speaks the hub's protocol, and fails on command.
//!
//! Two listeners: the hub itself, which tells of files and redirects, and the place where large files
//! are kept, on another port as on another host.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![allow(dead_code, reason = "every test file uses a part of this")]

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What goes wrong with the next answer that it fits.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The hub answers a HEAD with this status, and asks for a wait of so many seconds.
    Head(u16, Option<u64>),
    /// Bytes are answered with this status.
    Get(u16, Option<u64>),
    /// The connection ends after so many bytes.
    Cut(usize),
    /// All bytes are sent, whatever range was asked for.
    NoRange,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) at_storage: bool,
}

struct File {
    bytes: Vec<u8>,
    /// As the hub tells it; none for a small file, which the hub keeps itself.
    sha256: Option<String>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, File>,
    faults: VecDeque<Fault>,
    seen: Vec<Seen>,
    token: Option<String>,
}

pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    hub: SocketAddr,
}

impl Server {
    pub(crate) fn new() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, storage) = (listen(), listen());
        let (at, kept_at) = (hub.local_addr().unwrap(), storage.local_addr().unwrap());
        for (listener, at_storage) in [(hub, false), (storage, true)] {
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let state = Arc::clone(&state);
                    // Whoever tests a cut connection makes writing fail here.
                    std::thread::spawn(move || {
                        drop(answer(stream.unwrap(), &state, at_storage, kept_at));
                    });
                }
            });
        }
        Self { state, hub: at }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// Serves a large file, under the checksum that is told.
    pub(crate) fn large(self, path: &str, bytes: &[u8], sha256: &str) -> Self {
        self.put(path, bytes, Some(sha256.to_owned()))
    }

    pub(crate) fn small(self, path: &str, bytes: &[u8]) -> Self {
        self.put(path, bytes, None)
    }

    fn put(self, path: &str, bytes: &[u8], sha256: Option<String>) -> Self {
        let file = File { bytes: bytes.to_vec(), sha256 };
        self.state.lock().unwrap().files.insert(path.to_owned(), file);
        self
    }

    pub(crate) fn needing(self, token: &str) -> Self {
        self.state.lock().unwrap().token = Some(token.to_owned());
        self
    }

    pub(crate) fn fail(&self, faults: &[Fault]) {
        self.state.lock().unwrap().faults.extend(faults.iter().cloned());
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }
}

fn read_request(stream: &TcpStream, at_storage: bool) -> Option<Seen> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut seen = Seen { method, path, range: None, authorization: None, at_storage };
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        let value = Some(value.trim().to_owned());
        match name.to_ascii_lowercase().as_str() {
            "range" => seen.range = value,
            "authorization" => seen.authorization = value,
            _ => {}
        }
    }
    Some(seen)
}

fn answer(
    mut stream: TcpStream,
    state: &Mutex<State>,
    at_storage: bool,
    storage: SocketAddr,
) -> std::io::Result<()> {
    let Some(seen) = read_request(&stream, at_storage) else { return Ok(()) };
    let mut state = state.lock().unwrap();
    state.seen.push(seen.clone());
    let mut say = |status: u16, headers: &str, body: &[u8]| -> std::io::Result<()> {
        write!(stream, "HTTP/1.1 {status} x\r\nconnection: close\r\n{headers}\r\n")?;
        stream.write_all(body)?;
        stream.flush()
    };
    let asked_to_wait = |seconds: Option<u64>| {
        seconds.map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"))
    };
    let is_head = seen.method == "HEAD";
    if let Some(Fault::Head(status, wait)) = state.faults.front().cloned()
        && is_head
    {
        state.faults.pop_front();
        return say(status, &format!("{}content-length: 0\r\n", asked_to_wait(wait)), b"");
    }
    let expected = state.token.as_ref().map(|token| format!("Bearer {token}"));
    if !at_storage && expected.is_some() && seen.authorization != expected {
        return say(401, "content-length: 0\r\n", b"");
    }
    let path = seen.path.trim_start_matches("/kept").split('?').next().unwrap().to_owned();
    let Some(file) = state.files.get(&path) else {
        return say(404, "content-length: 0\r\n", b"");
    };
    let size = file.bytes.len();
    if !at_storage && let Some(sha256) = &file.sha256 {
        let headers = format!(
            "location: http://{storage}/kept{path}?signature=secret\r\nx-linked-size: {size}\r\n\
             x-linked-etag: \"{sha256}\"\r\ncontent-length: 0\r\n"
        );
        return say(302, &headers, b"");
    }
    if is_head {
        let headers = format!("content-length: {size}\r\netag: \"{}\"\r\n", "b".repeat(40));
        return say(200, &headers, b"");
    }
    let bytes = file.bytes.clone();
    let fault = state.faults.pop_front();
    let range = seen.range.as_deref().and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?.min(size - 1)))
    });
    match (fault, range) {
        (Some(Fault::Get(status, wait)), _) => {
            say(status, &format!("{}content-length: 0\r\n", asked_to_wait(wait)), b"")
        }
        (Some(Fault::NoRange), _) | (_, None) => {
            say(200, &format!("content-length: {size}\r\n"), &bytes)
        }
        (fault, Some((from, to))) => {
            let part = &bytes[from..=to];
            let sent = match fault {
                Some(Fault::Cut(after)) => &part[..after.min(part.len())],
                _ => part,
            };
            let headers = format!(
                "content-range: bytes {from}-{to}/{size}\r\ncontent-length: {}\r\n",
                part.len()
            );
            say(206, &headers, sent)
        }
    }
}
