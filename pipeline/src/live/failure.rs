//! Why a camera gives no pictures, in words for the person who has the camera.

use gst::glib;

use super::mask::Mask;
use crate::DecodeError;
use crate::decode::failure::{of_message as of_stream, one_line};

/// What is wrong with a camera at the moment. Each says what it is and, where that helps, what to
/// do; to be read after the camera's name. None of them is final: the camera is tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// User and password are wrong, or missing.
    #[error("refuses this user and password: check both")]
    Unauthorised,
    /// It wants to know who asks, and no credentials are given.
    #[error("asks for user and password: give them as the camera's credentials")]
    NoCredentials,
    /// There is a camera, and nothing at this path.
    #[error("has nothing at this path: check the address")]
    NotFound,
    /// It is not who it says it is, or nobody vouches for it.
    #[error(
        "shows a certificate that is not trusted ({0}): give the certificate of who signed it as the \
         camera's `tls_ca`, or set the right host"
    )]
    Certificate(String),
    /// No connection.
    #[error("cannot be reached ({0})")]
    Unreachable(String),
    /// It does not carry its video in the way asked for.
    #[error("does not send its video over this transport: choose another `transport`")]
    Transport,
    /// The connection was there, and is gone.
    #[error("closed the connection")]
    Closed,
    /// Connected, and nothing comes.
    #[error("is connected and sends nothing")]
    NoData,
    /// It stopped to send, without a word.
    #[error("stopped sending pictures")]
    Silent,
    /// It sends, and no picture comes of it.
    #[error("sends data of which no picture can be decoded")]
    Undecoded,
    /// Its stream is not one that can be read here.
    #[error("sends a stream that {0}")]
    Stream(#[from] DecodeError),
    /// What is known of its past cannot be looked up.
    #[error("is not watched, as what was done before cannot be looked up: {0}")]
    Timeline(String),
    /// Its earlier connections do not end.
    #[error("is not connected again, as {0} of its earlier connections do not end: see the log")]
    Hanging(usize),
    /// This program's own fault.
    #[error("cannot be watched here: {0}")]
    Broken(String),
}

/// What elements say that do not know what is wrong.
const VAGUE: [&str; 4] =
    ["generic error", "internal data stream error", "could not open resource", "could not connect"];

impl LiveError {
    /// Whether another way of carrying the video may do better.
    pub(super) fn may_be_transport(&self) -> bool {
        matches!(self, Self::Transport | Self::NoData | Self::Stream(DecodeError::NoElement { .. }))
    }

    /// Whether it says that there is no connection, and not why.
    pub(super) fn is_vague(&self) -> bool {
        let Self::Unreachable(words) = self else { return false };
        VAGUE.iter().any(|vague| words.to_lowercase().contains(vague))
    }

    /// Of an error message on a graph's bus. `has_credentials`: user and password were given.
    pub(super) fn of_message(
        error: &glib::Error,
        debug: Option<&str>,
        mask: &Mask,
        has_credentials: bool,
    ) -> Self {
        if debug.is_some_and(is_source_without_words) {
            return Self::Unreachable(one_line(&mask.hide(error.message())));
        }
        if debug.is_some_and(|debug| debug.contains(NO_WAY_TO_CARRY)) {
            return Self::Transport;
        }
        let Some(kind) = error.kind::<gst::ResourceError>() else {
            let said = glib::Error::new(gst::StreamError::Failed, &mask.hide(error.message()));
            return Self::Stream(match error.kind::<gst::StreamError>() {
                Some(kind) => of_stream(&glib::Error::new(kind, said.message())),
                None => of_stream(&glib::Error::new(gst::CoreError::Failed, said.message())),
            });
        };
        match kind {
            gst::ResourceError::NotAuthorized if has_credentials => Self::Unauthorised,
            gst::ResourceError::NotAuthorized => Self::NoCredentials,
            gst::ResourceError::NotFound => Self::NotFound,
            _ if debug.is_some_and(|debug| debug.contains("no protocols left")) => Self::Transport,
            _ => Self::Unreachable(mask.hide(&reason(error.message(), debug))),
        }
    }
}

/// Where RTSP's source gives up after each stream was refused in the way asked for. It calls that a codec
/// that is not known, in the language of the place.
const NO_WAY_TO_CARRY: &str = "gst_rtspsrc_setup_streams";

/// Whether a source failed and did not say why: HTTP's does so where there is no server. A failure
/// further down is told by whoever has it.
fn is_source_without_words(debug: &str) -> bool {
    debug.contains("gst_base_src_loop") && debug.contains("reason error (-5)")
}

/// The most telling of what an element says: the last line of its debug text, which names the system's
/// own error, or else its message.
fn reason(message: &str, debug: Option<&str>) -> String {
    let told = debug.and_then(|debug| debug.lines().skip(1).last()).map(str::trim);
    // It ends in words of the library below, in brackets.
    let inner = told.and_then(|told| told.split_once('(')).map(|(_, inner)| {
        inner.trim_end().trim_end_matches('.').strip_suffix(')').unwrap_or(inner).to_owned()
    });
    let is_vague = |words: &String| words.is_empty() || words.starts_with("Generic error");
    let words = inner.filter(|inner| !is_vague(inner)).or(told.map(str::to_owned));
    one_line(words.filter(|words| !words.is_empty()).as_deref().unwrap_or(message))
}

#[cfg(test)]
mod tests {
    use super::super::Location;
    use super::*;

    fn told(kind: gst::ResourceError, message: &str, debug: &str) -> String {
        let (location, credentials) = Location::parse("rtsp://u:hunter2@cam/x").unwrap();
        let mask = Mask::new(&location, credentials.as_ref());
        let error = glib::Error::new(kind, message);
        LiveError::of_message(&error, Some(debug), &mask, true).to_string()
    }

    #[test]
    fn a_refused_connection_is_told_in_the_systems_words_and_without_secrets() {
        let debug = "../gst/rtsp/gstrtspsrc.c(8041): gst_rtspsrc_retrieve_sdp (): /GstRTSPSrc\n\
             Failed to connect. (Could not connect to rtsp://u:hunter2@cam/x: Connection refused)";
        assert_eq!(
            told(gst::ResourceError::OpenRead, "Could not open resource.", debug),
            "cannot be reached (could not connect to rtsp://***@cam/x: Connection refused)"
        );
    }

    #[test]
    fn vague_words_give_way_to_better_ones() {
        let debug = "file.c: here\nFailed to connect. (Generic error)";
        assert_eq!(
            told(gst::ResourceError::OpenRead, "Could not open resource.", debug),
            "cannot be reached (failed to connect. (Generic error))"
        );
        assert_eq!(
            told(gst::ResourceError::Read, "Could not read.", "file.c: here"),
            "cannot be reached (could not read)"
        );
    }

    #[test]
    fn wrong_credentials_and_wrong_paths_are_told_apart() {
        let unauthorised = told(gst::ResourceError::NotAuthorized, "Unauthorized", "");
        assert!(unauthorised.contains("user and password"));
        assert!(told(gst::ResourceError::NotFound, "Not Found", "").contains("path"));
    }
}
