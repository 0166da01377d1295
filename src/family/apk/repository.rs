//! Reads a repository: its signed index.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use super::index::{self, Index};
use super::signature::Keys;
use crate::context::Context;
use crate::error::usage;
use crate::family::{dates, mirrors};
use crate::fetch::Fetcher;
use crate::hash::sha256;
use crate::plan::Repository;

/// An index file may be this large, in bytes; that of Alpine's community repository has 2 MB.
const MAX_INDEX: u64 = 64 << 20;
/// The index of version 2.
const INDEX: &str = "APKINDEX.tar.gz";
/// The index of version 3, which stands beside or instead of it.
const INDEX_3: &str = "Packages.adb";
/// Clocks differ by a little; a date this many seconds ahead is still no mistake.
const FUTURE_TOLERANCE: i64 = 10 * 60;

/// A repository whose index was read.
#[derive(Debug)]
pub struct Contents {
    /// SHA-256 of the index file.
    pub sha256: String,
    /// The index.
    pub index: Index,
}

/// Fetches and verifies a repository's index for an architecture. An index that cannot be had is an error, whatever
/// the other repositories have.
pub fn read(context: &Context, repository: &Repository, arch: &str) -> Result<Contents> {
    let doing = || format!("reading the repository '{}'", repository.name);
    check(repository).with_context(doing)?;
    let keys = keys(repository).with_context(doing)?;
    let read = |url: &str| read_once(&context.fetcher, repository, url, arch, keys.as_ref());
    mirrors::in_turn(context, &repository.name, &repository.build_urls, read).with_context(doing)
}

fn check(repository: &Repository) -> Result<()> {
    if !repository.suite.is_empty() || !repository.components.is_empty() {
        return Err(usage(
            "it has a suite or components, which Alpine's repositories have not: put them into the url, and give each \
             component a [[repository]] of its own",
        ));
    }
    if repository.priority.is_some() {
        return Err(usage("it has a priority, which apk does not know; give it a tag, or put it before the others"));
    }
    Ok(())
}

fn keys(repository: &Repository) -> Result<Option<Keys>> {
    if repository.trusted {
        return Ok(None);
    }
    if repository.keys.is_empty() {
        return Err(usage("it has no key to verify it with; give it one with key = \"FILE\""));
    }
    Keys::parse(&repository.keys).map(Some).map_err(|error| usage(format!("{error:#}")))
}

fn read_once(
    fetcher: &Fetcher,
    repository: &Repository,
    url: &str,
    arch: &str,
    keys: Option<&Keys>,
) -> Result<Contents> {
    let folder = format!("{}/{arch}", url.trim_end_matches('/'));
    let file = match fetcher.get(&format!("{folder}/{INDEX}"), MAX_INDEX) {
        Err(error)
            if mirrors::is_not_found(&error) && fetcher.get(&format!("{folder}/{INDEX_3}"), MAX_INDEX).is_ok() =>
        {
            bail!("{}", version_3(INDEX_3))
        }
        result => result.with_context(|| format!("fetching its {INDEX} for {arch}"))?,
    };
    if index::is_version_3(&file) {
        bail!("{}", version_3(INDEX));
    }
    let index = index::read(&file, keys).with_context(|| format!("verifying {INDEX}"))?;
    check_date(repository, index.date)?;
    Ok(Contents { sha256: sha256(&file), index })
}

fn version_3(name: &str) -> String {
    format!(
        "its index, {name}, is of version 3, which mkbase does not read, with --engine apk-tools neither; have the \
         repository publish an APKINDEX.tar.gz of packages of format 2 beside it (abuild makes them, apk index the \
         index)"
    )
}

fn check_date(repository: &Repository, date: i64) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    if date > i64::try_from(now)? + FUTURE_TOLERANCE {
        bail!("its index is from the future: made {}; set the clock of this machine", dates::show(date));
    }
    match repository.snapshot.filter(|moment| date > *moment) {
        Some(moment) => bail!(
            "its index is of {}, later than the snapshot of {}: the mirror does not keep snapshots; use another",
            dates::show(date),
            dates::show(moment)
        ),
        None => Ok(()),
    }
}
