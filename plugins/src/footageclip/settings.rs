//! What the user set.

use std::time::Duration;

use footage_clip::{NANOS_PER_SECOND, PartialClip, WindowError, WindowSpec};
use gst::glib;
use gst::prelude::*;

use crate::rate::{default_rate, rate_of, rate_property};

/// What becomes of a clip that had begun when its run ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstFootagePartial")]
pub enum Partial {
    /// It is completed with its last frame.
    #[default]
    #[enum_value(name = "Repeat the last frame until the clip is whole", nick = "pad")]
    Pad,
    /// It is left out.
    #[enum_value(name = "Leave the frames out", nick = "drop")]
    Drop,
}

/// The only place where the defaults are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    rate: gst::Fraction,
    length: u32,
    stride: u32,
    max_gap_ns: u64,
    partial: Partial,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rate: default_rate(),
            length: 8,
            stride: 4,
            max_gap_ns: 5 * NANOS_PER_SECOND,
            partial: Partial::default(),
        }
    }
}

/// Settings that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SettingsError {
    #[error(transparent)]
    Window(#[from] WindowError),
    #[error(
        "filling a `max-gap` of {max_gap_s} s at `rate` {rate} would take {frames} repeated frames: \
         choose less of either, or a longer `stride`"
    )]
    Gap { max_gap_s: u64, rate: String, frames: u64 },
}

/// The most that `max-gap` may be.
pub const LONGEST_GAP: Duration = Duration::from_secs(3600);

/// Frame references in the clips that fill the longest gap: 48 MiB of them.
const MAX_FILL: u64 = 1 << 20;

impl Settings {
    pub(super) fn window(&self) -> Result<WindowSpec, SettingsError> {
        let rate = rate_of(self.rate)?;
        Ok(WindowSpec::try_new(self.length as usize, self.stride as usize, rate)?)
    }

    /// The longest time between two sampled frames of one run. Less than two slots would tear
    /// neighbouring slots apart.
    pub(super) fn max_gap_ns(&self, spec: &WindowSpec) -> Result<u64, SettingsError> {
        let rate = spec.rate();
        let clips = rate.slot_of(self.max_gap_ns).div_ceil(spec.stride() as u64);
        let frames = clips.saturating_mul(spec.length() as u64);
        if frames > MAX_FILL {
            let max_gap_s = self.max_gap_ns / NANOS_PER_SECOND;
            return Err(SettingsError::Gap { max_gap_s, rate: rate.to_string(), frames });
        }
        Ok(self.max_gap_ns.max(rate.slot_start_ns(2)))
    }

    pub(super) fn partial(&self) -> PartialClip {
        match self.partial {
            Partial::Pad => PartialClip::Pad,
            Partial::Drop => PartialClip::Drop,
        }
    }

    pub(super) fn properties() -> Vec<glib::ParamSpec> {
        let default = Self::default();
        vec![
            rate_property(),
            glib::ParamSpecUInt::builder("length")
                .nick("Length")
                .blurb("Frames in one clip")
                .minimum(1)
                .maximum(1024)
                .default_value(default.length)
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("stride")
                .nick("Stride")
                .blurb("Sampled frames from the start of one clip to the next, at most the length")
                .minimum(1)
                .maximum(1024)
                .default_value(default.stride)
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt64::builder("max-gap")
                .nick("Longest gap")
                .blurb(
                    "Media time between two sampled frames, in nanoseconds, beyond which the stream \
                     counts as interrupted; never less than two slots",
                )
                .maximum(LONGEST_GAP.as_secs() * NANOS_PER_SECOND)
                .default_value(default.max_gap_ns)
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("partial", default.partial)
                .nick("Partial clip")
                .blurb("What becomes of a clip that had begun when the stream ends or breaks off")
                .mutable_ready()
                .build(),
        ]
    }

    /// Sets a property; its type and range were checked by `GObject`.
    pub(super) fn set(&mut self, property: &str, value: &glib::Value) {
        let checked = "type checked by GObject";
        match property {
            "rate" => self.rate = value.get().expect(checked),
            "length" => self.length = value.get().expect(checked),
            "stride" => self.stride = value.get().expect(checked),
            "max-gap" => self.max_gap_ns = value.get().expect(checked),
            "partial" => self.partial = value.get().expect(checked),
            other => unreachable!("no writable property `{other}` was declared"),
        }
    }

    pub(super) fn get(&self, property: &str) -> Option<glib::Value> {
        Some(match property {
            "rate" => self.rate.to_value(),
            "length" => self.length.to_value(),
            "stride" => self.stride.to_value(),
            "max-gap" => self.max_gap_ns.to_value(),
            "partial" => self.partial.to_value(),
            _ => return None,
        })
    }
}
