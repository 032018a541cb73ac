//! The protocol of the Hugging Face hub, as far as files are concerned.
//!
//! `HEAD {endpoint}/{repo}/resolve/{revision}/{path}` tells size and checksum (`x-linked-size`,
//! `x-linked-etag`); `GET` with a range answers itself or redirects to wherever the bytes are kept.
//! The token goes to the endpoint alone, never along a redirect to another host.

use std::io::Read;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use crate::HubError;
use crate::registry::PublishedFile;

/// How patient we are with a hub.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts without any progress before it is given up.
    pub attempts: u32,
    /// Wait after the first failure; doubled after each.
    pub first_wait: Duration,
    /// Longest wait that a hub may ask for.
    pub longest_wait: Duration,
    /// Longest time for one answer, its bytes included.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(120),
            answer: Duration::from_secs(300),
        }
    }
}

/// What a hub tells of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Bytes.
    pub size: u64,
    /// SHA-256, for files that the hub keeps by it.
    pub sha256: Option<String>,
}

/// A hub, or a mirror of one.
#[derive(Clone)]
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    patience: Patience,
    agent: Agent,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hub({})", self.endpoint)
    }
}

/// Redirects that are followed for one file.
const MOST_REDIRECTS: usize = 8;
/// Bytes asked for at a time: an answer that stands still is given up without losing much.
pub(crate) const PART: u64 = 64 << 20;

impl Hub {
    /// A hub at `endpoint`, such as `https://huggingface.co`.
    ///
    /// # Errors
    /// Where a token would have to go over the network unencrypted.
    pub fn new(
        endpoint: &str,
        token: Option<String>,
        patience: Patience,
    ) -> Result<Self, HubError> {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let host = host(&endpoint);
        let is_local = ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| {
            host.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        });
        if token.is_some() && !endpoint.starts_with("https://") && !is_local {
            return Err(HubError::TokenInTheClear(endpoint));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_global(Some(patience.answer))
            .user_agent(concat!("footage/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { endpoint, token, patience, agent })
    }

    pub(crate) fn url(&self, file: &PublishedFile) -> String {
        format!("{}/{}/resolve/{}/{}", self.endpoint, file.repo, file.revision, file.path)
    }

    /// Size and checksum of a file.
    pub fn ask(&self, file: &PublishedFile) -> Result<Told, HubError> {
        let url = self.url(file);
        self.patiently(&url, || {
            let mut at = url.clone();
            for _ in 0..MOST_REDIRECTS {
                let answer = self.send(&at, None)?;
                let headers = answer.headers();
                if let Some(told) = told(headers, answer.status()) {
                    return Ok(told);
                }
                if !answer.status().is_redirection() {
                    return Err(self.refusal(&at, &answer));
                }
                at = next(&at, headers)?;
            }
            Err(odd(&url, "it redirects again and again").into())
        })
    }

    /// Opens the bytes from `from` on, at most [`PART`] of them. Tells at which position the answer
    /// begins: a server without ranges begins at 0 again.
    pub(crate) fn open(
        &self,
        file: &PublishedFile,
        from: u64,
        size: u64,
    ) -> Result<(u64, impl Read + use<>), Failure> {
        let url = self.url(file);
        let mut at = url.clone();
        for _ in 0..MOST_REDIRECTS {
            let to = size.min(from + PART).saturating_sub(1);
            let answer = self.send(&at, Some((from, to)))?;
            match answer.status() {
                StatusCode::PARTIAL_CONTENT => {
                    let begins = range_start(answer.headers());
                    if begins != Some(from) {
                        return Err(odd(&at, "it gave another range than it was asked for").into());
                    }
                    return Ok((from, answer.into_body().into_reader()));
                }
                StatusCode::OK => return Ok((0, answer.into_body().into_reader())),
                status if status.is_redirection() => at = next(&at, answer.headers())?,
                _ => return Err(self.refusal(&at, &answer)),
            }
        }
        Err(odd(&url, "it redirects again and again").into())
    }

    /// One request: HEAD without a range.
    fn send(&self, url: &str, range: Option<(u64, u64)>) -> Result<Response<Body>, Failure> {
        let mut request = match range {
            None => self.agent.head(url),
            // Compressed on the way, a range would be one of other bytes.
            Some((from, to)) => self.agent.get(url).header("range", format!("bytes={from}-{to}")),
        };
        request = request.header("accept-encoding", "identity");
        if let Some(token) = self.token.as_ref().filter(|_| host(url) == host(&self.endpoint)) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| Failure::Passing {
            error: HubError::Connection { url: shown(url), why: error.to_string() },
            wait: None,
        })
    }

    fn refusal(&self, url: &str, answer: &Response<Body>) -> Failure {
        let status = answer.status().as_u16();
        let url = shown(url);
        match status {
            401 | 403 => Failure::Final(HubError::Refused { url, status }),
            404 => Failure::Final(HubError::NotFound(url)),
            429 | 500..=599 => {
                let wait = header(answer.headers(), "retry-after")
                    .and_then(|seconds| seconds.trim().parse().ok())
                    .map(Duration::from_secs);
                match wait {
                    Some(wait) if wait > self.patience.longest_wait => {
                        Failure::Final(HubError::Busy { url, wait })
                    }
                    _ => {
                        let attempts = self.patience.attempts;
                        Failure::Passing { error: HubError::Status { url, status, attempts }, wait }
                    }
                }
            }
            other => odd(&url, &format!("status {other}")).into(),
        }
    }

    /// Tries until it works, is refused for good, or patience ends.
    fn patiently<T>(
        &self,
        url: &str,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, HubError> {
        let mut failed = 0;
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(failure) => {
                    failed += 1;
                    self.wait_after(failure, failed, url)?;
                }
            }
        }
    }

    /// Waits as long as a failure asks for, or ends with it.
    pub(crate) fn wait_after(
        &self,
        failure: Failure,
        failed: u32,
        url: &str,
    ) -> Result<(), HubError> {
        match failure {
            Failure::Final(error) => Err(error),
            Failure::Passing { error, .. } if failed >= self.patience.attempts => Err(error),
            Failure::Passing { error, wait } => {
                let doubled = self.patience.first_wait * 2u32.saturating_pow(failed - 1);
                let wait = wait.unwrap_or(doubled).min(self.patience.longest_wait);
                tracing::info!(%error, url, wait_s = wait.as_secs_f64(), "trying again");
                std::thread::sleep(wait);
                Ok(())
            }
        }
    }
}

/// How a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Asking again may help, after a wait that the hub may have asked for.
    Passing { error: HubError, wait: Option<Duration> },
    /// It will not.
    Final(HubError),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

fn odd(url: &str, why: &str) -> HubError {
    HubError::Protocol { url: shown(url), why: why.to_owned() }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What the headers of an answer tell of a file; a redirect tells only by those made for it.
fn told(headers: &HeaderMap, status: StatusCode) -> Option<Told> {
    let is_here = status == StatusCode::OK;
    if !is_here && !status.is_redirection() {
        return None;
    }
    let size = header(headers, "x-linked-size")
        .or_else(|| header(headers, "content-length").filter(|_| is_here))?;
    let etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"));
    let sha256 = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
    let is_sha256 = |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    Some(Told { size: size.parse().ok()?, sha256: sha256.filter(is_sha256) })
}

/// Where `content-range` says that the answer begins.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// The address that a redirect names, whole or from the root of the same host.
fn next(from: &str, headers: &HeaderMap) -> Result<String, HubError> {
    let to = header(headers, "location").ok_or_else(|| odd(from, "it redirects nowhere"))?;
    if to.starts_with("https://") || (to.starts_with("http://") && from.starts_with("http://")) {
        return Ok(to.to_owned());
    }
    if to.starts_with("http://") {
        return Err(odd(from, "it redirects from https to http"));
    }
    let scheme = from.split("://").next().unwrap_or("https");
    Ok(format!("{scheme}://{}/{}", host(from), to.trim_start_matches('/')))
}

/// Host and port of an address.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// An address without its parameters, where signatures stand.
fn shown(url: &str) -> String {
    url.split('?').next().unwrap_or(url).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_sent_in_the_clear() {
        let hub = |endpoint| Hub::new(endpoint, Some("hf_x".into()), Patience::default());
        hub("http://mirror.example").unwrap_err();
        hub("http://localhost.example").unwrap_err();
        hub("https://mirror.example/").unwrap();
        hub("http://127.0.0.1:8080").unwrap();
        Hub::new("http://mirror.example", None, Patience::default()).unwrap();
    }

    #[test]
    fn redirects_stay_encrypted_and_may_be_relative() {
        let to = |location: &str, from: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("location", location.parse().unwrap());
            next(from, &headers)
        };
        assert_eq!(to("/b/c", "https://a.example/x?y").unwrap(), "https://a.example/b/c");
        assert_eq!(to("https://cdn/x", "https://a/x").unwrap(), "https://cdn/x");
        to("http://cdn/x", "https://a/x").unwrap_err();
        next("https://a/x", &HeaderMap::new()).unwrap_err();
    }

    #[test]
    fn a_checksum_is_one_only_where_it_has_the_length_of_one() {
        let told_by = |etag: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-linked-size", "5".parse().unwrap());
            headers.insert("x-linked-etag", etag.parse().unwrap());
            told(&headers, StatusCode::FOUND).unwrap().sha256
        };
        assert_eq!(told_by(&format!("\"{}\"", "a".repeat(64))), Some("a".repeat(64)));
        assert_eq!(told_by(&format!("\"{}\"", "a".repeat(40))), None, "git's own");
        assert_eq!(told(&HeaderMap::new(), StatusCode::FOUND), None);
    }
}
