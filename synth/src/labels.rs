//! What is known of a rendered picture or clip.

use crate::motion::Motion;
use crate::plan::Relation;
use crate::questions::Question;
use crate::scene::Scene;
use crate::view::Bounds;

/// A thing that a picture or a clip's caption tells of.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedObject {
    /// Its name in the [`crate::Vocabulary`].
    pub name: String,
    /// Its category, such as "animal".
    pub category: String,
    /// The colour it was drawn in, for a shape.
    pub colour: Option<&'static str>,
    /// What it does; [`Motion::Still`] in a picture.
    pub motion: Motion,
    /// Where it is in each frame as rendered, clipped; none while it is not to be seen. One entry
    /// per frame of a clip, one for a picture.
    pub boxes: Vec<Option<Bounds>>,
}

/// A picture with what is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledImage {
    /// Rows of RGB, 3 x width x height bytes.
    pub rgb: Vec<u8>,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// One caption.
    pub caption: String,
    /// Where it is.
    pub scene: Scene,
    /// How its objects belong together.
    pub relation: Relation,
    /// The objects it tells of, in the order of the caption.
    pub objects: Vec<PlacedObject>,
    /// What may be asked about it, with answers.
    pub questions: Vec<Question>,
}

/// A clip with what happens in it.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledClip {
    /// Rows of RGB, 3 x width x height bytes each.
    pub frames: Vec<Vec<u8>>,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// One to four different captions, from rich to short.
    pub captions: Vec<String>,
    /// Where it is.
    pub scene: Scene,
    /// How its objects belong together.
    pub relation: Relation,
    /// The objects it tells of, in the order of the captions.
    pub objects: Vec<PlacedObject>,
    /// What may be asked about it, with answers.
    pub questions: Vec<Question>,
    /// Seconds of the event, counted from the clip's first frame; the first is negative where
    /// the event began before the clip.
    pub event_span: (f32, f32),
}
