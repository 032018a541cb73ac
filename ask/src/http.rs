//! One HTTP request at a time, with a bound on every wait.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::AskError;

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    host: String,
    port: u16,
    is_tls: bool,
    /// Path of the API, without a slash at its end.
    base: String,
}

/// A reply on its way. The connection ends with it.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(crate) head: Response<()>,
    body: Incoming,
    connection: JoinHandle<()>,
    place: Place,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Place {
    /// Reads an address such as `http://localhost:8000/v1`.
    pub(crate) fn read(address: &str, section: &'static str) -> Result<Self, AskError> {
        let refused = |why: &str| {
            // What stands before an @ may be a password.
            let shown = address.rsplit_once('@').map_or(address, |(_, rest)| rest);
            let shown = shown.split('?').next().unwrap_or_default();
            AskError::Address { address: shown.to_owned(), why: why.to_owned() }
        };
        let uri: Uri = address.parse().map_err(|_| refused("write it as http://HOST:PORT/v1"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refused("it begins neither with http:// nor with https://")),
        };
        let authority = uri.authority().ok_or_else(|| refused("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused(&format!("it holds a password: a key is set as `{section}.key`")));
        }
        if uri.query().is_some() {
            return Err(refused("it has parameters after a question mark: leave them out"));
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Host and port.
    pub(crate) fn name(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Sends JSON, and waits for the head of the reply.
    pub(crate) async fn post(
        &self,
        path: &str,
        key: Option<&str>,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Receiving, AskError> {
        let mut request = Request::post(format!("{}{path}", self.base))
            .header("host", self.name())
            .header("content-type", "application/json")
            .header("accept", "text/event-stream, application/json")
            .header("user-agent", concat!("footage/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        // The error would repeat the header it does not like.
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| AskError::Request("is there a line break in the key?".to_owned()))?;
        let stream = self.within(timeout, "connection", TcpStream::connect(self.address())).await?;
        if !self.is_tls {
            return self.send(stream, request, timeout).await;
        }
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let connecting = TlsConnector::from(trusted()?).connect(name, stream);
        let stream = self.within(timeout, "encrypted connection", connecting).await?;
        self.send(stream, request, timeout).await
    }

    fn address(&self) -> (&str, u16) {
        (self.host.as_str(), self.port)
    }

    fn unreachable(&self, why: &str) -> AskError {
        AskError::Unreachable { place: self.name(), why: why.to_owned() }
    }

    pub(crate) fn timed_out(&self, what: &'static str, after: Duration) -> AskError {
        AskError::TimedOut { place: self.name(), what, after }
    }

    async fn within<T>(
        &self,
        timeout: Duration,
        what: &'static str,
        waiting: impl Future<Output = std::io::Result<T>>,
    ) -> Result<T, AskError> {
        match tokio::time::timeout(timeout, waiting).await {
            Ok(Ok(there)) => Ok(there),
            Ok(Err(error)) => Err(self.unreachable(&error.to_string())),
            Err(_) => Err(self.timed_out(what, timeout)),
        }
    }

    async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Receiving, AskError> {
        let exchange = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            // Ends with the exchange; what goes wrong in it is told by the exchange.
            let connection = tokio::spawn(async move { drop(connection.await) });
            match sender.send_request(request).await {
                Ok(response) => Ok((response, connection)),
                Err(error) => {
                    connection.abort();
                    Err(error)
                }
            }
        };
        let exchanged = tokio::time::timeout(timeout, exchange).await;
        let exchanged = exchanged.map_err(|_| self.timed_out("reply", timeout))?;
        let (response, connection) = exchanged.map_err(|error: hyper::Error| {
            self.unreachable(&format!("it ends the connection without a reply ({error})"))
        })?;
        let (head, body) = response.into_parts();
        let head = Response::from_parts(head, ());
        Ok(Receiving { head, body, connection, place: self.clone() })
    }
}

impl Receiving {
    /// The next bytes; none at the end. A body that ends before its time is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, AskError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(_)) => return Err(AskError::BrokeOff { place: self.place.name() }),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The begin of the body, as far as it comes in time.
    pub(crate) async fn begin(&mut self, most: usize, timeout: Duration) -> Vec<u8> {
        let mut begin = Vec::new();
        let reading = async {
            while begin.len() < most
                && let Ok(Some(bytes)) = self.next().await
            {
                begin.extend_from_slice(&bytes);
            }
        };
        // What came by then is enough.
        drop(tokio::time::timeout(timeout, reading).await);
        begin.truncate(most);
        begin
    }
}

/// Trusts whom this machine trusts.
fn trusted() -> Result<Arc<ClientConfig>, AskError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or("none found".to_owned(), ToString::to_string);
        return Err(AskError::Certificates(why));
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| AskError::Certificates(error.to_string()))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_or_refused_without_its_password() {
        let place = Place::read("http://localhost:8000/v1/", "ask").unwrap();
        assert_eq!((place.name().as_str(), place.base.as_str()), ("localhost:8000", "/v1"));
        let place = Place::read("https://[::1]/api/v1", "ask").unwrap();
        assert_eq!((place.name().as_str(), place.is_tls), ("[::1]:443", true));
        for wrong in [
            "localhost:8000",
            "ftp://x/v1",
            "http://",
            "http://x/v1?key=sesame",
            "http://a:sesame@x/v1",
        ] {
            let error = Place::read(wrong, "ask").unwrap_err().to_string();
            assert!(!error.contains("sesame"), "{error}");
        }
    }
}
