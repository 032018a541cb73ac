//! Asking work to stop.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells everything that holds a copy of it to stop, once and for good.
///
/// Whoever works looks at it between two steps and ends as if its input had ended, so that what was
/// begun is still drained.
#[derive(Clone, Debug)]
pub struct Cancel {
    asked: Arc<watch::Sender<bool>>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self { asked: Arc::new(watch::Sender::new(false)) }
    }
}

impl Cancel {
    /// Asks to stop. Asking again changes nothing.
    pub fn cancel(&self) {
        self.asked.send_replace(true);
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        *self.asked.borrow()
    }

    /// Resolves once somebody has asked.
    pub async fn cancelled(&self) {
        // It can only fail once the sender is gone, and `self` holds it.
        drop(self.asked.subscribe().wait_for(|asked| *asked).await);
    }
}
