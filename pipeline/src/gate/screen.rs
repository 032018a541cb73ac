//! What becomes of pictures that come out of a decoder whose input is chosen.

use std::sync::LazyLock;

/// Lets pictures pass, holds one that is looked at first, and leaves out those shown already.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// What comes out is held.
    pub(super) is_holding: bool,
    pub(super) held: Vec<gst::Buffer>,
    /// The decoder is empty: pictures shown before the next keyframe refer to what it has forgotten.
    pub(super) is_drained: bool,
    /// What comes out is our own doing.
    pub(super) is_showing: bool,
    /// Pictures before this time are not shown, until one comes that is not.
    from: Option<gst::ClockTime>,
    /// The picture shown last, while only keyframes are.
    standing: Option<gst::Buffer>,
}

/// Marks the time that a picture is shown at: decoders give out no time earlier than one they gave out
/// before, and instead of it the latter.
static SHOWN_AT: LazyLock<gst::Caps> =
    LazyLock::new(|| gst::Caps::new_empty_simple("timestamp/x-footage-shown"));

/// Writes on a compressed picture when it is shown. Decoders copy that to what they make of it.
pub(super) fn mark(picture: &mut gst::Buffer) {
    if let Some(pts) = picture.pts() {
        let picture = picture.make_mut();
        gst::ReferenceTimestampMeta::add(picture, &SHOWN_AT, pts, gst::ClockTime::NONE);
    }
}

/// Gives a decoded picture the time that was written on it, if there is one.
pub(super) fn restore(picture: &mut gst::Buffer) {
    let shown_at = picture
        .iter_meta::<gst::ReferenceTimestampMeta>()
        .find(|meta| meta.reference() == SHOWN_AT.as_ref())
        .map(|meta| meta.timestamp());
    if shown_at.is_some() && shown_at != picture.pts() {
        picture.make_mut().set_pts(shown_at);
    }
}

impl Screen {
    /// A picture goes into the decoder, which was shown before or was not.
    pub(super) fn expect(&mut self, picture: &gst::BufferRef, was_shown: bool) {
        if std::mem::take(&mut self.is_drained) {
            let after = gst::ClockTime::from_nseconds(u64::from(was_shown));
            self.from = picture.pts().map(|pts| pts + after);
        }
        if was_shown {
            self.standing = None;
        }
    }

    /// Whether a picture that comes out of the decoder is shown now.
    pub(super) fn admits(&mut self, picture: &gst::BufferRef) -> bool {
        if self.is_holding || self.from.zip(picture.pts()).is_some_and(|(from, pts)| pts < from) {
            return false;
        }
        self.from = None;
        true
    }

    /// What was held, to be shown.
    pub(super) fn take_held(&mut self) -> Vec<gst::Buffer> {
        self.standing = self.held.last().cloned();
        std::mem::take(&mut self.held)
    }

    /// The picture shown last once more, at a later time.
    pub(super) fn standing_at(&self, time: gst::ClockTime) -> Option<gst::Buffer> {
        let mut again = self.standing.clone()?;
        let fields = again.make_mut();
        fields.set_pts(time);
        fields.unset_flags(gst::BufferFlags::DISCONT);
        Some(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(ms: u64) -> gst::Buffer {
        gst::init().unwrap();
        let mut picture = gst::Buffer::new();
        picture.make_mut().set_pts(gst::ClockTime::from_mseconds(ms));
        picture
    }

    #[test]
    fn a_keyframe_shown_before_and_what_precedes_it_stay_hidden() {
        let mut screen = Screen { is_drained: true, ..Screen::default() };
        screen.expect(&picture(100), true);
        let shown = [60, 100, 140, 120].map(|ms| screen.admits(&picture(ms)));
        assert_eq!(shown, [false, false, true, true]);
    }

    #[test]
    fn a_keyframe_not_shown_yet_is_and_what_refers_to_the_forgotten_is_not() {
        let mut screen = Screen { is_drained: true, ..Screen::default() };
        screen.expect(&picture(100), false);
        assert_eq!([60, 100].map(|ms| screen.admits(&picture(ms))), [false, true]);
        screen.expect(&picture(40), false);
        assert!(screen.admits(&picture(40)), "a decoder that was not emptied gives what it likes");
    }

    #[test]
    fn a_marked_picture_gets_its_time_back() {
        let mut marked = picture(100);
        mark(&mut marked);
        marked.make_mut().set_pts(gst::ClockTime::SECOND);
        restore(&mut marked);
        assert_eq!(marked.pts(), Some(gst::ClockTime::from_mseconds(100)));
        let mut unmarked = picture(200);
        restore(&mut unmarked);
        assert_eq!(unmarked.pts(), Some(gst::ClockTime::from_mseconds(200)));
    }

    #[test]
    fn the_picture_shown_last_stands_later_in_the_same_memory() {
        let mut screen = Screen { held: vec![picture(100)], ..Screen::default() };
        assert!(screen.standing_at(gst::ClockTime::SECOND).is_none());
        assert_eq!(screen.take_held().len(), 1);
        let again = screen.standing_at(gst::ClockTime::SECOND).unwrap();
        assert_eq!(again.pts(), Some(gst::ClockTime::SECOND));
    }
}
