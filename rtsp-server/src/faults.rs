//! What can go wrong with one camera's stream.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::lock;

/// An RTP header without extensions and contributing sources.
const RTP_HEADER: usize = 12;
/// The packet type of an RTCP sender report (RFC 3550, 6.4.1).
const SENDER_REPORT: u8 = 200;
/// Every stream of packets meets the same luck.
const SEED: u64 = 0x5eed;

/// The faults of one camera's stream. All are off at first; each may be changed at any time and
/// holds for every client of the camera.
#[derive(Debug, Default)]
pub struct Faults {
    stalled: AtomicBool,
    delay_ms: AtomicU64,
    loss_percent: AtomicU64,
    garbage_until: Mutex<Option<Instant>>,
    clock_offset_ms: AtomicI64,
}

impl Faults {
    /// Send no pictures; sender reports go on, as they do where only the encoder hangs.
    pub fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    /// Whether no pictures are sent.
    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Send every packet this much later than its timestamp says.
    pub fn delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// How much later than its timestamp a packet is sent.
    pub fn delay_now(&self) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(self.delay_ms.load(Ordering::Relaxed))
    }

    /// Leave out this share of RTP packets, chosen at random; their sequence numbers are missing.
    pub fn lose(&self, percent: u8) {
        self.loss_percent.store(u64::from(percent.min(100)), Ordering::Relaxed);
    }

    /// Corrupt the payload of every RTP packet for a while.
    pub fn garble(&self, time: Duration) {
        *lock(&self.garbage_until) = Instant::now().checked_add(time);
    }

    /// Step the clock of the sender reports by this much, on top of earlier steps. RTP timestamps go
    /// on as they were, as on a camera whose clock is set.
    pub fn step_clock(&self, step_ms: i64) {
        self.clock_offset_ms.fetch_add(step_ms, Ordering::Relaxed);
    }

    fn is_garbling(&self) -> bool {
        lock(&self.garbage_until).is_some_and(|until| Instant::now() < until)
    }

    /// What remains of an RTP packet.
    fn packet(&self, packet: gst::Buffer, random: &mut ChaCha8Rng) -> Option<gst::Buffer> {
        let loss = self.loss_percent.load(Ordering::Relaxed);
        if loss > 0 && random.random_range(0..100) < loss {
            return None;
        }
        if self.is_garbling() {
            return rewritten(&packet, |bytes| garble(bytes, random)).or(Some(packet));
        }
        Some(packet)
    }

    /// An RTCP packet, with the camera's clock.
    fn report(&self, packet: gst::Buffer) -> gst::Buffer {
        let offset = self.clock_offset_ms.load(Ordering::Relaxed);
        if offset == 0 {
            return packet;
        }
        rewritten(&packet, |bytes| step_ntp(bytes, offset)).unwrap_or(packet)
    }
}

/// Applies loss and garbage to what leaves a payloader's source pad.
pub(crate) fn on_rtp(pad: &gst::Pad, faults: &Arc<Faults>) {
    let faults = faults.clone();
    let random = Mutex::new(ChaCha8Rng::seed_from_u64(SEED));
    on_packets(pad, move |packet| faults.packet(packet, &mut lock(&random)));
}

/// Applies the clock's offset to the sender reports that leave a session.
pub(crate) fn on_rtcp(pad: &gst::Pad, faults: &Arc<Faults>) {
    let faults = faults.clone();
    on_packets(pad, move |packet| Some(faults.report(packet)));
}

fn on_packets(
    pad: &gst::Pad,
    change: impl Fn(gst::Buffer) -> Option<gst::Buffer> + Send + Sync + 'static,
) {
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(kinds, move |_, info| {
        let changed = match info.data.take() {
            Some(gst::PadProbeData::Buffer(packet)) => {
                change(packet).map(gst::PadProbeData::Buffer)
            }
            Some(gst::PadProbeData::BufferList(packets)) => {
                let kept: gst::BufferList = packets.iter_owned().filter_map(&change).collect();
                (!kept.is_empty()).then_some(gst::PadProbeData::BufferList(kept))
            }
            other => other,
        };
        info.data = changed;
        // Handled, not Drop: the data is already ours.
        if info.data.is_some() { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Handled }
    });
}

/// A packet with other bytes and the same times and flags. The memory of a packet is shared with
/// the reel, so it is never written in place.
fn rewritten(packet: &gst::Buffer, change: impl FnOnce(&mut [u8])) -> Option<gst::Buffer> {
    let mut bytes = packet.map_readable().ok()?.to_vec();
    change(&mut bytes);
    let mut other = gst::Buffer::from_mut_slice(bytes);
    let kept =
        gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS | gst::BufferCopyFlags::META;
    packet.copy_into(other.get_mut()?, kept, ..).ok()?;
    Some(other)
}

/// Half of the packets become noise, of the others every 64th byte is changed: the first kind is
/// dropped by a depayloader, the second reaches the decoder.
fn garble(packet: &mut [u8], random: &mut ChaCha8Rng) {
    let Some(payload) = packet.get_mut(RTP_HEADER..) else { return };
    if random.random() {
        random.fill_bytes(payload);
        return;
    }
    for byte in payload.iter_mut().skip(8).step_by(64) {
        *byte ^= random.random_range(1..=255u8);
    }
}

/// Moves the NTP timestamp of a sender report, which a compound packet begins with.
fn step_ntp(packet: &mut [u8], step_ms: i64) {
    if packet.get(1) != Some(&SENDER_REPORT) {
        return;
    }
    let Some(field) = packet.get_mut(8..16).and_then(|field| <&mut [u8; 8]>::try_from(field).ok())
    else {
        return;
    };
    // 32.32 fixed point seconds, which wrap in 2036 as they should.
    let step = (i128::from(step_ms) << 32) / 1000;
    *field = u64::from_be_bytes(*field).wrapping_add(step as u64).to_be_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender_report(ntp: u64) -> Vec<u8> {
        let mut packet = vec![0x80, SENDER_REPORT, 0, 6, 1, 2, 3, 4];
        packet.extend(ntp.to_be_bytes());
        packet.extend([9; 12]);
        packet
    }

    #[test]
    fn a_step_moves_the_ntp_time_and_nothing_else() {
        for (step_ms, seconds) in [(3_600_000, 1_003_600), (-3_600_000, 996_400), (0, 1_000_000)] {
            let mut packet = sender_report((1_000_000 << 32) + 77);
            step_ntp(&mut packet, step_ms);
            assert_eq!(packet, sender_report((seconds << 32) + 77));
        }
    }

    #[test]
    fn half_a_second_is_half_of_the_fraction() {
        let mut packet = sender_report(5 << 32);
        step_ntp(&mut packet, -500);
        assert_eq!(packet, sender_report((4 << 32) + (1 << 31)));
    }

    #[test]
    fn receiver_reports_and_stumps_stay_as_they_are() {
        let mut report = sender_report(1 << 32);
        report[1] = 201;
        for packet in [report, vec![0x80, SENDER_REPORT, 0], Vec::new()] {
            let mut stepped = packet.clone();
            step_ntp(&mut stepped, 1000);
            assert_eq!(stepped, packet);
        }
    }

    #[test]
    fn garbage_keeps_the_header() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..20 {
            let mut packet = [7u8; 200];
            garble(&mut packet, &mut random);
            assert_eq!(packet[..RTP_HEADER], [7; RTP_HEADER]);
            assert_ne!(packet, [7; 200]);
        }
    }

    #[test]
    fn a_fifth_is_lost_when_asked() {
        gst::init().unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let faults = Faults::default();
        faults.lose(20);
        let kept = (0..5000).filter(|_| faults.packet(gst::Buffer::new(), &mut random).is_some());
        assert!((3850..4150).contains(&kept.count()));
    }
}
