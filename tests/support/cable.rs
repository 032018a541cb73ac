//! A cable between a server and whoever connects to it, which can be pulled.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How a cable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It carries everything.
    Whole,
    /// It carries nothing, and nobody is told: connections stay, and new ones are not answered.
    Silent,
    /// It breaks every connection, and new ones at once.
    Severed,
}

/// A TCP proxy to one server.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    /// Both ends of each connection that was ever made.
    ends: Mutex<Vec<TcpStream>>,
}

impl Cable {
    /// Carries connections to `server` from now on.
    ///
    /// # Panics
    /// Where nothing can be listened on.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("{error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        let shared =
            Arc::new(Shared { state: AtomicU8::new(State::Whole as u8), ends: Mutex::default() });
        let carrying = shared.clone();
        // It ends with the process: whoever listens cannot be told to stop.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = carrying.clone();
                std::thread::spawn(move || shared.carry(client, server));
            }
        });
        Self { address, shared }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pulls it, or plugs it in again.
    pub fn set(&self, state: State) {
        self.shared.state.store(state as u8, Ordering::SeqCst);
        if state == State::Severed {
            let mut ends = self.shared.ends.lock().unwrap_or_else(PoisonError::into_inner);
            for end in ends.drain(..) {
                // One that is closed already is what is wanted.
                drop(end.shutdown(Shutdown::Both));
            }
        }
    }
}

impl Shared {
    fn is(&self, state: State) -> bool {
        self.state.load(Ordering::SeqCst) == state as u8
    }

    fn carry(self: Arc<Self>, client: TcpStream, server: SocketAddr) {
        self.wait();
        if self.is(State::Severed) {
            return;
        }
        let Ok(server) = TcpStream::connect(server) else { return };
        let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        let ends = [&client, &server].map(TcpStream::try_clone).into_iter().flatten();
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).extend(ends);
        let other = self.clone();
        std::thread::spawn(move || other.pass(client_too, server_too));
        self.pass(server, client);
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(read) = from.read(&mut bytes) {
            self.wait();
            if read == 0 || self.is(State::Severed) || to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        // Either end may be gone already.
        drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
    }

    /// Holds back what is carried for as long as nothing passes.
    fn wait(&self) {
        while self.is(State::Silent) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
