//! What the server can be told while it runs, one JSON object a line.

use serde::Deserialize;

use crate::mount::Codec;

/// A command, as in `{"do":"stall","mount":"door"}`.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields say what the variants do not")]
pub enum Command {
    /// Exit at once, closing nothing in order.
    Die,
    /// Send no pictures, keep the connection.
    Stall { mount: String },
    /// Send pictures again.
    Resume { mount: String },
    /// Show the same in another size, both even.
    Resize { mount: String, width: u32, height: u32 },
    /// Show the same at another frame rate.
    Fps { mount: String, fps: u32 },
    /// Show the same in another codec: the stream ends, and clients must ask for it anew.
    Codec { mount: String, codec: Codec },
    /// Step the clock of the sender reports.
    ClockJump { mount: String, seconds: f64 },
    /// Corrupt the payload of every packet for a while.
    Garbage { mount: String, seconds: f64 },
    /// Send everything so much later.
    Delay { mount: String, ms: u64 },
    /// Lose this share of packets.
    Loss { mount: String, percent: u8 },
    /// Refuse new connections, or accept them again.
    Refuse { on: bool },
    /// Reset all connections with a TCP RST.
    Reset,
    /// Carry nothing any more, without closing.
    Freeze,
    /// Serve new connections again.
    Thaw,
    /// Change the password; who is connected stays.
    Password { new: String },
    /// Answer with the number of open connections.
    Connections,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_from_json() {
        let read = |text| serde_json::from_str::<Command>(text).unwrap();
        assert_eq!(
            read(r#"{"do":"clock-jump","mount":"a","seconds":-3600}"#),
            Command::ClockJump { mount: "a".to_owned(), seconds: -3600.0 }
        );
        assert_eq!(read(r#"{"do":"die"}"#), Command::Die);
        assert_eq!(read(r#"{"do":"refuse","on":true}"#), Command::Refuse { on: true });
    }

    #[test]
    fn a_misspelt_command_is_refused() {
        for text in [r#"{"do":"stahl","mount":"a"}"#, r#"{"do":"stall"}"#, "stall a"] {
            assert!(serde_json::from_str::<Command>(text).is_err(), "{text}");
        }
    }
}
