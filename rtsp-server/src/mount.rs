//! What a mount shows, as written on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use crate::ServerError;

/// The codecs that cameras speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264, Advanced Video Coding.
    H264,
    /// H.265, High Efficiency Video Coding.
    H265,
}

impl Codec {
    /// `GStreamer`'s media type of the elementary stream.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::H264 => "video/x-h264",
            Self::H265 => "video/x-h265",
        }
    }

    /// The stem of `GStreamer`'s element names: `h264parse`, `rtph264pay`.
    pub fn stem(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
        }
    }
}

/// How a camera carries its packets, where it knows only one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// Between the words of RTSP's own connection.
    Tcp,
    /// Beside it.
    Udp,
}

/// A picture that needs no footage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Picture {
    /// Colour bars; nothing moves.
    Still,
    /// A ball that moves all the time.
    Ball,
    /// Colour bars for the first half of the loop, a chequerboard for the second.
    Change,
}

/// Where the pictures come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// A video file of any container and codec that `GStreamer` reads.
    File(PathBuf),
    /// A test picture.
    Picture(Picture),
}

/// What a mount shows:
/// `NAME=CONTENT[,codec=h264|h265][,size=WxH][,fps=N][,gop=N][,seconds=N][,carrier=tcp|udp]`, where
/// `CONTENT` is a path without a comma, `test:still`, `test:ball` or `test:change`. `NAME` alone is a
/// moving ball.
///
/// A file is served as it is where its codec is one of the two and none of `size`, `fps` and `gop`
/// is given, and encoded anew otherwise. A test picture is 320x240, 10 frames a second, 10 seconds
/// long, with a key frame every 20 frames, in H.264, where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MountSpec {
    /// The path below the server, without a slash.
    pub name: String,
    /// Where the pictures come from.
    pub content: Content,
    /// The codec; that of the file, or H.264, where none is given.
    pub codec: Option<Codec>,
    /// Width and height in pixels, both even.
    pub size: Option<(u32, u32)>,
    /// Frames a second.
    pub fps: Option<u32>,
    /// Frames from one key frame to the next.
    pub gop: Option<u32>,
    /// Length of a test picture's loop in seconds.
    pub seconds: Option<u32>,
    /// The only way of carrying packets that is served; both where none is given.
    pub carrier: Option<Carrier>,
}

impl FromStr for MountSpec {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| ServerError::Mount { text: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<MountSpec, String> {
    let (name, rest) = text.split_once('=').unwrap_or((text, "test:ball"));
    let name = name.trim_matches('/');
    if name.is_empty() {
        return Err("a mount needs a name".to_owned());
    }
    let mut parts = rest.split(',');
    let content = content(parts.next().unwrap_or_default())?;
    let mut spec = MountSpec {
        name: name.to_owned(),
        content,
        codec: None,
        size: None,
        fps: None,
        gop: None,
        seconds: None,
        carrier: None,
    };
    for part in parts {
        let (key, value) = part.split_once('=').ok_or(format!("`{part}` is no KEY=VALUE"))?;
        match key {
            "codec" => spec.codec = Some(codec(value)?),
            "size" => spec.size = Some(size(value)?),
            "fps" => spec.fps = Some(number(value)?),
            "gop" => spec.gop = Some(number(value)?),
            "seconds" => spec.seconds = Some(number(value)?),
            "carrier" => spec.carrier = Some(carrier(value)?),
            _ => return Err(format!("`{key}` is none of codec, size, fps, gop, seconds, carrier")),
        }
    }
    Ok(spec)
}

fn content(text: &str) -> Result<Content, String> {
    let Some(picture) = text.strip_prefix("test:") else {
        return Ok(Content::File(PathBuf::from(text)));
    };
    match picture {
        "still" => Ok(Content::Picture(Picture::Still)),
        "ball" => Ok(Content::Picture(Picture::Ball)),
        "change" => Ok(Content::Picture(Picture::Change)),
        _ => Err(format!("`{picture}` is none of the pictures still, ball, change")),
    }
}

fn codec(text: &str) -> Result<Codec, String> {
    match text {
        "h264" => Ok(Codec::H264),
        "h265" => Ok(Codec::H265),
        _ => Err(format!("`{text}` is neither h264 nor h265")),
    }
}

fn carrier(text: &str) -> Result<Carrier, String> {
    match text {
        "tcp" => Ok(Carrier::Tcp),
        "udp" => Ok(Carrier::Udp),
        _ => Err(format!("`{text}` is neither tcp nor udp")),
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let (width, height) = text.split_once('x').ok_or(format!("`{text}` is no WxH"))?;
    let (width, height) = (number(width)?, number(height)?);
    if width % 2 == 1 || height % 2 == 1 {
        return Err(format!("{width}x{height}: both must be even"));
    }
    Ok((width, height))
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("`{text}` is no positive number")),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_a_moving_ball() {
        let spec: MountSpec = "/door".parse().unwrap();
        assert_eq!(spec.name, "door");
        assert_eq!(spec.content, Content::Picture(Picture::Ball));
        assert_eq!((spec.codec, spec.size, spec.fps), (None, None, None));
    }

    #[test]
    fn a_file_keeps_its_path_and_its_wishes() {
        let spec: MountSpec = "door=/tmp/a=b.mp4,codec=h265,size=640x360,fps=5".parse().unwrap();
        assert_eq!(spec.content, Content::File("/tmp/a=b.mp4".into()));
        assert_eq!(spec.codec, Some(Codec::H265));
        assert_eq!(spec.size, Some((640, 360)));
        assert_eq!(spec.fps, Some(5));
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        for text in [
            "",
            "=x",
            "a=test:cat",
            "a=x,codec=vp9",
            "a=x,size=3x4",
            "a=x,fps=0",
            "a=x,y",
            "a=x,carrier=ip",
        ] {
            assert!(text.parse::<MountSpec>().is_err(), "{text}");
        }
    }
}
