//! What clips are called between elements.

use footage_clip::WindowSpec;

use crate::rate::{least_rate, most_rate};

/// Media type of clips. Its caps have `length`, `stride` and `rate`, and every field of the frames'
/// caps but the framerate.
pub const CLIP_MEDIA_TYPE: &str = "video/x-footage-clip";

const RAW_MEDIA_TYPE: &str = "video/x-raw";

/// Raw video wherever its memory lies: frames pass by reference and are never looked into.
pub(crate) fn any_raw_video() -> gst::Caps {
    gst::Caps::builder(RAW_MEDIA_TYPE).any_features().build()
}

pub(crate) fn any_clips() -> gst::Caps {
    gst::Caps::builder(CLIP_MEDIA_TYPE)
        .any_features()
        .field("length", gst::IntRange::new(1, 1024))
        .field("stride", gst::IntRange::new(1, 1024))
        .field("rate", gst::FractionRange::new(least_rate(), most_rate()))
        .build()
}

/// Caps of the clips that `spec` cuts from frames of these caps.
pub(crate) fn clip_caps(frames: &gst::CapsRef, spec: &WindowSpec) -> gst::Caps {
    renamed(frames, RAW_MEDIA_TYPE, CLIP_MEDIA_TYPE, |fields| {
        fields.remove_fields(["framerate", "max-framerate"]);
        fields.set("length", field(spec.length()));
        fields.set("stride", field(spec.stride()));
        fields.set("rate", rate_field(spec));
    })
}

/// Caps of the frames from which `spec` cuts clips of these caps; empty if it cannot.
pub(crate) fn frame_caps(clips: &gst::CapsRef, spec: &WindowSpec) -> gst::Caps {
    let cut_so = gst::Caps::builder(CLIP_MEDIA_TYPE)
        .any_features()
        .field("length", field(spec.length()))
        .field("stride", field(spec.stride()))
        .field("rate", rate_field(spec))
        .build();
    renamed(&clips.intersect(&cut_so), CLIP_MEDIA_TYPE, RAW_MEDIA_TYPE, |fields| {
        fields.remove_fields(["length", "stride", "rate"]);
    })
}

fn rate_field(spec: &WindowSpec) -> gst::Fraction {
    gst::Fraction::new(field(spec.rate().num()), field(spec.rate().den()))
}

/// Lengths are at most 1024, and the numbers of a rate fit a `GstFraction`.
fn field(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

fn renamed(
    caps: &gst::CapsRef,
    from: &str,
    to: &str,
    edit: impl Fn(&mut gst::StructureRef),
) -> gst::Caps {
    let mut result = gst::Caps::new_empty();
    for (fields, features) in caps.iter_with_features().filter(|(f, _)| f.name() == from) {
        let mut fields = fields.to_owned();
        fields.set_name(to);
        edit(&mut fields);
        result.make_mut().append_structure_full(fields, Some(features.to_owned()));
    }
    result
}
