//! Takes secrets out of what `GStreamer` says: `rtspsrc` puts whole addresses into its errors.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Credentials, Location};

const HIDDEN: &str = "***";

/// Knows a camera's secrets, in order to hide them.
#[derive(Clone)]
pub(super) struct Mask {
    /// Longest first: one may be part of another.
    secrets: Vec<String>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} secrets)", self.secrets.len())
    }
}

impl Mask {
    pub(super) fn new(location: &Location, credentials: Option<&Credentials>) -> Self {
        let mut secrets = location.secrets();
        if let Some(Credentials { user, password }) = credentials {
            secrets.push(password.clone());
            secrets.push(STANDARD.encode(format!("{user}:{password}")));
        }
        let escaped: Vec<String> = secrets.iter().map(|secret| escaped(secret)).collect();
        secrets.extend(escaped);
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// The text without secrets, and without the user-info and query string of any address in it.
    pub(super) fn hide(&self, text: &str) -> String {
        // First of all, as what follows may cut one in two.
        let text = self
            .secrets
            .iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), HIDDEN));
        let mut masked = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find("://") {
            let (before, after) = rest.split_at(at + 3);
            masked.push_str(before);
            // An address ends where no address goes on.
            let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
            let (address, others) = after.split_at(after.find(ends).unwrap_or(after.len()));
            masked.push_str(&without_secrets(address));
            rest = others;
        }
        masked.push_str(rest);
        masked
    }
}

/// An address, from its authority on, without user-info and query.
fn without_secrets(address: &str) -> String {
    let (before_query, has_query) = match address.split_once('?') {
        Some((before, _)) => (before, true),
        None => (address, false),
    };
    // Up to the last `@`, wherever it stands: a password may hold a `/`.
    let place = match before_query.rsplit_once('@') {
        Some((_, place)) => format!("{HIDDEN}@{place}"),
        None => before_query.to_owned(),
    };
    if has_query { format!("{place}?{HIDDEN}") } else { place }
}

/// As it stands in an address (RFC 3986, 2.1).
pub(super) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(uri: &str) -> Mask {
        let (location, credentials) = Location::parse(uri).unwrap();
        Mask::new(&location, credentials.as_ref())
    }

    #[test]
    fn addresses_lose_what_may_be_secret() {
        let mask = mask("rtsp://u:hunter2@cam/x?token=s3cret");
        for (said, shown) in [
            ("cannot open rtsp://u:hunter2@cam/x", "cannot open rtsp://***@cam/x"),
            ("at 'rtsp://cam/x?token=s3cret', sorry", "at 'rtsp://cam/x?***', sorry"),
            ("http://other:pw@host/a?b=c and more", "http://***@host/a?*** and more"),
            ("rtsp://u:a/b@cam/x", "rtsp://***@cam/x"),
            ("password hunter2 refused", "password *** refused"),
            ("Authorization: Basic dTpodW50ZXIy", "Authorization: Basic ***"),
            ("nothing to hide", "nothing to hide"),
        ] {
            assert_eq!(mask.hide(said), shown);
        }
    }

    #[test]
    fn a_secret_is_found_as_written_and_as_escaped() {
        let mask = mask("rtsp://u:p%40s%2Fs@cam/x");
        assert_eq!(mask.hide("p@s/s and p%40s%2Fs"), "*** and ***");
        assert!(!format!("{mask:?}").contains("p@s"));
    }

    proptest! {
        #[test]
        fn the_password_never_comes_through(
            password in "[a-zA-Z0-9@:/ .]{4,20}", before in ".{0,30}", after in ".{0,30}",
        ) {
            let (location, _) = Location::parse("rtsp://cam/x").unwrap();
            let who = Credentials { user: "u".into(), password: password.clone() };
            let mask = Mask::new(&location, Some(&who));
            let said = format!("{before}rtsp://u:{password}@cam/x{after} {password}");
            prop_assert!(!mask.hide(&said).contains(&password));
        }
    }
}
