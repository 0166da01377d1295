//! SIGINT, SIGTERM and SIGHUP: the stages look here between one thing and the next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Exit, Interrupted};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How long a stage may take to notice. After that the process ends at once, and the janitor cleans up.
const GRACE: Duration = Duration::from_secs(3);
/// How long this process may take to notice a signal that a command has died of already.
const DELAY: Duration = Duration::from_millis(100);

/// An [`Interrupted`] error once a signal came. Long loops call it at every turn.
pub fn check() -> Result<(), Interrupted> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
}

/// The same for who has seen a command fail: a terminal sends its signal to every process, and the command may be gone
/// before this process has noticed.
pub fn check_soon() -> Result<(), Interrupted> {
    let end = Instant::now() + DELAY;
    while Instant::now() < end {
        check()?;
        std::thread::sleep(DELAY / 10);
    }
    check()
}

/// Begins to listen for signals. The first one asks the stages to stop; a second one, or a stage that does not
/// notice, ends the process.
pub fn listen() -> Result<()> {
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("listening for signals")?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                if INTERRUPTED.swap(true, Ordering::Relaxed) {
                    std::process::exit(Exit::Interrupted as i32);
                }
                std::thread::spawn(|| {
                    std::thread::sleep(GRACE);
                    std::process::exit(Exit::Interrupted as i32);
                });
            }
        })
        .context("starting the thread that listens for signals")?;
    Ok(())
}
