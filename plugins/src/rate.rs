//! The property that both elements have: sampled frames per second, within the bounds of [`Rate`].

use footage_clip::{Rate, WindowError};
use gst::glib;
use gst::prelude::*;

/// Two frames a second.
pub(crate) fn default_rate() -> gst::Fraction {
    gst::Fraction::new(2, 1)
}

pub(crate) fn least_rate() -> gst::Fraction {
    gst::Fraction::new(1, Rate::LONGEST_S.cast_signed())
}

pub(crate) fn most_rate() -> gst::Fraction {
    gst::Fraction::new(Rate::MOST.cast_signed(), 1)
}

pub(crate) fn rate_property() -> glib::ParamSpec {
    gst::ParamSpecFraction::builder("rate")
        .nick("Rate")
        .blurb("Sampled frames per second of media time; slot k of the grid begins at k / rate")
        .minimum(least_rate())
        .maximum(most_rate())
        .default_value(default_rate())
        .mutable_ready()
        .build()
}

pub(crate) fn rate_of(fraction: gst::Fraction) -> Result<Rate, WindowError> {
    let positive = |number: i32| u32::try_from(number).unwrap_or(0);
    Rate::try_new(positive(fraction.numer()), positive(fraction.denom()))
}
