//! Reads a repository: its signed `Release`, and the indexes whose hashes that gives.

use anyhow::{Context as _, Error, Result, anyhow};

use super::index::Index;
use super::release::{Listed, Release};
use super::suite::{self, Wanted};
use crate::codec::Codec;
use crate::context::Context;
use crate::error::usage;
use crate::fetch::openpgp::Keyring;
use crate::fetch::{FetchError, Remote};
use crate::hash::sha256;
use crate::plan::Repository;

/// An `InRelease` may be this large, in bytes; Debian unstable's, the largest known, has 0.3 MB.
const MAX_RELEASE: u64 = 16 << 20;
/// A detached signature may be this large, in bytes; it grows with the number of keys that sign.
const MAX_SIGNATURE: u64 = 1 << 20;

/// An index of so many bytes or more is kept unpacked; a smaller one is unpacked faster than it is found.
const KEPT_FROM: u64 = 1 << 20;

/// A repository whose indexes were read.
#[derive(Debug)]
pub struct Contents {
    /// When its `Release` was made, in seconds since 1970.
    pub date: i64,
    /// SHA-256 of the `InRelease`, or of the `Release` where the signature stands beside it.
    pub sha256: String,
    /// How its versions stand to those of others, see [`Release::priority`].
    pub priority: u16,
    /// Its packages.
    pub indexes: Vec<Index>,
}

/// Fetches and verifies a repository and reads its indexes for `arch`. `now` is in seconds since 1970.
pub fn read(context: &Context, repository: &Repository, arch: &str, now: i64) -> Result<Contents> {
    read_it(context, repository, arch, now).with_context(|| format!("reading the repository '{}'", repository.name))
}

fn read_it(context: &Context, repository: &Repository, arch: &str, now: i64) -> Result<Contents> {
    let base = base(repository);
    let (text, sha256) = signed_release(context, repository, &base)?;
    let release = Release::parse(&text).context("its Release")?;
    if let Some(doubt) = suite::check_names(&release, repository)? {
        context.ui.warn(doubt);
    }
    let date = suite::check_times(&release, repository, now)?;
    let wanted = suite::wanted_indexes(&release, repository, arch)?;
    let indexes = std::thread::scope(|scope| {
        let threads: Vec<_> = wanted
            .iter()
            .map(|wanted| scope.spawn(|| read_index(context, repository, &base, release.by_hash, wanted)))
            .collect();
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    Ok(Contents { date, sha256, priority: release.priority, indexes })
}

/// The result of a thread; a panic in it is passed on.
pub fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The address of the folder of the `Release`, with `/` at its end.
fn base(repository: &Repository) -> String {
    let url = repository.build_url.trim_end_matches('/');
    match repository.suite.strip_suffix('/') {
        // `./` and `/` are the folder itself.
        Some("" | ".") => format!("{url}/"),
        Some(flat) => format!("{url}/{}/", flat.trim_start_matches("./").trim_matches('/')),
        None => format!("{url}/dists/{}/", repository.suite),
    }
}

/// The text of the `Release`, verified, and the hash of the file it is from.
fn signed_release(context: &Context, repository: &Repository, base: &str) -> Result<(String, String)> {
    let keyring = if repository.trusted { None } else { Some(keyring(repository)?) };
    let get = |name: &str, limit| context.fetcher.get(&format!("{base}{name}"), limit);
    let (file, text) = match get("InRelease", MAX_RELEASE) {
        Ok(file) => {
            let text = match &keyring {
                Some(keyring) => keyring.verify_inline(&file).context("verifying InRelease")?,
                None => suite::without_signature(&String::from_utf8_lossy(&file)).into_bytes(),
            };
            (file, text)
        }
        Err(error) if is_not_found(&error) => {
            let file = get("Release", MAX_RELEASE).with_context(|| {
                format!("it has no InRelease and no Release; is '{}' a suite of it?", repository.suite)
            })?;
            if let Some(keyring) = &keyring {
                let signature = get("Release.gpg", MAX_SIGNATURE)
                    .context("its Release is not signed: there is neither InRelease nor Release.gpg")?;
                keyring.verify_detached(&file, &signature).context("verifying Release against Release.gpg")?;
            }
            let text = file.clone();
            (file, text)
        }
        Err(error) => return Err(error),
    };
    // Only file names and hashes are used, and those are ASCII where they are right.
    Ok((String::from_utf8_lossy(&text).into_owned(), sha256(&file)))
}

fn keyring(repository: &Repository) -> Result<Keyring> {
    if repository.keys.is_empty() {
        return Err(usage(format!(
            "the repository '{}' has no key to verify it with; give it one with key = \"FILE\"",
            repository.name
        )));
    }
    Keyring::parse(&repository.keys).context("reading its keys")
}

fn is_not_found(error: &Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(FetchError::NotFound { .. })))
}

/// Reads an index: its text as an earlier build unpacked it, or else fetched in the first compression the mirror has.
/// That a listed file is not there is no fault: Debian lists the uncompressed ones and keeps none.
fn read_index(context: &Context, repository: &Repository, base: &str, by_hash: bool, wanted: &Wanted) -> Result<Index> {
    let remote = |codec: Codec, listed: &Listed| {
        let path = format!("{}{}", wanted.path, codec.ending());
        Remote {
            urls: index_urls(base, &path, &listed.sha256, by_hash),
            sha256: listed.sha256.clone(),
            size: listed.size,
            name: format!("{} of the repository '{}'", path, repository.name),
        }
    };
    let text = wanted.files.iter().find(|(codec, _)| *codec == Codec::None).map(|(codec, l)| remote(*codec, l));
    if let Some(text) = &text
        && let Some(file) = context.fetcher.cached(text)?
    {
        return Index::open(&file, Codec::None, Some(text.size), &text.name, context.jobs);
    }
    let mut missing = None;
    for (codec, listed) in &wanted.files {
        let remote = remote(*codec, listed);
        match context.fetcher.fetch(&remote, &|_| {}) {
            Ok(file) => {
                let size = if *codec == Codec::None { Some(listed.size) } else { wanted.size };
                let text = text.as_ref().filter(|text| *codec != Codec::None && text.size >= KEPT_FROM);
                let open = |copy: &mut dyn FnMut(&[u8])| {
                    Index::open_and_copy(&file, *codec, size, &remote.name, context.jobs, copy)
                };
                return match text {
                    Some(text) => keeping(context, text, open),
                    None => open(&mut |_| {}),
                };
            }
            Err(error) if is_not_found(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(missing.unwrap_or_else(|| anyhow!("no compression of {} is known", wanted.path)))
}

/// Reads an index and keeps its text in the cache, under the hash that the `Release` has of it: unpacking takes longer
/// than everything else that is done with it. Where it cannot be kept, the next build unpacks it again.
fn keeping(
    context: &Context,
    text: &Remote,
    open: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<Index>,
) -> Result<Index> {
    let mut keeping = context.fetcher.keep(text);
    let index = open(&mut |bytes| {
        if let Ok(copy) = &mut keeping
            && let Err(error) = copy.write(bytes)
        {
            keeping = Err(error);
        }
    })?;
    if let Err(error) = keeping.and_then(|copy| copy.finish()) {
        context.ui.detail(format_args!("{} is not kept unpacked: {error:#}", text.name));
    }
    Ok(index)
}

/// Where an index may be, the address that cannot change under our hands first.
fn index_urls(base: &str, path: &str, sha256: &str, by_hash: bool) -> Vec<String> {
    let plain = format!("{base}{path}");
    let folder = path.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    let by_hash = by_hash.then(|| format!("{base}{folder}by-hash/SHA256/{sha256}"));
    by_hash.into_iter().chain([plain]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(url: &str, suite: &str) -> Repository {
        Repository {
            name: "main".into(),
            url: "http://example.org/debian".into(),
            build_url: url.into(),
            image_url: String::new(),
            suite: suite.into(),
            components: Vec::new(),
            keys: Vec::new(),
            trusted: false,
            check_valid_until: true,
            build_only: false,
            image_key: String::new(),
        }
    }

    #[test]
    fn addresses() {
        for (url, suite, wanted) in [
            ("http://example.org/debian", "trixie", "http://example.org/debian/dists/trixie/"),
            ("http://example.org/debian/", "trixie", "http://example.org/debian/dists/trixie/"),
            ("http://example.org/x", "./", "http://example.org/x/"),
            ("http://example.org/x", "/", "http://example.org/x/"),
            ("http://example.org/x", "./flat/", "http://example.org/x/flat/"),
            ("file:///srv/x", "flat/amd64/", "file:///srv/x/flat/amd64/"),
        ] {
            assert_eq!(base(&repository(url, suite)), wanted);
        }
        assert_eq!(
            index_urls("http://h/", "main/binary-amd64/Packages.xz", "ab", true),
            ["http://h/main/binary-amd64/by-hash/SHA256/ab", "http://h/main/binary-amd64/Packages.xz"]
        );
        assert_eq!(
            index_urls("http://h/", "Packages", "ab", true),
            ["http://h/by-hash/SHA256/ab", "http://h/Packages"]
        );
        assert_eq!(index_urls("http://h/", "Packages", "ab", false), ["http://h/Packages"]);
    }

    #[test]
    fn a_missing_file_is_known_below_context() {
        let missing = Error::new(FetchError::NotFound { url: "http://h/".into() }).context("fetching");
        assert!(is_not_found(&missing));
        assert!(!is_not_found(&anyhow!("refused")));
    }

    #[test]
    fn no_key_is_a_mistake_of_the_recipe() {
        let error = keyring(&repository("http://h", "x")).expect_err("there is no key");
        assert!(error.to_string().contains("'main' has no key"), "{error}");
    }
}
