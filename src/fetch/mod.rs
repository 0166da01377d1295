//! Downloads: HTTP with retry and resume, into a content-addressed cache, and OpenPGP verification.

use std::path::{Path, PathBuf};

use anyhow::Result;

pub mod openpgp;

/// A file on a mirror whose hash is known from a signed index or a lock.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Where to try, in turn. May hold credentials, which no message shows.
    pub urls: Vec<String>,
    /// Its SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Its size in bytes, exact.
    pub size: u64,
    /// What to call it in messages: `bash 5.2-1 (amd64)`.
    pub name: String,
}

/// Why a file could not be had, where callers must tell cases apart.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server has no such file (404, 410, or an absent `file:` path).
    #[error("{url}: not found")]
    NotFound {
        /// The address, without credentials.
        url: String,
    },
}

/// Downloads files; clones share the connection pool and the cache.
#[derive(Debug, Clone)]
pub struct Fetcher {
    cache: PathBuf,
    jobs: usize,
}

impl Fetcher {
    /// A fetcher that keeps files below `cache` and runs at most `jobs` downloads at once.
    pub fn new(cache: &Path, jobs: usize) -> Result<Fetcher> {
        Ok(Fetcher { cache: cache.to_owned(), jobs })
    }

    /// A small file whose hash is not known yet (a signed index), at most `limit` bytes. Never from the cache.
    pub fn get(&self, _url: &str, _limit: u64) -> Result<Vec<u8>> {
        anyhow::bail!("{} {}", self.cache.display(), self.jobs)
    }

    /// A file of known hash: from the cache if it is there and intact, else downloaded and verified.
    pub fn fetch(&self, _file: &Remote, _progress: &(dyn Fn(u64) + Sync)) -> Result<PathBuf> {
        anyhow::bail!("")
    }

    /// Several files in parallel, in the order given. `progress` is told of bytes as they arrive (cached files: at
    /// once). The first failure stops the rest.
    pub fn fetch_all(&self, _files: &[Remote], _progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<PathBuf>> {
        anyhow::bail!("")
    }
}

/// An address as it may be shown: without user name and password.
pub fn public_url(url: &str) -> String {
    url.to_string()
}
