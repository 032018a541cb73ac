//! A small world with known truth: labelled footage, rendered.
//!
//! Named things (the pictures of an emoji font, and coloured shapes) move in painted places in
//! front of a camera with flaws. [`World`] gives labelled pictures and clips to train on.
//! Everything follows from its seed.

mod camera;
mod captions;
mod error;
mod motion;
mod noise;
mod phrases;
mod plan;
mod scene;
mod split;
mod sprites;
mod view;
mod vocabulary;
mod world;

pub use error::SynthError;
pub use motion::Motion;
pub use plan::{Relation, Side, Size};
pub use scene::Scene;
pub use split::Split;
pub use view::{Bounds, Fit, View};
pub use vocabulary::{Look, Shape, Thing, ThingId, Tint, Vocabulary, class_phrase};
pub use world::{Counterpart, LabelledClip, LabelledImage, PlacedObject, World};
