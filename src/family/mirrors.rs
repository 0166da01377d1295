//! The mirrors of a repository, and what becomes of its age.

use anyhow::{Error, Result, bail};

use crate::context::Context;
use crate::error::{Interrupted, Usage};
use crate::fetch::{FetchError, public_url};
use crate::lock::Previous;
use crate::plan::{Plan, Repository};

/// Asks the mirrors in turn until one has everything, and all of it right.
pub fn in_turn<T>(context: &Context, repository: &Repository, read: impl Fn(&str) -> Result<T>) -> Result<T> {
    let mut reasons: Vec<String> = Vec::new();
    let mut mirrors = repository.build_urls.iter().peekable();
    while let Some(url) = mirrors.next() {
        let error = match read(url) {
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

/// A time in seconds since 1970, for people.
pub fn show_date(time: i64) -> String {
    jiff::Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string())
}
