//! Pacing of long work: a reader asks at short intervals whether it may continue.
//!
//! This crate knows no threads and no clock. The caller decides here when to pause and when to stop.

use std::{fmt, sync::Arc};

/// Asked between short pieces of work; it may block. `false` stops the work.
#[derive(Clone, Default)]
pub struct Pace(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Pace {
    /// Asks this function.
    #[must_use]
    pub fn of(proceed: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Self(Some(proceed))
    }

    /// Whether the work may continue. Without a function it always may.
    #[must_use]
    pub fn proceed(&self) -> bool {
        self.0.as_ref().is_none_or(|proceed| proceed())
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pace")
    }
}
