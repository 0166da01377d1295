//! One file from its addresses: attempts, pauses, resuming, and the check of what came.

use std::hash::{BuildHasher as _, RandomState};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::http::{Client, Failure};
use super::store::{CHUNK, HalfFiles, Incoming, Store};
use super::url::public_url;
use super::{FetchError, Remote};
use crate::interrupt;

/// An attempt that brought this many bytes shows that the address works: the count of attempts begins anew.
const PROGRESS: u64 = 1 << 20;
/// How often a pause looks whether it is still wanted.
const TICK: Duration = Duration::from_millis(50);
/// A server that says itself that its file is shorter than expected is asked so many times: a proxy on the way may have
/// kept half an answer, but mostly it is another file.
const MISMATCHES: u32 = 2;

/// What the downloads of one call share.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Set when the others are to stop.
    pub cancelled: AtomicBool,
    /// Files that are not complete.
    pub halves: HalfFiles,
}

impl Batch {
    /// An error once the work is not wanted any more.
    pub fn check(&self) -> Result<()> {
        interrupt::check()?;
        if self.cancelled.load(Ordering::Relaxed) {
            bail!("another download failed");
        }
        Ok(())
    }

    fn pause(&self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            self.check().map_err(Failure::Fatal)?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(TICK));
        }
    }
}

/// A file, if the store has it.
pub(super) fn cached(store: &Store, batch: &Batch, file: &Remote, progress: &dyn Fn(u64)) -> Result<Option<PathBuf>> {
    let found = store.intact(file, &|| batch.check())?;
    if found.is_some() {
        progress(file.size);
    }
    Ok(found)
}

/// A file, from the store or from the first of its addresses that has it.
pub(super) fn file(
    client: &Client,
    store: &Store,
    batch: &Batch,
    file: &Remote,
    progress: &dyn Fn(u64),
) -> Result<PathBuf> {
    if let Some(path) = cached(store, batch, file, progress)? {
        return Ok(path);
    }
    if file.urls.is_empty() {
        bail!("it is not in the cache, and no address is known for it");
    }
    let mut incoming = store.begin(file, &batch.halves)?;
    // What was told before is not told again when a download begins anew.
    let mut told = 0;
    let mut tell = |position: u64| {
        if position > told {
            progress(position - told);
            told = position;
        }
    };
    let mut failures = Vec::new();
    for url in &file.urls {
        let attempt = || {
            part(client, store, batch, file, url, &mut incoming, &mut tell)?;
            if incoming.digest() == file.sha256 {
                return Ok(());
            }
            let shown = public_url(url);
            let resumed = incoming.resumed;
            store.restart(&mut incoming).map_err(Failure::Fatal)?;
            if resumed {
                Err(Failure::StartOver(anyhow!("{shown}: what was put together from several answers does not match")))
            } else {
                Err(mismatch(format!(
                    "{shown}: the content does not match its SHA-256 in the index; the mirror is damaged or was \
                     changed: use another one"
                )))
            }
        };
        match persist(client, batch, url, attempt) {
            Ok(()) => return store.keep(incoming, &file.sha256),
            Err(Failure::Fatal(e)) => return Err(e),
            Err(failure) => failures.push(failure),
        }
    }
    Err(summary(failures))
}

/// A small file of unknown hash, of at most `limit` bytes.
pub(super) fn small(client: &Client, batch: &Batch, url: &str, limit: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let attempt = || {
        content.clear();
        batch.check().map_err(Failure::Fatal)?;
        let response = client.open(url, 0)?;
        let too_long = || Failure::Permanent(anyhow!("{}: it is longer than {limit} bytes", public_url(url)));
        if response.length.is_some_and(|length| length > limit) {
            return Err(too_long());
        }
        let mut body = response.body;
        let mut chunk = vec![0; CHUNK];
        loop {
            batch.check().map_err(Failure::Fatal)?;
            match body.read(&mut chunk).map_err(|e| during(client, url, e))? {
                0 => return Ok(()),
                n if content.len() as u64 + n as u64 > limit => return Err(too_long()),
                n => content.extend_from_slice(&chunk[..n]),
            }
        }
    };
    persist(client, batch, url, attempt).map_err(|f| summary(vec![f]))?;
    Ok(content)
}

/// Repeats an attempt while its failures pass.
fn persist(
    client: &Client,
    batch: &Batch,
    url: &str,
    mut attempt: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let settings = &client.settings;
    let mut failed = 0;
    loop {
        let (error, wanted) = match attempt() {
            Err(Failure::Transient(e, wanted)) => (e, wanted),
            Err(Failure::StartOver(e)) => (e, None),
            other => return other,
        };
        // See `part`: an attempt that brought the file on.
        failed = if error.is::<Advanced>() { 1 } else { failed + 1 };
        let short = is_mismatch(&error);
        if failed >= if short { MISMATCHES.min(settings.attempts) } else { settings.attempts } {
            let times = if failed == 1 { "once" } else { &format!("{failed} times") };
            let message = format!("{error}; tried {times}: check the network, or use another mirror");
            return Err(if short { mismatch(message) } else { Failure::Permanent(anyhow!(message)) });
        }
        let own = jitter(settings.backoff * 2u32.saturating_pow(failed - 1), url);
        batch.pause(wanted.map_or(own, |w| w.max(own)).min(settings.longest_pause))?;
    }
}

/// Marks the error of an attempt that brought the download on.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Advanced(anyhow::Error);

/// Reads what is missing of a file from one address.
fn part(
    client: &Client,
    store: &Store,
    batch: &Batch,
    file: &Remote,
    url: &str,
    incoming: &mut Incoming,
    tell: &mut dyn FnMut(u64),
) -> Result<(), Failure> {
    batch.check().map_err(Failure::Fatal)?;
    let begun = incoming.written;
    if begun == file.size && begun > 0 {
        return Ok(());
    }
    let result = client.open(url, begun).and_then(|response| {
        if response.offset != begun {
            store.restart(incoming).map_err(Failure::Fatal)?;
        } else if begun > 0 {
            incoming.resumed = true;
        }
        body(client, store, batch, file, url, response, incoming, tell)
    });
    match result {
        Err(Failure::StartOver(e)) => {
            store.restart(incoming).map_err(Failure::Fatal)?;
            Err(Failure::StartOver(e))
        }
        Err(Failure::Transient(e, pause)) if incoming.written >= begun + PROGRESS => {
            Err(Failure::Transient(Advanced(e).into(), pause))
        }
        other => other,
    }
}

#[expect(clippy::too_many_arguments, reason = "the middle of `part`, which holds all of it")]
fn body(
    client: &Client,
    store: &Store,
    batch: &Batch,
    file: &Remote,
    url: &str,
    response: super::http::Response,
    incoming: &mut Incoming,
    tell: &mut dyn FnMut(u64),
) -> Result<(), Failure> {
    let shown = public_url(url);
    let wrong_size = |found: &str| {
        mismatch(format!(
            "{shown}: it is {found} than the {} bytes in the index; the mirror is out of step: try again later, or \
             use another one",
            file.size
        ))
    };
    let left = file.size - incoming.written;
    if response.length.is_some_and(|length| length > left) {
        return Err(wrong_size("longer"));
    }
    // Said by the server itself, so that it was no connection that was cut.
    let shorter = response.length.is_some_and(|length| length < left);
    let mut body = response.body;
    let mut chunk = vec![0; CHUNK];
    loop {
        batch.check().map_err(Failure::Fatal)?;
        let n = body.read(&mut chunk).map_err(|e| during(client, url, e))?;
        if n == 0 {
            break;
        }
        if incoming.written + n as u64 > file.size {
            store.restart(incoming).map_err(Failure::Fatal)?;
            return Err(wrong_size("longer"));
        }
        store.write(incoming, &chunk[..n]).map_err(Failure::Fatal)?;
        tell(incoming.written);
    }
    if incoming.written < file.size {
        let message = format!("{shown}: it ended after {} of {} bytes", incoming.written, file.size);
        let error = if shorter { FetchError::Mismatch { message }.into() } else { anyhow!(message) };
        return Err(Failure::Transient(error, None));
    }
    Ok(())
}

fn is_mismatch(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(FetchError::Mismatch { .. }))
}

/// The server has another file.
fn mismatch(message: String) -> Failure {
    Failure::Permanent(FetchError::Mismatch { message }.into())
}

/// A fault while a body is read.
fn during(client: &Client, url: &str, error: std::io::Error) -> Failure {
    let shown = public_url(url);
    match client.classify(ureq::Error::from(error)) {
        Failure::Transient(e, pause) => Failure::Transient(anyhow!("{shown}: {e:#}"), pause),
        Failure::Permanent(e) => Failure::Permanent(anyhow!("{shown}: {e:#}")),
        other => other,
    }
}

/// One error of what every address answered. `NotFound` only if none of them has the file, `Mismatch` if any of them
/// has another.
fn summary(failures: Vec<Failure>) -> anyhow::Error {
    let mut reasons = Vec::new();
    let mut absent = None;
    let mut only_absent = true;
    let mut mismatch = false;
    for failure in failures {
        match failure {
            Failure::NotFound(url) => {
                reasons.push(format!("{url}: not found"));
                absent = Some(url);
            }
            Failure::Transient(e, _) | Failure::StartOver(e) | Failure::Permanent(e) | Failure::Fatal(e) => {
                if e.is::<crate::error::Interrupted>() {
                    return e;
                }
                mismatch |= is_mismatch(&e);
                reasons.push(format!("{e:#}"));
                only_absent = false;
            }
        }
    }
    match absent {
        Some(url) if only_absent => FetchError::NotFound { url }.into(),
        _ if mismatch => FetchError::Mismatch { message: reasons.join("; ") }.into(),
        _ => anyhow!(reasons.join("; ")),
    }
}

/// A time varied by half to either side, so that builds that failed together do not come back together.
fn jitter(time: Duration, url: &str) -> Duration {
    // The standard library seeds its hashers at random: enough for this, without a generator of random numbers.
    let random = RandomState::new().hash_one(url) % 1001;
    time.mul_f64(0.5 + random as f64 / 1000.0)
}

/// Says which file it was about.
pub(super) fn named(result: Result<PathBuf>, name: &str) -> Result<PathBuf> {
    result.with_context(|| format!("fetching {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_half() {
        for _ in 0..200 {
            let time = jitter(Duration::from_secs(2), "x");
            assert!((Duration::from_secs(1)..=Duration::from_secs(3)).contains(&time), "{time:?}");
        }
    }
}
