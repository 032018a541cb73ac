//! The network before the server: a TCP relay on loopback that refuses, resets and falls silent.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{ServerError, lock};

/// How soon a command is noticed by a connection on which nothing moves.
const NAP: Duration = Duration::from_millis(10);
/// How long a reset waits for a message to cut in two.
const MESSAGE_WAIT: Duration = Duration::from_millis(200);
/// How long it is tried to open the port again.
const REOPEN: Duration = Duration::from_secs(5);
/// Bytes carried at once.
const CHUNK: usize = 16 << 10;

/// A relay from a port of its own to the server's.
#[derive(Debug)]
pub struct Front {
    port: u16,
    door: Arc<Door>,
}

/// What the relay's threads share. Connections are numbered from 1.
#[derive(Debug)]
struct Door {
    server: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    accepted: AtomicU64,
    open: AtomicUsize,
    frozen: AtomicBool,
    /// Connections up to this number are silent for ever.
    dead_to: AtomicU64,
    /// Connections up to this number are reset.
    reset_to: AtomicU64,
}

impl Front {
    /// Listens on `port` of 127.0.0.1, or on a free one where it is 0, and carries every connection
    /// to the server.
    pub fn open(port: u16, server: SocketAddr) -> Result<Self, ServerError> {
        let listener = listen(port)?;
        let port = listener.local_addr()?.port();
        let door = Arc::new(Door {
            server,
            listener: Mutex::new(Some(listener)),
            accepted: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            frozen: AtomicBool::new(false),
            dead_to: AtomicU64::new(0),
            reset_to: AtomicU64::new(0),
        });
        let keeper = door.clone();
        std::thread::spawn(move || keeper.keep());
        Ok(Self { port, door })
    }

    /// The port that clients know.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.door.open.load(Ordering::Relaxed)
    }

    /// Closes the port, so that new connections are refused; open ones stay. Or opens it again.
    pub fn refuse(&self, refuse: bool) -> Result<(), ServerError> {
        let mut listener = lock(&self.door.listener);
        if refuse {
            *listener = None;
        } else if listener.is_none() {
            *listener = Some(reopen(self.port)?);
        }
        Ok(())
    }

    /// Resets every open connection with a TCP RST, in the middle of a message where one is under
    /// way.
    pub fn reset(&self) {
        self.door.reset_to.store(self.door.accepted.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Carries no byte any more, in neither direction, and closes nothing: not the open connections,
    /// and not the new ones, which are still accepted. UDP does not pass here.
    pub fn freeze(&self) {
        self.door.frozen.store(true, Ordering::SeqCst);
    }

    /// Serves new connections. Those that were open stay silent for ever, as if a router in between
    /// had forgotten them.
    pub fn thaw(&self) {
        self.door.dead_to.store(self.door.accepted.load(Ordering::SeqCst), Ordering::SeqCst);
        self.door.frozen.store(false, Ordering::SeqCst);
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Somebody may hold the port for a moment.
fn reopen(port: u16) -> std::io::Result<TcpListener> {
    let start = Instant::now();
    loop {
        match listen(port) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < REOPEN => {
                sleep(NAP);
            }
            other => return other,
        }
    }
}

impl Door {
    fn keep(self: Arc<Self>) {
        loop {
            let client = lock(&self.listener).as_ref().and_then(|door| door.accept().ok());
            match client {
                Some((client, _)) => self.clone().carry(client),
                None => sleep(NAP),
            }
        }
    }

    fn carry(self: Arc<Self>, client: TcpStream) {
        // A connection that cannot be carried is closed by being dropped.
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let prepared = [&client, &server].into_iter().all(|stream| {
            stream.set_nonblocking(false).is_ok()
                && stream.set_nodelay(true).is_ok()
                && stream.set_read_timeout(Some(NAP)).is_ok()
        });
        if !prepared {
            return;
        }
        let line = Arc::new(Line {
            number: self.accepted.fetch_add(1, Ordering::SeqCst) + 1,
            client,
            server,
            door: self,
            over: AtomicBool::new(false),
        });
        line.door.open.fetch_add(1, Ordering::Relaxed);
        let up = line.clone();
        std::thread::spawn(move || up.pump(&up.client, &up.server, false));
        std::thread::spawn(move || line.pump(&line.server, &line.client, true));
    }
}

/// One carried connection; closed when both of its directions have let go of it.
struct Line {
    number: u64,
    client: TcpStream,
    server: TcpStream,
    door: Arc<Door>,
    over: AtomicBool,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.door.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Line {
    fn is_silent(&self) -> bool {
        self.door.frozen.load(Ordering::SeqCst)
            || self.number <= self.door.dead_to.load(Ordering::SeqCst)
    }

    fn is_reset(&self) -> bool {
        self.number <= self.door.reset_to.load(Ordering::SeqCst)
    }

    /// Carries bytes until an end closes or the connection is reset. While it is silent, bytes are
    /// read and forgotten, so that neither end sees the other's queue fill.
    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream, to_client: bool) {
        let mut chunk = vec![0; CHUNK];
        while !self.over.load(Ordering::SeqCst) {
            if self.is_reset() {
                if to_client {
                    self.cut();
                }
                return;
            }
            match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(_) if self.is_silent() => {}
                Ok(read) if to.write_all(&chunk[..read]).is_ok() => {}
                Err(error) if is_pause(&error) => {}
                Ok(_) | Err(_) => break,
            }
        }
        self.over.store(true, Ordering::SeqCst);
    }

    /// Sends the client the first half of what comes next, then makes the closing a reset.
    fn cut(&self) {
        let start = Instant::now();
        let mut chunk = vec![0; CHUNK];
        while start.elapsed() < MESSAGE_WAIT {
            match (&self.server).read(&mut chunk) {
                Ok(read) if read > 1 => {
                    // The client may be gone, and then there is nothing to cut.
                    (&self.client).write_all(&chunk[..read / 2]).ok();
                    break;
                }
                Err(error) if is_pause(&error) => {}
                Ok(_) | Err(_) => break,
            }
        }
        for stream in [&self.client, &self.server] {
            // An error means that the connection is gone already.
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok();
        }
        self.over.store(true, Ordering::SeqCst);
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends a line to whoever connects and then returns what it is sent.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut bytes = [0; 1024];
                    while let Ok(read @ 1..) = client.read(&mut bytes) {
                        if client.write_all(&bytes[..read]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        address
    }

    fn connect(front: &Front) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, front.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        stream
    }

    fn returned(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(text)?;
        let mut bytes = vec![0; 64];
        let read = stream.read(&mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    #[test]
    fn bytes_come_through_and_closed_connections_are_forgotten() {
        let front = Front::open(0, echo()).unwrap();
        let mut client = connect(&front);
        assert_eq!(returned(&mut client, b"hello").unwrap(), b"hello");
        assert_eq!(front.connections(), 1);
        drop(client);
        let start = Instant::now();
        while front.connections() > 0 {
            assert!(start.elapsed() < Duration::from_secs(5));
            sleep(NAP);
        }
    }

    #[test]
    fn a_refusing_front_leaves_open_connections_alone_and_opens_again() {
        let front = Front::open(0, echo()).unwrap();
        let mut client = connect(&front);
        assert_eq!(returned(&mut client, b"1").unwrap(), b"1");
        front.refuse(true).unwrap();
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, front.port())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(returned(&mut client, b"2").unwrap(), b"2");
        front.refuse(false).unwrap();
        assert_eq!(returned(&mut connect(&front), b"3").unwrap(), b"3");
    }

    #[test]
    fn a_reset_is_an_error_and_not_an_end() {
        let front = Front::open(0, echo()).unwrap();
        let mut client = connect(&front);
        assert_eq!(returned(&mut client, b"hello").unwrap(), b"hello");
        front.reset();
        let start = Instant::now();
        let error = loop {
            assert!(start.elapsed() < Duration::from_secs(5));
            match client.read(&mut [0; 8]) {
                Err(error) if !is_pause(&error) => break error,
                Ok(0) => panic!("closed in good order"),
                Ok(_) | Err(_) => {}
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(returned(&mut connect(&front), b"again").unwrap(), b"again");
    }

    #[test]
    fn a_frozen_front_is_silent_and_a_thawed_one_serves_only_new_connections() {
        let front = Front::open(0, echo()).unwrap();
        let mut old = connect(&front);
        assert_eq!(returned(&mut old, b"1").unwrap(), b"1");
        front.freeze();
        assert!(is_pause(&returned(&mut old, b"2").unwrap_err()));
        assert!(is_pause(&returned(&mut connect(&front), b"3").unwrap_err()));
        front.thaw();
        assert!(is_pause(&returned(&mut old, b"4").unwrap_err()));
        assert_eq!(returned(&mut connect(&front), b"5").unwrap(), b"5");
    }
}
