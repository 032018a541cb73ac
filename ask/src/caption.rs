//! What a stretch of footage shows, in words that it can be found by.

use footage_clip::{Caption, RgbFrame, TimedFrame};

use crate::{Answering, AskError, Conversation};

/// Said to whoever describes. Nothing of the footage is among these words: no caption made before, no
/// name, nothing that was read in a picture.
const ASKED: &str = "Describe in one or two plain English sentences what is seen: who and what, what \
    it looks like, where it is, what happens and which way it moves. Name only what the frames show.";

impl Answering {
    /// Describes frames in order of time. What is said is data, whatever it says: it is kept as one
    /// line of bounded length, and told to nobody but people.
    ///
    /// # Panics
    /// Outside of a runtime of several threads.
    pub async fn caption(&self, frames: &[TimedFrame<RgbFrame>]) -> Result<Caption, AskError> {
        let about = || Conversation::about(self.clone(), frames);
        let mut conversation = tokio::task::block_in_place(about)?;
        let reply = conversation.ask(ASKED, &mut |_| ()).await?;
        Caption::try_new(&reply.text).map_err(|_| AskError::NoCaption { model: reply.model })
    }
}
