//! The mirrors of a repository.

use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};

use crate::context::Context;
use crate::error::{Interrupted, Usage};
use crate::fetch::{FetchError, public_url};
use crate::interrupt;

/// A mirror that is being updated gets this long, in turn, before its index is read again. Longer updates are left to
/// other mirrors and to whoever starts the build again.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1500)];
/// How often a pause looks whether it is still wanted.
const TICK: Duration = Duration::from_millis(50);

/// Asks the mirrors of a repository in turn until one has everything, and all of it right. `name` is the repository's.
pub fn in_turn<T>(context: &Context, name: &str, mirrors: &[String], read: impl Fn(&str) -> Result<T>) -> Result<T> {
    let mut reasons: Vec<String> = Vec::new();
    let mut mirrors = mirrors.iter().peekable();
    while let Some(url) = mirrors.next() {
        let error = match patiently(context, url, &read) {
            // What the recipe has wrong, every mirror answers alike.
            Err(error) if !error.is::<Usage>() && !error.is::<Interrupted>() => error,
            result => return result,
        };
        if mirrors.peek().is_none() && reasons.is_empty() {
            return Err(error);
        }
        let reason = format!("{}: {error:#}", public_url(url));
        if mirrors.peek().is_some() {
            context.ui.warn(format!("repository '{name}': {reason}; going on with the next mirror"));
        }
        reasons.push(reason);
    }
    bail!("none of its {} mirrors has it: {}", reasons.len(), reasons.join("; "))
}

/// Asks one mirror, more than once where its files do not fit together: that passes when it is being updated.
fn patiently<T>(context: &Context, url: &str, read: impl Fn(&str) -> Result<T>) -> Result<T> {
    let mut pauses = PAUSES.into_iter();
    loop {
        match read(url) {
            Err(error) if is_out_of_step(&error) => match pauses.next() {
                Some(time) => {
                    context.ui.detail(format_args!("{error:#}; reading {} again", public_url(url)));
                    pause(time)?;
                }
                None => return Err(error),
            },
            result => return result,
        }
    }
}

fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        interrupt::check()?;
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// Whether a file is not the one that the signed index lists.
fn is_out_of_step(error: &Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(FetchError::Mismatch { .. })))
}

/// Whether a server said that it has no such file.
pub fn is_not_found(error: &Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(FetchError::NotFound { .. })))
}
