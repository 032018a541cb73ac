//! Where a camera is, and the credentials that somebody wrote into it.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// Where a camera is. Shown without its query string, which may hold a secret; user names and
/// passwords are never part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Location(Place);

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Rtsp(Address),
    Http(Address),
    Device(PathBuf),
    File { path: PathBuf, repeat: bool },
}

/// An address on a network, without user and password.
#[derive(Clone, PartialEq, Eq)]
struct Address {
    /// In lower case: `rtsp`, `rtsps`, `http`, `https`.
    scheme: &'static str,
    /// Host, with its port where one is given.
    host: String,
    /// From the first `/` on, up to the query.
    path: String,
    query: Option<String>,
}

/// What opens a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// RTSP, by TLS or not.
    Rtsp { uri: String, is_tls: bool },
    /// HTTP: a playlist (HLS), or a stream.
    Http { uri: String },
    /// A device of `Video4Linux`.
    Device { path: PathBuf },
    /// A file, at its own pace.
    File { path: PathBuf, repeat: bool },
}

/// User name and password. Never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who asks.
    pub user: String,
    /// What only they know.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// Why a text is no location. Never repeats what may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Nothing before `://`, or something that is not opened here.
    #[error(
        "`{0}` is no address of a camera: write rtsp://, rtsps://, http://, https://, v4l2:///dev/... \
         or the path of a file"
    )]
    Scheme(String),
    /// No host.
    #[error("the address names no host: write {0}://host/path")]
    Host(&'static str),
    /// A port that is no number.
    #[error("the port of the address is no number from 1 to 65535")]
    Port,
    /// An `@` behind the host: most likely part of a password.
    #[error(
        "the address has an `@` behind its host: give user and password as settings of their own, \
         or write `@` as %40 and `/` as %2F in them"
    )]
    MisplacedAt,
    /// White space or control characters.
    #[error("the address has white space or control characters in it: write them as %20")]
    Blank,
    /// A path that no file can have, or that nobody could read in a list.
    #[error("the path has control characters in it: rename the file")]
    Control,
    /// A path that is not absolute.
    #[error("`{}` is no absolute path", .0.display())]
    Relative(PathBuf),
}

impl Location {
    /// Reads an address. User and password in it are taken out and given apart.
    pub fn parse(text: &str) -> Result<(Self, Option<Credentials>), LocationError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok((Self::file(PathBuf::from(text), false)?, None));
        };
        let address = |scheme| Address::parse(scheme, rest);
        match scheme.to_ascii_lowercase().as_str() {
            "rtsp" => address("rtsp").map(|(at, who)| (Self(Place::Rtsp(at)), who)),
            "rtsps" => address("rtsps").map(|(at, who)| (Self(Place::Rtsp(at)), who)),
            "http" => address("http").map(|(at, who)| (Self(Place::Http(at)), who)),
            "https" => address("https").map(|(at, who)| (Self(Place::Http(at)), who)),
            "v4l2" => Ok((Self(Place::Device(absolute(rest.into())?)), None)),
            "file" => Ok((Self::file(unescaped(rest).into(), false)?, None)),
            other => Err(LocationError::Scheme(other.chars().take(20).collect())),
        }
    }

    /// A file that is played at its own pace, as if it were a camera; again and again if `repeat`.
    pub fn file(path: PathBuf, repeat: bool) -> Result<Self, LocationError> {
        Ok(Self(Place::File { path: absolute(path)?, repeat }))
    }

    /// A file begins again at its end, if `repeat`; nothing else has one.
    #[must_use]
    pub fn repeated(self, repeat: bool) -> Self {
        match self.0 {
            Place::File { path, .. } => Self(Place::File { path, repeat }),
            place => Self(place),
        }
    }

    /// What opens it.
    pub(super) fn kind(&self) -> Kind {
        match &self.0 {
            Place::Rtsp(at) => Kind::Rtsp { uri: at.uri(), is_tls: at.scheme == "rtsps" },
            Place::Http(at) => Kind::Http { uri: at.uri() },
            Place::Device(path) => Kind::Device { path: path.clone() },
            Place::File { path, repeat } => Kind::File { path: path.clone(), repeat: *repeat },
        }
    }

    /// The host on the network, with its port where one is given, and the port otherwise.
    pub(super) fn host(&self) -> Option<(&str, u16)> {
        let (Place::Rtsp(address) | Place::Http(address)) = &self.0 else { return None };
        let port = match address.scheme {
            "rtsp" => 554,
            "rtsps" => 322,
            "https" => 443,
            _ => 80,
        };
        Some((&address.host, port))
    }

    /// Parts of it that must not be shown.
    pub(super) fn secrets(&self) -> Vec<String> {
        let (Place::Rtsp(Address { query, .. }) | Place::Http(Address { query, .. })) = &self.0
        else {
            return Vec::new();
        };
        let Some(query) = query else { return Vec::new() };
        let values =
            query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
        let mut secrets = vec![query.clone()];
        // `channel=1` is no secret, and to hide every `1` helps nobody.
        secrets.extend(values.filter(|value| value.len() > 3).map(str::to_owned));
        secrets
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, LocationError> {
    // GStreamer takes no NUL in a path, and `%00` in an address may have become one.
    if path.as_os_str().as_bytes().iter().any(u8::is_ascii_control) {
        Err(LocationError::Control)
    } else if path.is_absolute() {
        Ok(path)
    } else {
        Err(LocationError::Relative(path))
    }
}

impl Address {
    fn parse(
        scheme: &'static str,
        rest: &str,
    ) -> Result<(Self, Option<Credentials>), LocationError> {
        if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(LocationError::Blank);
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        if path.contains('@') {
            return Err(LocationError::MisplacedAt);
        }
        let (who, host) = match authority.rsplit_once('@') {
            Some((who, host)) => (Some(credentials(who)), host),
            None => (None, authority),
        };
        check_host(scheme, host)?;
        let (host, path) = (host.to_owned(), path.to_owned());
        Ok((Self { scheme, host, path, query }, who))
    }

    fn uri(&self) -> String {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}://{}{}{query}", self.scheme, self.host, self.path)
    }
}

fn check_host(scheme: &'static str, host: &str) -> Result<(), LocationError> {
    // An IPv6 address stands in brackets, and has colons of its own.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if name.is_empty() {
        return Err(LocationError::Host(scheme));
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    if port.is_none_or(is_port) { Ok(()) } else { Err(LocationError::Port) }
}

fn credentials(who: &str) -> Credentials {
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    Credentials { user: unescaped(user), password: unescaped(password) }
}

/// Resolves `%40` and the like (RFC 3986, 2.1). What is no such thing stays.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Rtsp(at) | Place::Http(at) => {
                let query = if at.query.is_some() { "?***" } else { "" };
                write!(f, "{}://{}{}{query}", at.scheme, at.host, at.path)
            }
            Place::Device(path) => write!(f, "v4l2://{}", path.display()),
            Place::File { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uri(location: &Location) -> String {
        match location.kind() {
            Kind::Rtsp { uri, .. } | Kind::Http { uri } => uri,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn credentials_are_taken_out_and_kept_apart() {
        let (location, who) =
            Location::parse("RTSP://admin:p%40ss@cam.lan:8554/h264?ch=1").unwrap();
        assert_eq!(uri(&location), "rtsp://cam.lan:8554/h264?ch=1");
        assert_eq!(location.to_string(), "rtsp://cam.lan:8554/h264?***");
        let who = who.unwrap();
        assert_eq!((who.user.as_str(), who.password.as_str()), ("admin", "p@ss"));
        assert_eq!(format!("{who:?}"), "Credentials(***)");
    }

    #[test]
    fn an_at_sign_in_a_password_is_found_where_it_can_be_and_refused_where_not() {
        let (location, who) = Location::parse("rtsp://a:b@c@host/x").unwrap();
        assert_eq!((uri(&location), who.unwrap().password), ("rtsp://host/x".into(), "b@c".into()));
        let error = Location::parse("rtsp://a:b/hunter2@host/x").unwrap_err();
        assert_eq!(error, LocationError::MisplacedAt);
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn every_kind_of_place_is_read() {
        let kind = |text| Location::parse(text).map(|(location, _)| location.kind());
        assert_eq!(
            kind("rtsps://[fe80::1]:322/a"),
            Ok(Kind::Rtsp { uri: "rtsps://[fe80::1]:322/a".into(), is_tls: true })
        );
        assert_eq!(kind("http://h/live.m3u8"), Ok(Kind::Http { uri: "http://h/live.m3u8".into() }));
        assert_eq!(kind("v4l2:///dev/video0"), Ok(Kind::Device { path: "/dev/video0".into() }));
        assert_eq!(
            kind("file:///a%20b.mp4"),
            Ok(Kind::File { path: "/a b.mp4".into(), repeat: false })
        );
        assert_eq!(kind("/a.mp4"), Ok(Kind::File { path: "/a.mp4".into(), repeat: false }));
    }

    #[test]
    fn what_is_no_place_is_refused_with_what_to_write() {
        for (text, words) in [
            ("rtsp:///x", "names no host"),
            ("rtsp://:554/x", "names no host"),
            ("rtsp://h:99999/x", "port"),
            ("rtsp://h:port/x", "port"),
            ("rtsp://h/a b", "white space"),
            ("ftp://h/x", "no address of a camera"),
            ("street.mp4", "no absolute path"),
            ("v4l2://video0", "no absolute path"),
            ("/a\0b.mp4", "control characters"),
            ("file:///a%00b.mp4", "control characters"),
            ("v4l2:///dev/video0%00\n", "control characters"),
        ] {
            let error = Location::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_show_a_password(
            user in "[a-z]{1,8}", password in "[A-Z0-9@:]{6,16}", tail in ".{0,20}",
        ) {
            let text = format!("rtsp://{user}:{password}@host/{tail}");
            match Location::parse(&text) {
                Ok((location, who)) => {
                    prop_assert_eq!(who.unwrap().password, password.clone());
                    prop_assert!(!uri(&location).contains(&password) || tail.contains(&password));
                }
                Err(error) => prop_assert!(!error.to_string().contains(&password)),
            }
        }
    }
}
