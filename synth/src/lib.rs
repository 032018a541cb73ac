//! A small world with known truth: labelled footage, rendered.
//!
//! Named things (the pictures of an emoji font, and coloured shapes) move in painted places in
//! front of a camera with flaws. [`World`] gives labelled pictures and clips to train on,
//! [`render_collection`] writes video files with their truth beside them.
//! Everything follows from its seed.

mod actor;
mod camera;
mod captions;
mod casting;
mod collection;
mod error;
mod film;
mod interview;
mod labels;
mod motion;
mod noise;
mod phrases;
mod plan;
mod questions;
mod reel;
mod scene;
mod split;
mod sprites;
mod truth;
mod view;
mod vigil;
mod vocabulary;
mod world;

pub use actor::Size;
pub use collection::{Collection, Rendered, render_collection};
pub use error::SynthError;
pub use film::{Film, write_video};
pub use interview::{NOT_OF_THE_WORLD, NOT_SHOWN};
pub use labels::{LabelledClip, LabelledImage, PlacedObject};
pub use motion::Motion;
pub use plan::{Relation, Side};
pub use questions::{Question, QuestionKind};
pub use reel::Reel;
pub use scene::Scene;
pub use split::Split;
pub use truth::{Event, Onlooker, Scenery, TrackPoint, Truth, TruthObject};
pub use view::{Bounds, Fit, View};
pub use vigil::Vigil;
pub use vocabulary::{Look, Shape, Thing, ThingId, Tint, Vocabulary, class_phrase};
pub use world::{Counterpart, World};
