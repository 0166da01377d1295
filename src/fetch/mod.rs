//! Downloads: HTTP with retry and resume, into a content-addressed cache, and OpenPGP verification.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::interrupt;
use download::Batch;
use http::{Client, MAX_CONNECTIONS};
use store::{Entry, HalfFiles, Incoming, Store};

mod download;
mod http;
mod kept;
mod netrc;
pub mod openpgp;
mod proxy;
mod resolve;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod testserver;
pub mod tidy;
mod url;

pub use http::Settings;
pub use url::{public_url, relative_to_each};

/// Downloads wait for the network more than for a core: so many run at once, however few cores there are.
const MIN_THREADS: usize = 8;
/// A note in the cache has so many bytes at most.
const MAX_NOTE: u64 = 1 << 10;
/// How long a call that ends early waits for its downloads to notice.
const GRACE: Duration = Duration::from_millis(250);
/// How often a call looks for an interrupt while nothing arrives.
const TICK: Duration = Duration::from_millis(50);

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
    /// Offline, files are needed that the cache does not have.
    #[error(
        "without the network, and the cache lacks {}; fill it with 'mkbase fetch', with the same recipe and options",
        crate::ui::list(.missing)
    )]
    Offline {
        /// What they are called.
        missing: Vec<String>,
    },
    /// A server has another file than the one that the index describes: by size or by content.
    #[error("{message}")]
    Mismatch {
        /// What every address answered.
        message: String,
    },
}

/// Downloads files; clones share the connection pool and the cache.
#[derive(Debug, Clone)]
pub struct Fetcher {
    shared: Arc<Shared>,
    jobs: usize,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    store: Store,
}

impl Fetcher {
    /// A fetcher that keeps files below `cache`, for a program that runs `jobs` threads. Downloads run on a few
    /// threads more than that where it is small, since they hardly use a core.
    pub fn new(cache: &Path, jobs: usize) -> Result<Fetcher> {
        Fetcher::with_settings(cache, jobs, Settings::default())
    }

    /// The same with other time-outs and numbers of attempts.
    pub fn with_settings(cache: &Path, jobs: usize, settings: Settings) -> Result<Fetcher> {
        Fetcher::with_environment(cache, jobs, settings, |name| std::env::var(name).ok())
    }

    fn with_environment(
        cache: &Path,
        jobs: usize,
        settings: Settings,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Fetcher> {
        let shared = Shared { client: Client::new(settings, env)?, store: Store::new(cache)? };
        Ok(Fetcher { shared: Arc::new(shared), jobs })
    }

    /// A small file whose hash is not known yet (a signed index), at most `limit` bytes. Never from the cache.
    pub fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>> {
        let shared = Arc::clone(&self.shared);
        let url = url.to_owned();
        let work = move |_: usize, batch: &Batch, _: &dyn Fn(u64)| download::small(&shared.client, batch, &url, limit);
        let mut contents = supervise(1, vec![0], &|_| (), work)?;
        contents.pop().context("the download gave no result")
    }

    /// The same, and the cache keeps a copy for offline use. The caller must know by other means that it is right.
    pub fn get_kept(&self, url: &str, limit: u64) -> Result<Vec<u8>> {
        let store = &self.shared.store;
        if self.is_offline() && !is_local(url) {
            let missing = || FetchError::Offline { missing: vec![public_url(url)] }.into();
            return store.of_address(url, limit).ok_or_else(missing);
        }
        let content = self.get(url, limit)?;
        store.keep_address(url, &content)?;
        Ok(content)
    }

    /// The folder of the cache.
    pub fn cache(&self) -> &Path {
        self.shared.store.cache()
    }

    /// A note that [`Fetcher::note`] left in the cache under this key. Who reads it must be able to tell a damaged one.
    pub fn noted(&self, key: &str) -> Option<Vec<u8>> {
        self.shared.store.of_address(key, MAX_NOTE)
    }

    /// Leaves a short note in the cache.
    pub fn note(&self, key: &str, note: &[u8]) -> Result<()> {
        self.shared.store.keep_address(key, note)
    }

    /// A piece of an image that [`Fetcher::keep_piece`] left in the cache under this hash, at most `limit` bytes. Who reads
    /// it must be able to tell a wrong one.
    pub fn piece(&self, hash: &str, limit: u64) -> Option<Vec<u8>> {
        self.shared.store.piece(hash, limit)
    }

    /// Keeps a piece of an image in the cache, whose parts follow one another, under the hash of what it was made of.
    pub fn keep_piece(&self, hash: &str, parts: &[&[u8]]) -> Result<()> {
        self.shared.store.keep_piece(hash, parts)
    }

    /// Whether only the cache and `file:` addresses are read.
    pub fn is_offline(&self) -> bool {
        self.shared.client.settings.offline
    }

    /// The files whose entry in the cache was damaged, so that they were fetched again, since this was last asked.
    pub fn take_damaged(&self) -> impl Iterator<Item = String> {
        self.shared.store.take_damaged().into_iter()
    }

    /// A file of known hash: from the cache if it is there and intact, else downloaded and verified.
    pub fn fetch(&self, file: &Remote, progress: &(dyn Fn(u64) + Sync)) -> Result<PathBuf> {
        let mut paths = self.fetch_all(std::slice::from_ref(file), progress)?;
        paths.pop().context("the download gave no result")
    }

    /// A file of known hash, if the cache has it and it is intact. Nothing is downloaded.
    pub fn cached(&self, file: &Remote) -> Result<Option<PathBuf>> {
        self.shared.store.intact(file, &|| Ok(interrupt::check()?))
    }

    /// The same, to be read and checked in one go.
    pub fn open<'f>(&'f self, file: &'f Remote) -> Result<Option<Checking<'f>>> {
        let store = &self.shared.store;
        Ok(store.open(file)?.map(|entry| Checking { store, file, entry }))
    }

    /// Begins to put a file of known hash into the cache that is not downloaded but made here of one that was.
    pub fn keep<'f>(&'f self, file: &'f Remote) -> Result<Keeping<'f>> {
        let store = &self.shared.store;
        Ok(Keeping { store, file, incoming: store.begin(file, &HalfFiles::default())? })
    }

    /// Several files in parallel, in the order given. `progress` is told of bytes as they arrive (cached files: at
    /// once). The first failure stops the rest.
    pub fn fetch_all(&self, files: &[Remote], progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<PathBuf>> {
        // The largest first, so that none of them is left to run alone at the end.
        let mut order: Vec<usize> = (0..files.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(files[i].size));
        let threads = self.jobs.clamp(MIN_THREADS, MAX_CONNECTIONS);
        let shared = Arc::clone(&self.shared);
        let remotes: Arc<[Remote]> = files.into();
        let offline = self.is_offline();
        let work = move |i: usize, batch: &Batch, tell: &dyn Fn(u64)| {
            let file = &remotes[i];
            // Offline, the first file that is missing must not hide the others.
            if offline && !file.urls.iter().any(|url| is_local(url)) {
                let path = download::cached(&shared.store, batch, file, tell);
                return path.with_context(|| format!("reading {} from the cache", file.name));
            }
            let result = download::file(&shared.client, &shared.store, batch, file, tell);
            download::named(result, &file.name).map(Some)
        };
        let paths = supervise(threads, order, progress, work)?;
        if paths.iter().any(Option::is_none) {
            let damaged: Vec<String> = self.take_damaged().collect();
            let missing = files.iter().zip(&paths).filter(|(_, path)| path.is_none()).map(|(file, _)| {
                let why = if damaged.contains(&file.name) { " (it is damaged)" } else { "" };
                format!("{}{why}", file.name)
            });
            return Err(FetchError::Offline { missing: missing.collect() }.into());
        }
        Ok(paths.into_iter().flatten().collect())
    }
}

/// A file of the cache whose hash is found out while it is read. What was read of it counts for nothing until
/// [`Checking::is_intact`] says so.
#[derive(Debug)]
pub struct Checking<'f> {
    store: &'f Store,
    file: &'f Remote,
    entry: Entry,
}

impl Checking<'_> {
    /// Whether the whole file is the right one; what was not read yet is read for that.
    pub fn is_intact(self) -> bool {
        self.store.close(self.entry, self.file)
    }
}

impl std::io::Read for Checking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.entry.read(buffer)
    }
}

/// A file on its way into the cache. Nothing of it stays unless it is finished.
#[derive(Debug)]
pub struct Keeping<'f> {
    store: &'f Store,
    file: &'f Remote,
    incoming: Incoming,
}

impl Keeping<'_> {
    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.store.write(&mut self.incoming, bytes)
    }

    /// Puts it in its place. It is an error if its hash is another one.
    pub fn finish(self) -> Result<PathBuf> {
        if self.incoming.digest() != self.file.sha256 {
            bail!("{} does not match its SHA-256", self.file.name);
        }
        self.store.keep(self.incoming, &self.file.sha256)
    }
}

/// Whether an address is that of a file of this machine.
fn is_local(url: &str) -> bool {
    url.starts_with("file:")
}

enum Event<T> {
    Bytes(u64),
    Done(usize, Result<T>),
}

/// Does the pieces of work `0..order.len()`, begun in that order, on so many threads; the results are in order of
/// their numbers.
///
/// A thread may be held up in a system call until its time-out. So that an interrupt or a first failure ends the call
/// at once all the same, the threads are not waited for: this one leaves after a moment, and takes their half files
/// with it.
fn supervise<T: Send + 'static>(
    threads: usize,
    order: Vec<usize>,
    progress: &dyn Fn(u64),
    work: impl Fn(usize, &Batch, &dyn Fn(u64)) -> Result<T> + Send + Sync + 'static,
) -> Result<Vec<T>> {
    let batch = Arc::new(Batch::default());
    let mut results: Vec<Option<T>> = order.iter().map(|_| None).collect();
    let threads = threads.min(order.len());
    let shared = Arc::new((work, order, AtomicUsize::new(0)));
    let (sender, receiver) = mpsc::channel();
    for started in 0..threads {
        let (shared, batch, sender) = (Arc::clone(&shared), Arc::clone(&batch), sender.clone());
        let run = move || {
            let (work, order, next) = &*shared;
            while let Some(&i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                // Whoever listened is gone only after the batch was given up.
                let tell = |bytes| drop(sender.send(Event::Bytes(bytes)));
                let result = work(i, &batch, &tell);
                if sender.send(Event::Done(i, result)).is_err() || batch.check().is_err() {
                    break;
                }
            }
        };
        // Where no more threads can be had, those that run do all the work.
        match std::thread::Builder::new().name("download".into()).spawn(run) {
            Err(error) if started == 0 => return Err(error).context("starting a download thread"),
            Err(_) => break,
            Ok(_) => {}
        }
    }
    drop(sender);
    let failure = loop {
        if let Err(interrupted) = interrupt::check() {
            break interrupted.into();
        }
        match receiver.recv_timeout(TICK) {
            Ok(Event::Bytes(bytes)) => progress(bytes),
            Ok(Event::Done(i, Ok(value))) => results[i] = Some(value),
            Ok(Event::Done(_, Err(error))) => break error,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match results.into_iter().collect::<Option<Vec<T>>>() {
                Some(values) => return Ok(values),
                None => bail!("a download thread died"),
            },
        }
    };
    batch.cancelled.store(true, Ordering::Relaxed);
    let end = Instant::now() + GRACE;
    while receiver.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok() {}
    batch.halves.give_up();
    Err(failure)
}
