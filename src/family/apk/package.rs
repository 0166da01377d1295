//! The package file of format 2, `apk-v2(5)`: gzip members one after the other. The first hold signatures, the next
//! the control archive (`.PKGINFO` and scripts), the last the data.
//!
//! Each part vouches for the next: the index names the SHA-1 of the control member, `.PKGINFO` the SHA-256 of the data
//! member, and the data the SHA-1 of each file. A package file is as hostile as its packager: every size is bounded,
//! and nothing of it reaches the tree before all of it was verified.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use flate2::bufread::GzDecoder;
use sha1::{Digest as _, Sha1};
use sha2::{Digest as _, Sha256};

use super::info::Info;
use super::signature::{self, Keys, Signature};
use crate::family::members::{Bounded, Kind, Member, Members, Paths};
use crate::hash::hex;

/// The members before the data are never larger than this, compressed or not; scripts are a few kilobytes.
const CONTROL_LIMIT: u64 = 16 << 20;
/// Data may always be this large, whatever the package says.
const DATA_FLOOR: u64 = 64 << 20;
/// A package has one signature, or one for each key while keys change.
const SIGNATURES: usize = 16;
/// As much compressed data is read at once.
const BUFFER: usize = 128 << 10;

/// What files of format 3 begin with: a block database, compressed or not (`apk-v3(5)`).
const ADB: &[u8; 3] = b"ADB";
const GZIP: [u8; 2] = [0x1f, 0x8b];

const TOO_LARGE: &str = "it unpacks to far more than its size in .PKGINFO and its own size can explain";

/// The scripts of a package, in the order of apk's database.
pub const SCRIPTS: [&str; 7] =
    ["pre-install", "post-install", "pre-deinstall", "post-deinstall", "pre-upgrade", "post-upgrade", "trigger"];

/// A package file whose control archive was read. It holds no open file: an image may have more packages than a
/// process may have files.
#[derive(Debug)]
pub struct Package {
    path: PathBuf,
    /// What `.PKGINFO` says, and the checksum by which indexes and databases name the package.
    pub info: Info,
    /// The scripts, by their name in [`SCRIPTS`], in that order.
    pub scripts: Vec<(&'static str, Vec<u8>)>,
    /// SHA-1 of the control member: what identifies the package.
    pub identity: [u8; 20],
    /// The signatures, not verified.
    pub signatures: Vec<Signature>,
    /// The compressed control member, which the signatures are of.
    pub control: Vec<u8>,
    data_start: u64,
    size: u64,
}

impl Package {
    /// Opens a package file and reads what is before its data. Nothing is verified by that but its form.
    pub fn open(path: &Path) -> Result<Package> {
        Package::read(path).with_context(|| format!("reading the package file {}", path.display()))
    }

    fn read(path: &Path) -> Result<Package> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut file = BufReader::with_capacity(BUFFER, file);
        let mut signatures = Vec::new();
        let mut start = 0;
        loop {
            let begin = file.fill_buf()?;
            if begin.starts_with(ADB) {
                bail!(
                    "it is a package of format 3, which mkbase does not read, with --engine apk-tools neither; have it \
                     made in format 2, as abuild makes packages"
                );
            }
            if !begin.starts_with(&GZIP) {
                let what = if start == 0 { "it is not an Alpine package" } else { "it ends early or is damaged" };
                bail!("{what}: there is no gzip member at byte {start}");
            }
            let (compressed, text) = member(&mut file)?;
            start += compressed.len() as u64;
            match read_part(&text)? {
                Part::Signatures(more) => {
                    signatures.extend(more);
                    if signatures.len() > SIGNATURES {
                        bail!("it has more than {SIGNATURES} signatures");
                    }
                }
                Part::Control(info, scripts) => {
                    if info.datahash.len() != 64 || info.datahash.bytes().any(|b| !b.is_ascii_hexdigit()) {
                        bail!("its .PKGINFO has no datahash, the SHA-256 of its data");
                    }
                    let identity = Sha1::digest(&compressed).into();
                    let path = path.to_owned();
                    let info = Info { checksum: checksum(&identity), ..*info };
                    return Ok(Package {
                        path,
                        info,
                        scripts,
                        identity,
                        signatures,
                        control: compressed,
                        data_start: start,
                        size,
                    });
                }
            }
        }
    }

    /// Checks the signature of an in-house file, which no signed index names: one by a key of the recipe must be right.
    /// A file without one is what the lock says by its hash, and whoever wrote the recipe has chosen it.
    pub fn verify_own(&self, keys: &Keys) -> Result<()> {
        if self.signatures.iter().any(|signature| keys.knows(signature)) {
            keys.verify(&self.signatures, &self.control).context("verifying its signature")?;
        }
        Ok(())
    }

    /// A script; `None` if it has none of that name.
    pub fn script(&self, name: &str) -> Option<&[u8]> {
        self.scripts.iter().find(|(n, _)| *n == name).map(|(_, text)| text.as_slice())
    }

    /// Checks that the data is what the control member says it is, without unpacking it.
    pub fn verify_data(&self) -> Result<()> {
        let context = || format!("reading the data of {}", self.path.display());
        let mut file = File::open(&self.path).with_context(context)?;
        file.seek(SeekFrom::Start(self.data_start)).with_context(context)?;
        let (found, _) = crate::hash::sha256_of(file).with_context(context)?;
        self.is_datahash(&found).with_context(context)
    }

    fn is_datahash(&self, found: &str) -> Result<()> {
        if !found.eq_ignore_ascii_case(&self.info.datahash) {
            bail!(
                "the SHA-256 of its data is {found}, but its .PKGINFO says {}; it is damaged or was changed",
                self.info.datahash
            );
        }
        Ok(())
    }

    /// Reads the data archive, giving each member to `each` with a reader of its content. When it returns without an
    /// error, the data is what the control member says it is.
    pub fn members(&self, mut each: impl FnMut(Member, &mut dyn Read) -> Result<()>) -> Result<()> {
        let context = || format!("reading the data of {}", self.path.display());
        let says = self.info.installed_size.saturating_mul(4);
        let limit = DATA_FLOOR.saturating_add(says).saturating_add(self.size.saturating_mul(32));
        let mut file = File::open(&self.path).with_context(context)?;
        file.seek(SeekFrom::Start(self.data_start)).with_context(context)?;
        let mut tap = Tap { inner: BufReader::with_capacity(BUFFER, file), hash: Sha256::new() };
        let stream = Bounded::new(GzDecoder::new(&mut tap), limit, TOO_LARGE);
        let mut members = Members::new(stream, Paths::Strict);
        while let Some((member, mut content)) = members.next().map_err(plain).with_context(context)? {
            each(member, &mut content)?;
        }
        members.finish().map_err(plain).with_context(context)?;
        if !tap.fill_buf().with_context(context)?.is_empty() {
            return Err(anyhow::anyhow!("something follows its data")).with_context(context);
        }
        self.is_datahash(&hex(&tap.hash.finalize())).with_context(context)
    }
}

/// `Q1` and a SHA-1 in base64.
pub fn checksum(sha1: &[u8; 20]) -> String {
    format!("Q1{}", crate::hash::base64(sha1))
}

/// A SHA-1 in hexadecimal.
pub fn parse_sha1(text: &str) -> Option<[u8; 20]> {
    let mut sha1 = [0; 20];
    if text.len() != 40 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in sha1.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(sha1)
}

/// Hashes the bytes that are taken from a stream.
struct Tap<R> {
    inner: R,
    hash: Sha256,
}

impl<R: BufRead> BufRead for Tap<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What was given last is still there, so this reads nothing.
        if let Ok(bytes) = self.inner.fill_buf() {
            self.hash.update(&bytes[..count.min(bytes.len())]);
        }
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

/// Keeps a copy of the bytes that are taken from a stream.
struct Copy<'a, R> {
    inner: &'a mut R,
    taken: Vec<u8>,
}

impl<R: BufRead> BufRead for Copy<'_, R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.taken.len() as u64 > CONTROL_LIMIT {
            return Err(std::io::Error::other("a member before the data is too large"));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        if let Ok(bytes) = self.inner.fill_buf() {
            self.taken.extend_from_slice(&bytes[..count.min(bytes.len())]);
        }
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for Copy<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

/// One gzip member: as it is, and unpacked.
fn member(file: &mut impl BufRead) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut copy = Copy { inner: file, taken: Vec::new() };
    let mut text = Vec::new();
    let stream = GzDecoder::new(&mut copy);
    Bounded::new(stream, CONTROL_LIMIT, "a member before the data unpacks to more than 16 MiB")
        .read_to_end(&mut text)
        .map_err(|error| plain(error.into()))
        .context("unpacking what is before its data")?;
    Ok((copy.taken, text))
}

/// Says in other words that a compressed stream is cut short.
fn plain(error: anyhow::Error) -> anyhow::Error {
    let is_end = |e: &std::io::Error| e.kind() == std::io::ErrorKind::UnexpectedEof;
    if error.downcast_ref::<std::io::Error>().is_some_and(is_end) {
        return error.context("it is cut short");
    }
    error
}

enum Part {
    Signatures(Vec<Signature>),
    Control(Box<Info>, Vec<(&'static str, Vec<u8>)>),
}

/// Reads the archive of a member before the data. What its first file is decides.
fn read_part(text: &[u8]) -> Result<Part> {
    let mut signatures = Vec::new();
    let mut info = None;
    let mut scripts: Vec<(&'static str, Vec<u8>)> = Vec::new();
    let mut members = Members::new(text, Paths::Strict);
    while let Some((member, mut content)) = members.next()? {
        let Some(name) = member.path.to_str().filter(|n| n.starts_with('.') && !n.contains('/')) else {
            bail!("the file {:?} is where the package should have its control files", member.path);
        };
        if member.kind != Kind::File {
            bail!("{name} is not a regular file");
        }
        let mut data = Vec::new();
        content.read_to_end(&mut data)?;
        if name.starts_with(signature::PREFIX) {
            if info.is_some() || !scripts.is_empty() {
                bail!("the signature {name} comes after what it should be of");
            }
            signatures.push(Signature { member: name.to_owned(), data });
        } else if !signatures.is_empty() {
            bail!("the member with its signatures holds {name} too, which they are not of");
        } else if name == ".PKGINFO" {
            let text = String::from_utf8(data).context(".PKGINFO is not UTF-8")?;
            if info.replace(Info::from_pkginfo(&text).context("reading .PKGINFO")?).is_some() {
                bail!("it has .PKGINFO twice");
            }
        } else if let Some(script) = SCRIPTS.iter().find(|script| &name[1..] == **script) {
            if scripts.iter().any(|(known, _)| known == script) {
                bail!("it has {name} twice");
            }
            scripts.push((script, data));
        }
    }
    if !signatures.is_empty() {
        return Ok(Part::Signatures(signatures));
    }
    scripts.sort_by_key(|(name, _)| SCRIPTS.iter().position(|script| script == name));
    let info = info.context("it has no .PKGINFO before its data")?;
    Ok(Part::Control(Box::new(info), scripts))
}
