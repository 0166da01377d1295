//! The mirrors of a repository.

use anyhow::{Error, Result, bail};

use crate::context::Context;
use crate::error::{Interrupted, Usage};
use crate::fetch::{FetchError, public_url};
use crate::plan::Repository;

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
