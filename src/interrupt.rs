//! SIGINT and SIGTERM: the stages look here between one thing and the next.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Interrupted;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// An [`Interrupted`] error once a signal came. Long loops call it at every turn.
pub fn check() -> Result<(), Interrupted> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
}
