//! Why there is no connection, where what tried to make one does not say.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Longest wait for a name, and for a connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tries to reach `host` (with its port where one is given) over TCP, and says what goes wrong; none
/// where nothing does, and the fault lies further up.
pub(super) async fn why_not(host: &str, port: u16) -> Option<String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, given)) if !given.ends_with(']') => (name, given.parse().unwrap_or(port)),
        _ => (host, port),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let known = timeout(PATIENCE, lookup_host((name, port))).await;
    let addresses: Vec<_> = match known {
        Err(_) => return Some(format!("nobody says where `{name}` is: check the name server")),
        Ok(Err(_)) => return Some(format!("no host has the name `{name}`")),
        Ok(Ok(addresses)) => addresses.collect(),
    };
    match timeout(PATIENCE, TcpStream::connect(&*addresses)).await {
        Err(_) => Some(format!("{name} does not answer on port {port}")),
        Ok(Ok(_)) => None,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Some(format!("{name} is there, and refuses connections on port {port}"))
        }
        Ok(Err(error)) => Some(format!("{name}, port {port}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_keeps_a_connection_from_being_made_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(why_not(&format!("127.0.0.1:{port}"), 554).await, None);
        assert_eq!(why_not("127.0.0.1", port).await, None);
        drop(listener);
        let refused = why_not(&format!("127.0.0.1:{port}"), 554).await.unwrap();
        assert!(refused.contains("refuses connections on port"), "{refused}");
        let unknown = why_not("no-such-host.invalid", 554).await.unwrap();
        assert!(unknown.contains("`no-such-host.invalid`"), "{unknown}");
    }
}
