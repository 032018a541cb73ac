//! Server-sent events, of which only the data matters.

/// Most bytes of one event.
const LONGEST: usize = 1 << 20;

/// Cuts a stream of bytes, however it arrives, into the data of its events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    rest: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
}

/// An event that has no end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Events {
    /// Takes bytes in, and gives the data of each event that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        let mut from = 0;
        while let Some(length) = self.rest[from..].iter().position(|byte| *byte == b'\n') {
            let line = &self.rest[from..from + length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                if std::mem::take(&mut self.has_data) {
                    events.push(
                        String::from_utf8_lossy(&std::mem::take(&mut self.data)).into_owned(),
                    );
                }
            } else if let Some(data) = line.strip_prefix(b"data:") {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            }
            from += length + 1;
        }
        self.rest.drain(..from);
        if self.rest.len() + self.data.len() > LONGEST { Err(TooLong) } else { Ok(events) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b": hello\r\n\r\nevent: x\ndata: {\"a\":1}\n\ndata:two\ndata: lines \xc3\xa9\r\n\r\ndata: [DONE]\n\n";

    #[test]
    fn events_are_the_same_however_their_bytes_arrive() {
        let expected = ["{\"a\":1}", "two\nlines é", "[DONE]"];
        for size in 1..STREAM.len() {
            let mut events = Events::default();
            let parts = STREAM.chunks(size).flat_map(|part| events.push(part).unwrap());
            assert_eq!(parts.collect::<Vec<_>>(), expected, "in parts of {size}");
        }
    }

    #[test]
    fn an_event_without_an_end_does_not_fill_the_memory() {
        let mut events = Events::default();
        let part = vec![b'x'; 64 << 10];
        let mut endless = (0..100).map(|_| events.push(&part));
        assert!(endless.any(|pushed| pushed == Err(TooLong)));
    }
}
