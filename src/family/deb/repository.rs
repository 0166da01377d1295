//! Reads a repository: its signed `Release`, and the indexes whose hashes that gives.

use std::io::BufReader;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::index::Index;
use super::release::{Listed, Release};
use super::suite::{self, Wanted};
use crate::codec::Codec;
use crate::context::Context;
use crate::error::usage;
use crate::family::mirrors;
use crate::fetch::openpgp::Keyring;
use crate::fetch::{FetchError, Fetcher, Remote};
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
    /// What its `Release` calls itself: suite and code name.
    pub names: Vec<String>,
    /// How its versions stand to those of others, see [`Release::priority`].
    pub priority: i16,
    /// Its packages.
    pub indexes: Vec<Index>,
}

/// Fetches and verifies a repository and reads its indexes for `arch`. `now` is in seconds since 1970.
pub fn read(context: &Context, repository: &Repository, arch: &str, now: i64) -> Result<Contents> {
    mirrors::in_turn(context, &repository.name, &repository.build_urls, |url| {
        read_once(context, repository, &base(url, &repository.suite), arch, now)
    })
    .with_context(|| format!("reading the repository '{}'", repository.name))
}

fn read_once(context: &Context, repository: &Repository, base: &str, arch: &str, now: i64) -> Result<Contents> {
    let (text, sha256) = signed_release(&context.fetcher, repository, base)?;
    let release = Release::parse(&text).context("its Release")?;
    if let Some(doubt) = suite::check_names(&release, repository)? {
        context.ui.warn(doubt);
    }
    let date = suite::check_times(&release, repository, now)?;
    let wanted = suite::wanted_indexes(&release, repository, arch)?;
    let indexes = std::thread::scope(|scope| {
        let threads: Vec<_> = wanted
            .iter()
            .map(|wanted| scope.spawn(|| read_index(context, repository, base, release.by_hash, wanted)))
            .collect();
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let priority = repository.priority.unwrap_or(release.priority);
    let names = release.suite.into_iter().chain(release.codename).collect();
    Ok(Contents { date, sha256, names, priority, indexes })
}

/// The result of a thread; a panic in it is passed on.
pub fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The address of the folder of the `Release`, with `/` at its end.
fn base(url: &str, suite: &str) -> String {
    let url = url.trim_end_matches('/');
    match suite.strip_suffix('/') {
        // `./` and `/` are the folder itself.
        Some("" | ".") => format!("{url}/"),
        Some(flat) => format!("{url}/{}/", flat.trim_start_matches("./").trim_matches('/')),
        None => format!("{url}/dists/{suite}/"),
    }
}

/// The text of the `Release`, verified, and the hash of the file it is from.
fn signed_release(fetcher: &Fetcher, repository: &Repository, base: &str) -> Result<(String, String)> {
    let keyring = if repository.trusted { None } else { Some(keyring(repository)?) };
    let get = |name: &str, limit| fetcher.get(&format!("{base}{name}"), limit);
    let (file, text) = match get("InRelease", MAX_RELEASE) {
        Ok(file) => {
            let text = match &keyring {
                Some(keyring) => keyring.verify_inline(&file).context("verifying InRelease")?,
                None => suite::without_signature(&String::from_utf8_lossy(&file)).into_bytes(),
            };
            (file, text)
        }
        Err(error) if mirrors::is_not_found(&error) => {
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
        return Err(usage("it has no key to verify it with; give it one with key = \"FILE\""));
    }
    Keyring::parse(&repository.keys).map_err(|error| usage(format!("{error:#}")))
}

/// Reads an index: its text as an earlier build unpacked it, or else the file that is fetched.
fn read_index(context: &Context, repository: &Repository, base: &str, by_hash: bool, wanted: &Wanted) -> Result<Index> {
    let listed = wanted.files.iter().find(|(codec, _)| *codec == Codec::None).map(|(_, listed)| listed);
    let text = listed.map(|listed| remote(repository, base, by_hash, &wanted.path, listed));
    if let Some(text) = &text
        && let Some(mut entry) = context.fetcher.open(text)?
    {
        // It is checked while it is read; what was read counts only if it was right to its end.
        let input = BufReader::new(&mut entry);
        let index = Index::read(input, Codec::None, Some(text.size), &text.name, context.jobs, |_| {});
        if entry.is_intact() {
            return index;
        }
    }
    let file = fetch_index(&context.fetcher, repository, base, by_hash, wanted)?;
    match text.filter(|text| file.codec != Codec::None && text.size >= KEPT_FROM) {
        Some(text) => keeping(context, &text, |copy| {
            Index::open_and_copy(&file.path, file.codec, file.size, &file.name, context.jobs, copy)
        }),
        None => Index::open(&file.path, file.codec, file.size, &file.name, context.jobs),
    }
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

/// An index in the cache.
struct IndexFile {
    path: PathBuf,
    codec: Codec,
    /// Size in bytes when unpacked, if that is listed.
    size: Option<u64>,
    /// What to call it in messages.
    name: String,
}

/// Fetches an index in the first compression the mirror has. That a listed file is not there is no fault: Debian lists
/// the uncompressed ones and keeps none.
fn fetch_index(
    fetcher: &Fetcher,
    repository: &Repository,
    base: &str,
    by_hash: bool,
    wanted: &Wanted,
) -> Result<IndexFile> {
    let mut missing = None;
    for (codec, listed) in &wanted.files {
        let file = remote(repository, base, by_hash, &format!("{}{}", wanted.path, codec.ending()), listed);
        match fetcher.fetch(&file, &|_| {}) {
            Ok(path) => {
                let size = if *codec == Codec::None { Some(listed.size) } else { wanted.size };
                return Ok(IndexFile { path, codec: *codec, size, name: file.name });
            }
            Err(error) if mirrors::is_not_found(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    let Some(missing) = missing else { bail!("no compression of {} is known", wanted.path) };
    // Its Release came a moment ago and says that it is there.
    Err(FetchError::Mismatch { message: format!("{missing:#}, though its Release lists it") }.into())
}

/// A file that a `Release` lists, by its path below that.
fn remote(repository: &Repository, base: &str, by_hash: bool, path: &str, listed: &Listed) -> Remote {
    Remote {
        urls: index_urls(base, path, &listed.sha256, by_hash),
        sha256: listed.sha256.clone(),
        size: listed.size,
        name: format!("{path} of the repository '{}'", repository.name),
    }
}

/// Where an index may be, the address that cannot change under our hands first.
fn index_urls(base: &str, path: &str, sha256: &str, by_hash: bool) -> Vec<String> {
    let plain = format!("{base}{path}");
    let folder = path.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    let by_hash = by_hash.then(|| format!("{base}{folder}by-hash/SHA256/{sha256}"));
    by_hash.into_iter().chain([plain]).collect()
}

/// The verified indexes of a repository as files: compressed as they came, with their codec. For comparisons with
/// programs that read the same ones.
#[cfg(test)]
pub fn files(fetcher: &Fetcher, repository: &Repository, arch: &str, now: i64) -> Result<Vec<(PathBuf, Codec)>> {
    let base = base(&repository.build_urls[0], &repository.suite);
    let (text, _) = signed_release(fetcher, repository, &base)?;
    let release = Release::parse(&text)?;
    suite::check_times(&release, repository, now)?;
    let wanted = suite::wanted_indexes(&release, repository, arch)?;
    let fetch = |wanted| fetch_index(fetcher, repository, &base, release.by_hash, wanted).map(|f| (f.path, f.codec));
    wanted.iter().map(fetch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_code};
    use crate::plan::{Key, testing};

    fn repository(url: &str, suite: &str) -> Repository {
        Repository { build_urls: vec![url.into()], ..testing::repository("main", "http://example.org/debian", suite) }
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
            assert_eq!(base(url, suite), wanted);
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
        let missing = anyhow::Error::new(FetchError::NotFound { url: "http://h/".into() }).context("fetching");
        assert!(mirrors::is_not_found(&missing));
        assert!(!mirrors::is_not_found(&anyhow::anyhow!("refused")));
    }

    #[test]
    fn no_key_is_a_mistake_of_the_recipe() {
        let mut repository = repository("http://h", "x");
        let error = keyring(&repository).expect_err("there is no key");
        assert!(error.to_string().contains("has no key"), "{error}");
        repository.keys = vec![Key { name: "corp.gpg".into(), data: b"hello".into() }];
        let error = keyring(&repository).expect_err("it is no key");
        assert_eq!(exit_code(&error), Exit::Usage);
        assert!(error.to_string().starts_with("reading the key corp.gpg: it holds no OpenPGP certificate"), "{error}");
    }
}
