//! The mirrors of a repository, and what becomes of its age.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, bail};

use crate::context::Context;
use crate::error::{Interrupted, Usage};
use crate::fetch::{FetchError, public_url};
use crate::interrupt;
use crate::lock::{LockedRepository, Previous};
use crate::plan::{Plan, Repository};

/// A mirror that is being updated gets this long, in turn, before its index is read again. Longer updates are left to
/// other mirrors and to whoever starts the build again.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1500)];
/// How often a pause looks whether it is still wanted.
const TICK: Duration = Duration::from_millis(50);

/// Asks the mirrors in turn until one has everything, and all of it right.
pub fn in_turn<T>(context: &Context, repository: &Repository, read: impl Fn(&str) -> Result<T>) -> Result<T> {
    let mut reasons: Vec<String> = Vec::new();
    let mut mirrors = repository.build_urls.iter().peekable();
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
            context.ui.warn(format!("repository '{}': {reason}; going on with the next mirror", repository.name));
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

/// Refuses a repository whose index is older than the one in the lock: somebody may be keeping updates away. `dates`
/// are those of the plan's repositories, in seconds since 1970.
pub fn refuse_rollback(plan: &Plan, dates: impl IntoIterator<Item = i64>, previous: &Previous) -> Result<()> {
    for (repository, date) in plan.repositories.iter().zip(dates) {
        let known = previous.lock.repositories.iter().find(|locked| {
            (&locked.name, &locked.url, &locked.suite) == (&repository.name, &repository.url, &repository.suite)
        });
        let Some(known) = known.filter(|known| date < known.date) else { continue };
        if !previous.allow_rollback {
            bail!(
                "the index of the repository '{}' is of {}, and the lock has seen one of {}: the mirror is behind, or \
                 somebody keeps updates away; use another mirror, or take it with --allow-rollback",
                repository.name,
                show_date(date),
                show_date(known.date)
            );
        }
    }
    Ok(())
}

/// The time of an image in seconds since 1970: the newest date of its repositories, if the environment says nothing
/// else.
pub fn epoch(plan: &Plan, repositories: &[LockedRepository]) -> Result<i64> {
    let newest = repositories.iter().map(|repository| repository.date).max().filter(|date| *date > 0);
    plan.epoch.or(newest).context("no repository has a date, so the image's files have none: set SOURCE_DATE_EPOCH")
}

/// A time in seconds since 1970, for people.
pub fn show_date(time: i64) -> String {
    jiff::Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string())
}
