//! What Prometheus is told, in the text form of `OpenMetrics`.

use std::collections::BTreeMap;
use std::fmt::Error;

use footage_clip::SourceId;
use footage_pipeline::{CameraStatus, EmbedStats, LATENCY_BOUNDS_S, RecordingUse};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::live_state;
use super::searchable::{BOUNDS_S, Delays};
use crate::captions::Tally;

/// Every state a source can be in, so that each has its row.
const STATES: [&str; 5] = ["connecting", "live", "stalled", "failed", "ended"];

type NoLabels = [(&'static str, &'static str); 0];

/// A figure of a recording.
type OfRecording = fn(&RecordingUse) -> u64;

/// A moment's figures.
#[derive(Debug)]
struct Figures {
    statuses: BTreeMap<SourceId, CameraStatus>,
    embed: EmbedStats,
    delays: Delays,
    /// None where nobody makes any.
    captions: Option<Tally>,
}

/// All there is to measure.
pub(super) fn text(
    statuses: BTreeMap<SourceId, CameraStatus>,
    embed: EmbedStats,
    delays: Delays,
    captions: Option<Tally>,
) -> String {
    let mut registry = Registry::with_prefix("footage");
    registry.register_collector(Box::new(Figures { statuses, embed, delays, captions }));
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => text,
        // Writing to a string does not fail.
        Err(Error) => String::new(),
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        self.sources(&mut encoder)?;
        self.stage(&mut encoder)?;
        self.captions(&mut encoder)?;
        histogram(
            &mut encoder,
            ("clip_searchable_seconds", "from the last frame of a live clip to its being found"),
            &BOUNDS_S,
            (&self.delays.buckets, self.delays.sum_s),
        )
    }
}

impl Figures {
    fn sources(&self, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
        let mut states = encoder.encode_descriptor(
            "source_state",
            "1 for the state it is in",
            None,
            MetricType::Gauge,
        )?;
        for (id, status) in &self.statuses {
            let now = live_state(status).state;
            for state in STATES {
                let labels = [("source", id.as_str()), ("state", state)];
                states.encode_family(&labels)?.encode_gauge(&i64::from(now == state))?;
            }
        }
        let since = |status: &CameraStatus| status.counts.seen_until_ns as f64 / 1e9;
        let help = "media time up to which clips are cut, in seconds since the Unix epoch";
        let mut seen = encoder.encode_descriptor(
            "source_seen_until_seconds",
            help,
            None,
            MetricType::Gauge,
        )?;
        for (id, status) in &self.statuses {
            seen.encode_family(&[("source", id.as_str())])?.encode_gauge(&since(status))?;
        }
        self.count(encoder, "source_reconnects", "connections made anew", |s| s.counts.reconnects)?;
        self.count(encoder, "source_failures", "attempts that failed", |s| s.counts.failures)?;
        self.count(encoder, "source_runs", "runs that began", |s| s.counts.runs)?;
        self.count(encoder, "source_pictures", "pictures decoded", |s| s.counts.pictures)?;
        self.recording(encoder)?;
        let help = "clips by what became of them; lost ones by reason";
        let mut clips =
            encoder.encode_descriptor("source_clips", help, None, MetricType::Counter)?;
        for (id, status) in &self.statuses {
            let counts = &status.counts;
            let mut one = |state: &str, reason: &str, count: u64| {
                let labels = [("source", id.as_str()), ("state", state), ("reason", reason)];
                clips.encode_family(&labels)?.encode_counter::<NoLabels, _, u64>(&count, None)
            };
            one("indexed", "", counts.indexed_clips)?;
            one("gated", "", counts.gated_clips)?;
            for (reason, count) in &counts.lost {
                one("lost", &reason.to_string(), *count)?;
            }
        }
        Ok(())
    }

    /// Of those sources alone whose footage is to be kept.
    fn recording(&self, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
        let recorded = || {
            let all = self.statuses.iter();
            all.filter_map(|(id, status)| Some((id, status, status.recorded?)))
        };
        let help = "1 while its footage is not kept, although it is to be";
        let mut failed =
            encoder.encode_descriptor("source_recording_failed", help, None, MetricType::Gauge)?;
        for (id, status, _) in recorded() {
            let is_failed = i64::from(status.recording_failure.is_some());
            failed.encode_family(&[("source", id.as_str())])?.encode_gauge(&is_failed)?;
        }
        let parts: [(&str, &str, OfRecording); 4] = [
            ("source_recorded_fragments", "files of footage begun", |kept| kept.fragments),
            ("source_recorded_pictures", "compressed pictures kept", |kept| kept.pictures),
            ("source_recorded_bytes", "bytes of compressed pictures kept", |kept| kept.bytes),
            ("source_left_out_pictures", "compressed pictures not kept", |kept| kept.left_out),
        ];
        for (name, help, of) in parts {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (id, _, kept) in recorded() {
                let labels = [("source", id.as_str())];
                let mut row = family.encode_family(&labels)?;
                row.encode_counter::<NoLabels, _, u64>(&of(&kept), None)?;
            }
        }
        Ok(())
    }

    fn count(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        of: impl Fn(&CameraStatus) -> u64,
    ) -> Result<(), Error> {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (id, status) in &self.statuses {
            let labels = [("source", id.as_str())];
            family.encode_family(&labels)?.encode_counter::<NoLabels, _, u64>(&of(status), None)?;
        }
        Ok(())
    }

    fn captions(&self, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
        let Some(captions) = &self.captions else { return Ok(()) };
        let help = "live clips that wait for a caption";
        let waiting = captions.waiting as f64;
        encoder
            .encode_descriptor("caption_waiting_clips", help, None, MetricType::Gauge)?
            .encode_gauge(&waiting)?;
        encoder
            .encode_descriptor("captions", "captions made", None, MetricType::Counter)?
            .encode_counter::<NoLabels, _, u64>(&captions.made, None)?;
        let help = "live clips whose captions are left to `footage caption --missing`, by reason";
        let mut left =
            encoder.encode_descriptor("caption_left_clips", help, None, MetricType::Counter)?;
        for (reason, count) in [
            ("pace", captions.spared),
            ("queue", captions.queue),
            ("footage", captions.footage),
            ("failed", captions.failed),
        ] {
            let labels = [("reason", reason)];
            let mut row = left.encode_family(&labels)?;
            row.encode_counter::<NoLabels, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn stage(&self, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
        let embed = &self.embed;
        for (name, help, value) in [
            (
                "embed_waiting_clips",
                "live clips that wait for the model",
                embed.live_waiting as f64,
            ),
            ("embed_room_clips", "live clips that may wait", embed.live_room as f64),
            ("embed_batch_fill_ratio", "how full batches are, 0 to 1", embed.batch_fill),
        ] {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        for (name, help, value) in [
            ("embed_offered_clips", "live clips brought to the model", embed.live.offered),
            ("embed_embedded_clips", "live clips embedded", embed.live.embedded),
            ("embed_overload_clips", "live clips that gave way", embed.live.overloaded),
            ("embed_failed_clips", "live clips on which the model fails", embed.live.failed),
            ("embed_batches", "batches that the model was given", embed.batches),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabels, _, u64>(&value, None)?;
        }
        histogram(
            encoder,
            ("embed_seconds", "from a live clip's offer to its embedding"),
            &LATENCY_BOUNDS_S,
            (&embed.live_latency.buckets, embed.live_latency.sum_s),
        )
    }
}

/// A histogram whose last bucket has no upper bound.
fn histogram(
    encoder: &mut DescriptorEncoder,
    (name, help): (&str, &str),
    bounds: &[f64],
    (counts, sum): (&[u64], f64),
) -> Result<(), Error> {
    let bounds = bounds.iter().copied().chain([f64::MAX]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
    encoder
        .encode_descriptor(name, help, None, MetricType::Histogram)?
        .encode_histogram::<NoLabels>(sum, counts.iter().sum(), &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct One;

    impl Collector for One {
        fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
            histogram(&mut encoder, ("x_seconds", "x"), &[1.0, 2.0], (&[3, 4, 5], 20.0))
        }
    }

    #[test]
    fn every_bucket_counts_the_ones_below_it_too() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(One));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("x_seconds_bucket{le=\"1.0\"} 3"), "{text}");
        assert!(text.contains("x_seconds_bucket{le=\"2.0\"} 7"), "{text}");
        assert!(text.contains("x_seconds_bucket{le=\"+Inf\"} 12"), "{text}");
        assert!(text.contains("x_seconds_sum 20.0"), "{text}");
    }
}
