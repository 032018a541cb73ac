//! A camera as the settings describe it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use footage_clip::SourceId;

use super::{Credentials, Location};
use crate::{ElasticSettings, NoveltySettings, RecordingSpec};

/// A camera to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// Chosen once, never changed.
    pub source_id: SourceId,
    /// Name for people.
    pub name: String,
    /// Where it is.
    pub location: Location,
    /// User and password, where it asks for them.
    pub credentials: Option<Credentials>,
    /// How RTSP carries the video.
    pub transport: Transport,
    /// Certificates (PEM) to trust instead of the system's, for a camera with one of its own making.
    pub tls_ca: Option<PathBuf>,
    /// What of it is decoded.
    pub decode: LiveDecode,
    /// Whether clips that show nothing new are embedded; all are where this is none.
    pub novelty: Option<NoveltySettings>,
    /// Whether its footage is kept, and where.
    pub recording: Option<RecordingSpec>,
}

/// How RTSP carries the video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// TCP; if the camera does not do that, UDP.
    #[default]
    Auto,
    /// Inside the connection: nothing is lost on the way, and firewalls let it pass.
    Tcp,
    /// Packets of their own.
    Udp,
}

/// What of a camera is decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LiveDecode {
    /// Every picture.
    #[default]
    All,
    /// Keyframes while the scene is still, every picture when it changes.
    Elastic(ElasticSettings),
    /// Keyframes alone: what happens between two of them is not seen.
    Keyframes,
}

/// A word that is none of those to choose from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no {what}: choose {choices}")]
pub struct UnknownWord {
    word: String,
    what: &'static str,
    choices: &'static str,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Transport {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let all = [Self::Auto, Self::Tcp, Self::Udp];
        find(&all, word, "transport", "`auto`, `tcp` or `udp`")
    }
}

impl fmt::Display for LiveDecode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Elastic(_) => "elastic",
            Self::Keyframes => "keyframes",
        })
    }
}

impl FromStr for LiveDecode {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let all = [Self::All, Self::Elastic(ElasticSettings::default()), Self::Keyframes];
        find(&all, word, "decode mode of a camera", "`all`, `elastic` or `keyframes`")
    }
}

fn find<T: Copy + fmt::Display>(
    all: &[T],
    word: &str,
    what: &'static str,
    choices: &'static str,
) -> Result<T, UnknownWord> {
    let known = all.iter().copied().find(|known| known.to_string() == word);
    known.ok_or_else(|| UnknownWord { word: word.chars().take(40).collect(), what, choices })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_shown() {
        for transport in [Transport::Auto, Transport::Tcp, Transport::Udp] {
            assert_eq!(transport.to_string().parse(), Ok(transport));
        }
        let elastic = LiveDecode::Elastic(ElasticSettings::default());
        for decode in [LiveDecode::All, elastic, LiveDecode::Keyframes] {
            assert_eq!(decode.to_string().parse(), Ok(decode));
        }
        let error = "quic".parse::<Transport>().unwrap_err().to_string();
        assert_eq!(error, "`quic` is no transport: choose `auto`, `tcp` or `udp`");
    }

    #[test]
    fn a_camera_shows_no_secret() {
        let (location, credentials) =
            Location::parse("rtsp://admin:hunter2@cam/x?token=s3cret").unwrap();
        let camera = Camera {
            source_id: SourceId::try_new("gate").unwrap(),
            name: "Gate".into(),
            location,
            credentials,
            transport: Transport::Auto,
            tls_ca: None,
            decode: LiveDecode::All,
            novelty: None,
            recording: None,
        };
        let shown = format!("{camera:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
    }
}
