//! What the timestamps of RTP packets tell beside the time: that they wrapped, or jumped.
//!
//! `rtspsrc` smooths both away, and gives each packet a time of its own making. A wrap it understands,
//! so the stream goes on; a jump it cannot, so what comes after one lies where it arrived.

/// Timestamps and times may differ this much from packet to packet without the stream being broken.
const JUMP_NS: i128 = 1_000_000_000;

/// Follows the packets of one stream.
#[derive(Clone, Debug)]
pub(super) struct RtpTime {
    /// Ticks in a second.
    clock_rate: u32,
    last: Option<Packet>,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    /// Unwrapped: the lower 32 bits are what the packet says.
    ticks: i64,
    stamp_ns: u64,
    /// How often the counter has wrapped.
    wraps: i64,
}

impl RtpTime {
    pub(super) fn new(clock_rate: u32) -> Self {
        Self { clock_rate: clock_rate.max(1), last: None }
    }

    /// Takes the next packet: the timestamp it carries, and the time it was given. Returns whether
    /// the stream's time is broken before it.
    pub(super) fn take(&mut self, timestamp: u32, stamp_ns: u64) -> bool {
        let Some(last) = self.last else {
            self.last = Some(Packet { ticks: i64::from(timestamp), stamp_ns, wraps: 0 });
            return false;
        };
        let before = (last.ticks & i64::from(u32::MAX)) as u32;
        let step = timestamp.wrapping_sub(before).cast_signed();
        let ticks = last.ticks + i64::from(step);
        // Pictures are sent in the order in which they are decoded, so some go back: only the
        // furthest counts.
        let wraps = last.wraps.max(ticks >> 32);
        self.last = Some(Packet { ticks, stamp_ns, wraps });
        let told_ns = i128::from(step) * 1_000_000_000 / i128::from(self.clock_rate);
        let given_ns = i128::from(stamp_ns) - i128::from(last.stamp_ns);
        wraps > last.wraps || (told_ns - given_ns).abs() > JUMP_NS
    }
}

/// The timestamp in an RTP packet's header (RFC 3550, 5.1).
pub(super) fn timestamp_of(packet: &[u8]) -> Option<u32> {
    let version = packet.first()? >> 6;
    let bytes = packet.get(4..8)?.try_into().ok()?;
    (version == 2).then(|| u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME_NS: u64 = 40_000_000;
    const FRAME_TICKS: u32 = 3600;

    /// Feeds packets, 25 a second by their times, and returns at which the stream broke.
    fn breaks(timestamps: impl IntoIterator<Item = u32>) -> Vec<usize> {
        let mut time = RtpTime::new(90_000);
        let mut is_break = |(at, timestamp): (usize, u32)| {
            time.take(timestamp, at as u64 * FRAME_NS).then_some(at)
        };
        timestamps.into_iter().enumerate().filter_map(&mut is_break).collect()
    }

    #[test]
    fn a_wrap_breaks_once_even_among_pictures_out_of_order() {
        let before = u32::MAX - 3 * FRAME_TICKS;
        let order = [0u32, 1, 3, 2, 4, 6, 5, 7, 8];
        let timestamps = order.map(|frame| before.wrapping_add(frame * FRAME_TICKS));
        assert_eq!(breaks(timestamps), [4]);
    }

    #[test]
    fn a_jump_either_way_breaks() {
        let jump = |by: u32| {
            (0..10u32).map(move |frame| {
                1_000_000_000 + frame * FRAME_TICKS + if frame < 5 { 0 } else { by }
            })
        };
        assert_eq!(breaks(jump(90_000 * 60)), [5]);
        assert_eq!(breaks(jump((90_000 * 60u32).wrapping_neg())), [5]);
        assert!(breaks(jump(20_000)).is_empty());
    }

    #[test]
    fn a_packet_is_read_as_the_standard_has_it() {
        let packet = [0x80, 96, 0, 1, 0, 0, 0x0e, 0x10, 1, 2, 3, 4];
        assert_eq!(timestamp_of(&packet), Some(3600));
        assert_eq!(timestamp_of(&packet[..7]), None);
        assert_eq!(timestamp_of(&[0; 12]), None);
    }

    proptest! {
        #[test]
        fn an_even_stream_breaks_at_its_wraps_alone(start in any::<u32>(), frames in 1u32..3000) {
            let timestamps: Vec<u32> =
                (0..frames).map(|frame| start.wrapping_add(frame * FRAME_TICKS)).collect();
            let wraps = timestamps.windows(2).filter(|pair| pair[1] < pair[0]).count();
            prop_assert_eq!(breaks(timestamps).len(), wraps);
        }
    }
}
