//! The dates of repositories: what the image's time comes from, and what must not go back.

use anyhow::{Context as _, Result, bail};

use crate::lock::{LockedRepository, Previous};
use crate::plan::Plan;

/// The time of an image in seconds since 1970: the newest date of its repositories, if the environment says nothing
/// else.
pub fn epoch(plan: &Plan, repositories: &[LockedRepository]) -> Result<i64> {
    let newest = repositories.iter().map(|repository| repository.date).max().filter(|date| *date > 0);
    plan.epoch.or(newest).context("no repository has a date, so the image's files have none: set SOURCE_DATE_EPOCH")
}

/// Refuses a repository whose index is older than the one in the lock: somebody may be keeping updates away. `found` is
/// what the repositories say now.
pub fn refuse_rollback(found: &[LockedRepository], previous: &Previous) -> Result<()> {
    for repository in found {
        let known = previous.lock.repositories.iter().find(|locked| {
            // The mirror that a list led to may be another one each time.
            (&locked.name, locked.source(), &locked.suite) == (&repository.name, repository.source(), &repository.suite)
        });
        let Some(known) = known.filter(|known| repository.date < known.date) else { continue };
        if !previous.allow_rollback {
            bail!(
                "the index of the repository '{}' is of {}, and the lock has seen one of {}: the mirror is behind, or \
                 somebody keeps updates away; use another mirror, or take it with --allow-rollback",
                repository.name,
                show(repository.date),
                show(known.date)
            );
        }
    }
    Ok(())
}

/// A time in seconds since 1970, for people.
pub fn show(time: i64) -> String {
    jiff::Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string())
}
