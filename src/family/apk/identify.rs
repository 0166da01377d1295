//! The hashes of package files. An index of version 2 names only the control member of a package; what the lock pins is
//! the whole file, so that it must have been here once. Its hash is noted in the cache, so that it is needed once only.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::info::Info;
use super::package::Package;
use crate::context::Context;
use crate::family::mirrors;
use crate::fetch::Remote;
use crate::hash::sha256;
use crate::lock::{LockedPackage, Previous};
use crate::plan::Repository;

/// A package file may be this large, in bytes, to be taken into memory.
const MAX_PACKAGE: u64 = 2 << 30;

/// The path of a package below its repository.
pub fn path(info: &Info, arch: &str) -> String {
    format!("{arch}/{}-{}.apk", info.name, info.version)
}

/// SHA-256 of a package file of a repository, whose signed index says `info`.
pub fn identify(
    context: &Context,
    repository: &Repository,
    info: &Info,
    path: &str,
    previous: Option<&Previous>,
) -> Result<String> {
    let is_it = |known: &&LockedPackage| {
        (known.repository.as_str(), known.path.as_str()) == (&repository.name, path)
            && (known.checksum.as_str(), known.size) == (&info.checksum, info.size)
    };
    if let Some(known) = previous.and_then(|previous| previous.lock.packages.iter().find(is_it)) {
        return Ok(known.sha256.clone());
    }
    let key = format!("apk {}/{path} {} {}", repository.url, info.checksum, info.size);
    if let Some(known) = context.fetcher.noted(&key).and_then(|note| read_note(&key, &note)) {
        return Ok(known);
    }
    let found =
        mirrors::in_turn(context, &repository.name, &repository.build_urls, |url| fetch(context, url, info, path));
    let found = found.with_context(|| {
        format!("fetching {} {} from the repository '{}'", info.name, info.version, repository.name)
    })?;
    context.fetcher.note(&key, write_note(&key, &found).as_bytes())?;
    Ok(found)
}

/// Fetches a package file into the cache and checks that it is the one that the index means.
fn fetch(context: &Context, url: &str, info: &Info, path: &str) -> Result<String> {
    if info.size > MAX_PACKAGE {
        bail!("it has {} bytes, more than is believed", info.size);
    }
    let url = format!("{}/{path}", url.trim_end_matches('/'));
    let file = context.fetcher.get(&url, info.size)?;
    if file.len() as u64 != info.size {
        bail!("it has {} bytes, and the index says {}: the mirror is out of step", file.len(), info.size);
    }
    let remote = Remote { urls: vec![url], sha256: sha256(&file), size: info.size, name: info.name.clone() };
    let mut keeping = context.fetcher.keep(&remote)?;
    keeping.write(&file)?;
    drop(file);
    verify(&keeping.finish()?, info)?;
    Ok(remote.sha256)
}

/// Checks that a package file is the one that the index means: the index names its control member, and that its data.
fn verify(file: &Path, info: &Info) -> Result<()> {
    let package = Package::open(file)?;
    is_same(&package.info, info)?;
    package.verify_data()
}

/// Checks that a package is the one that the index or the lock means.
pub fn is_same(found: &Info, wanted: &Info) -> Result<()> {
    if found.checksum != wanted.checksum {
        bail!(
            "its control member has the checksum {}, and the index says {}: the mirror is out of step, or it was \
             changed on the way",
            found.checksum,
            wanted.checksum
        );
    }
    if (&found.name, &found.version) != (&wanted.name, &wanted.version) {
        bail!("it is {} {}, and the index calls it {} {}", found.name, found.version, wanted.name, wanted.version);
    }
    Ok(())
}

/// A hash, and one over it and what it is of: disks forget, and nothing else would tell.
fn write_note(key: &str, hash: &str) -> String {
    format!("{hash} {}\n", sha256(format!("{key} {hash}")))
}

fn read_note(key: &str, note: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(note).ok()?;
    let (hash, _) = text.split_once(' ')?;
    (write_note(key, hash) == text).then(|| hash.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_notes_are_forgotten() {
        let hash = "ab".repeat(32);
        let note = write_note("key", &hash);
        assert_eq!(read_note("key", note.as_bytes()), Some(hash));
        for bad in [note.replace('a', "b"), note.replacen('a', "b", 1), String::new(), "x".into(), " ".into()] {
            assert_eq!(read_note("key", bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(read_note("other", note.as_bytes()), None);
    }
}
