//! Reads a repository: its `repomd.xml`, verified where it is signed, and the files whose hashes that gives; and lays
//! them out as a repository of the local disk for dnf.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::mirrorlist;
use super::repofile;
use super::repomd::{Record, Repomd};
use crate::codec::Codec;
use crate::context::Context;
use crate::error::usage;
use crate::family::mirrors;
use crate::fetch::openpgp::Keyring;
use crate::fetch::{Fetcher, Remote};
use crate::hash::sha256;
use crate::lock::Previous;
use crate::plan::{Plan, Repository};

/// A `repomd.xml` may be this large, in bytes; the largest known has some ten thousand.
const MAX_REPOMD: u64 = 4 << 20;
/// A detached signature may be this large, in bytes.
const MAX_SIGNATURE: u64 = 1 << 20;
/// A file of metadata may be this large when it is unpacked, in bytes: dnf takes it in whole, and knows no limit.
const MAX_UNPACKED: u64 = 1 << 30;
/// The same for lists of files: those of Fedora have some eight hundred million bytes.
const MAX_FILE_LISTS: u64 = 4 << 30;

/// A repository whose metadata is on the local disk.
#[derive(Debug)]
pub struct Local {
    /// When it was made, in seconds since 1970.
    pub date: i64,
    /// SHA-256 of its `repomd.xml`.
    pub sha256: String,
    /// Where its packages are: the mirror that it was read from, then the others. May hold credentials.
    pub mirrors: Vec<String>,
}

/// Fetches the metadata of a repository and lays it out in `folder`, which is made.
pub fn read(
    context: &Context,
    plan: &Plan,
    repository: &Repository,
    previous: Option<&Previous>,
    folder: &Path,
) -> Result<Local> {
    let read = || -> Result<Local> {
        let mut mirrors = mirrors_of(context, plan, repository, previous)?;
        let (date, sha256, mirror) = mirrors::in_turn(context, &repository.name, &mirrors, |url| {
            let (date, sha256) = from_mirror(context, repository, url, folder)?;
            Ok((date, sha256, url.to_owned()))
        })?;
        to_front(&mut mirrors, &mirror);
        Ok(Local { date, sha256, mirrors })
    };
    read().with_context(|| format!("reading the repository '{}'", repository.name))
}

/// The build's mirrors, or else those that a list names.
fn mirrors_of(
    context: &Context,
    plan: &Plan,
    repository: &Repository,
    previous: Option<&Previous>,
) -> Result<Vec<String>> {
    let Some(list) = repository.list() else { return Ok(repository.build_urls.clone()) };
    let mut mirrors = mirrorlist::read(&context.fetcher, list, &repofile::known_variables(plan))?;
    // As long as the list has it, the lock stays with its mirror: a list may be in another order each time.
    let locked = previous.and_then(|previous| previous.lock.repositories.iter().find(|r| r.name == repository.name));
    if let Some(locked) = locked {
        to_front(&mut mirrors, &locked.url);
    }
    Ok(mirrors.iter().map(|mirror| list.with_credentials(mirror)).collect())
}

fn to_front(mirrors: &mut [String], mirror: &str) {
    if let Some(at) = mirrors.iter().position(|known| known == mirror) {
        mirrors[..=at].rotate_right(1);
    }
}

/// Gives the date of the metadata and the SHA-256 of its `repomd.xml`.
fn from_mirror(context: &Context, repository: &Repository, url: &str, folder: &Path) -> Result<(i64, String)> {
    let base = url.trim_end_matches('/');
    let bytes = signed_list(&context.fetcher, repository, base)?;
    let list = Repomd::parse(&String::from_utf8_lossy(&bytes)).context("its repomd.xml")?;
    let remotes: Vec<Remote> = list
        .records
        .iter()
        .map(|record| Remote {
            urls: vec![format!("{base}/{}", record.location)],
            sha256: record.sha256.clone(),
            size: record.size,
            name: format!("{} of '{}'", record.kind, repository.name),
        })
        .collect();
    let files = context.fetcher.fetch_all(&remotes, &|_| ())?;
    for (record, file) in list.records.iter().zip(&files) {
        check_unpacked(record, file).with_context(|| format!("its {}", record.location))?;
    }
    lay_out(&list, &files, folder).with_context(|| format!("laying it out in {}", folder.display()))?;
    Ok((list.date, sha256(&bytes)))
}

/// Refuses a file that is larger than it may be when it is unpacked, or damaged.
fn check_unpacked(record: &Record, file: &Path) -> Result<()> {
    if record.codec == Codec::None {
        return Ok(());
    }
    let limit = if record.kind == "filelists" { MAX_FILE_LISTS } else { MAX_UNPACKED };
    let file = File::open(file).context("opening it")?;
    let mut unpacked = record.codec.reader(BufReader::new(file), 1)?.take(limit + 1);
    let size = std::io::copy(&mut unpacked, &mut std::io::sink()).context("unpacking it")?;
    if size > limit {
        bail!("it has more than the {} MiB that it may have when it is unpacked", limit >> 20);
    }
    Ok(())
}

/// The `repomd.xml`, verified.
///
/// Most distributions sign their packages only. Where there is a signature of the list too it must be good; where the
/// recipe says that there is one, it must be there.
fn signed_list(fetcher: &Fetcher, repository: &Repository, base: &str) -> Result<Vec<u8>> {
    let list = fetcher.get(&format!("{base}/repodata/repomd.xml"), MAX_REPOMD)?;
    if repository.trusted || repository.signed_index == Some(false) {
        return Ok(list);
    }
    let signature = match fetcher.get(&format!("{base}/repodata/repomd.xml.asc"), MAX_SIGNATURE) {
        Ok(signature) => signature,
        Err(error) if mirrors::is_not_found(&error) && repository.signed_index.is_none() => return Ok(list),
        Err(error) => return Err(error.context("its repomd.xml is not signed, and the recipe says that it is")),
    };
    keyring(repository)?.verify_detached(&list, &signature).context("verifying repomd.xml against repomd.xml.asc")?;
    Ok(list)
}

/// The keys of a repository.
pub fn keyring(repository: &Repository) -> Result<Keyring> {
    if repository.keys.is_empty() {
        return Err(usage(format!(
            "the repository '{}' has no key to verify it with; give it one with key = \"FILE\"",
            repository.name
        )));
    }
    Keyring::parse(&repository.keys).map_err(|error| usage(format!("{error:#}")))
}

/// Copies, since the cache is not dnf's to read, and another build may tidy it meanwhile.
fn lay_out(list: &Repomd, files: &[PathBuf], folder: &Path) -> Result<()> {
    let repodata = folder.join("repodata");
    // A mirror before this one may have been left half read.
    if repodata.exists() {
        std::fs::remove_dir_all(&repodata)?;
    }
    std::fs::create_dir_all(&repodata)?;
    for (record, file) in list.records.iter().zip(files) {
        std::fs::copy(file, repodata.join(list.file_name(&record.kind)))?;
    }
    Ok(std::fs::write(repodata.join("repomd.xml"), list.to_xml())?)
}
