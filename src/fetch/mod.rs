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
use store::{HalfFiles, Incoming, Store};

mod download;
mod http;
pub mod openpgp;
mod proxy;
mod resolve;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod testserver;
mod url;

pub use http::Settings;
pub use url::public_url;

/// Downloads wait for the network more than for a core: so many run at once, however few cores there are.
const MIN_THREADS: usize = 8;
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

    /// A file of known hash: from the cache if it is there and intact, else downloaded and verified.
    pub fn fetch(&self, file: &Remote, progress: &(dyn Fn(u64) + Sync)) -> Result<PathBuf> {
        let mut paths = self.fetch_all(std::slice::from_ref(file), progress)?;
        paths.pop().context("the download gave no result")
    }

    /// A file of known hash, if the cache has it and it is intact. Nothing is downloaded.
    pub fn cached(&self, file: &Remote) -> Result<Option<PathBuf>> {
        self.shared.store.intact(file, &|| Ok(interrupt::check()?))
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
        let shared = Arc::clone(&self.shared);
        let files: Arc<[Remote]> = files.into();
        let work = move |i: usize, batch: &Batch, tell: &dyn Fn(u64)| {
            let result = download::file(&shared.client, &shared.store, batch, &files[i], tell);
            download::named(result, &files[i].name)
        };
        supervise(self.jobs.clamp(MIN_THREADS, MAX_CONNECTIONS), order, progress, work)
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
