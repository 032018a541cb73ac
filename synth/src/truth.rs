//! What is known of a rendered video, as it is written beside it.

use serde::{Deserialize, Serialize};

use crate::actor::Size;
use crate::motion::Motion;
use crate::plan::Relation;
use crate::questions::Question;
use crate::split::Split;
use crate::view::Bounds;

/// The truth about one video. Times are seconds from its first frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Of this format: 1.
    pub version: u32,
    /// What the video was drawn from.
    pub seed: u64,
    /// From which side of the split its combinations and captions are.
    pub split: Split,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Frames per second.
    pub fps: u32,
    /// Length.
    pub seconds: f64,
    /// The places, one after the other, without gaps.
    pub scenery: Vec<Scenery>,
    /// What happens, in order of time; between events there is nothing to tell.
    pub events: Vec<Event>,
}

/// A stretch of the video that shows one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenery {
    /// Begin.
    pub from: f64,
    /// End.
    pub to: f64,
    /// Name of the place.
    pub scene: String,
    /// Small things that stand about all the time and that no caption tells of.
    pub onlookers: Vec<Onlooker>,
}

/// A distractor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Onlooker {
    /// Its name.
    pub name: String,
    /// Where it stands, in fractions of the frame: left, top, right, bottom.
    #[serde(rename = "box")]
    pub bounds: Bounds,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Begin.
    pub from: f64,
    /// End.
    pub to: f64,
    /// How its objects belong together.
    pub relation: Relation,
    /// Name of the place.
    pub scene: String,
    /// Captions that are true of it, from rich to short.
    pub captions: Vec<String>,
    /// The objects, in the order in which captions name them.
    pub objects: Vec<TruthObject>,
    /// The combinations it shows, by which the split is made.
    pub combinations: Vec<String>,
    /// Questions, each with its answer.
    pub questions: Vec<Question>,
}

/// An object that takes part in an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TruthObject {
    /// Its name in the vocabulary.
    pub name: String,
    /// Its category, such as "animal".
    pub category: String,
    /// How large it is for its frame.
    pub size: Size,
    /// Its colour, where one word says it.
    pub colour: Option<String>,
    /// What it does.
    pub motion: Motion,
    /// Where that leads: "left", "right", "up", "down", "towards the camera", "away from the
    /// camera"; none for motions that lead nowhere.
    pub direction: Option<String>,
    /// From when on it is there.
    pub from: f64,
    /// Until when.
    pub to: f64,
    /// Where it is, four times a second while a part of it is in the frame.
    pub track: Vec<TrackPoint>,
}

/// Where an object is at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrackPoint {
    /// When.
    pub at: f64,
    /// The part of it in the frame, in fractions of the frame: left, top, right, bottom.
    #[serde(rename = "box")]
    pub bounds: Bounds,
}

impl Truth {
    /// As it is written: indented JSON with a newline at the end. The same seed and settings give
    /// the same bytes.
    ///
    /// # Errors
    /// None that a truth made by [`crate::Reel`] can cause; the serializer's otherwise.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}
