//! The members of the tar archives in packages, `tar(5)`: ustar with GNU long names as dpkg-deb writes them, and pax
//! headers as abuild does.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use tar::EntryType;

/// A long name or a set of pax records is never larger than this; a path has at most 4096 bytes.
const EXTENSION_LIMIT: u64 = 1 << 20;
/// `PATH_MAX` of Linux.
const PATH_LIMIT: usize = 4096;
/// The largest packages of Debian have some 200 000 files.
const COUNT_LIMIT: u64 = 2_000_000;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link to this target.
    Symlink(PathBuf),
    /// A hard link to this member, a clean path below the root.
    Hardlink(PathBuf),
    /// A FIFO.
    Fifo,
    /// A character device: major, minor.
    Char(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
}

/// One member's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Path below the root, without `.` and `..`; the root itself is empty.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Name of the owner; empty where it is not given.
    pub user: Vec<u8>,
    /// Name of the group; empty where it is not given.
    pub group: Vec<u8>,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Extended attributes.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// SHA-1 of the content, or of a link's target, in hexadecimal, where the archive says it: the pax record
    /// `APK-TOOLS.checksum.SHA1`.
    pub sha1: Option<String>,
}

/// What extension headers say of the member after them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
    xattrs: Vec<(String, Vec<u8>)>,
    sha1: Option<String>,
}

/// How the paths of members are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// As dpkg: leading `./` and slashes do not count.
    Lenient,
    /// As apk: a path is below the root as it is written, or the archive is refused.
    Strict,
}

/// Reads members one after the other.
pub struct Members<R: Read> {
    stream: R,
    /// Bytes of the current member's content and padding that were not read.
    left: u64,
    count: u64,
    paths: Paths,
}

/// A stream that fails at its limit instead of ending, so that a bomb is not taken for a short archive.
pub struct Bounded<R> {
    inner: R,
    left: u64,
    why: &'static str,
}

impl<R: Read> Bounded<R> {
    /// At most `limit` bytes of a stream; `why` is the error for more.
    pub fn new(inner: R, limit: u64, why: &'static str) -> Bounded<R> {
        Bounded { inner, left: limit, why }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| std::io::Error::other(self.why))?;
        Ok(n)
    }
}

/// The content of the current member.
pub struct Content<'a, R: Read> {
    members: &'a mut Members<R>,
    size: u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.size).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = self.members.stream.read(&mut buffer[..want])?;
        if n == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the tar archive ends in a file"));
        }
        self.size -= n as u64;
        self.members.left -= n as u64;
        Ok(n)
    }
}

impl<R: Read> Members<R> {
    /// Reads from an uncompressed stream.
    pub fn new(stream: R, paths: Paths) -> Members<R> {
        Members { stream, left: 0, count: 0, paths }
    }

    /// The next member and its content; `None` at the end of the archive.
    #[allow(clippy::should_implement_trait, reason = "it lends its stream to what it gives, which Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<(Member, Content<'_, R>)>> {
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            self.count += 1;
            if self.count > COUNT_LIMIT {
                bail!("it has more than {COUNT_LIMIT} members");
            }
            let size = header.entry_size().context("a tar header has a broken size")?;
            self.left = size.checked_next_multiple_of(512).context("a tar header has a broken size")?;
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(self.extension(size)?),
                EntryType::GNULongLink => extensions.link = Some(self.extension(size)?),
                EntryType::XHeader => {
                    let records = self.extension(size)?;
                    extensions.read_pax(&records)?;
                }
                // Global records are comments of the archiver (a git commit, for one).
                EntryType::XGlobalHeader => self.skip()?,
                kind => {
                    let member = member(&header, kind, extensions, self.paths)?;
                    let content = if matches!(member.kind, Kind::File) { size } else { 0 };
                    return Ok(Some((member, Content { members: self, size: content })));
                }
            }
        }
    }

    /// Reads to the end of the stream, so that a cut or broken compressed stream is seen.
    pub fn finish(mut self) -> Result<()> {
        std::io::copy(&mut self.stream, &mut std::io::sink()).context("reading past the end of the tar archive")?;
        Ok(())
    }

    fn header(&mut self) -> Result<Option<tar::Header>> {
        self.skip()?;
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        match self.stream.read_exact(block) {
            Ok(()) => {}
            // An archive without its two closing blocks is whole for dpkg too.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum: u32 =
            block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { (*b).into() }).sum();
        if header.cksum().context("a tar header has a broken checksum")? != sum {
            bail!("a tar header has a wrong checksum");
        }
        Ok(Some(header))
    }

    fn skip(&mut self) -> Result<()> {
        let skipped = std::io::copy(&mut (&mut self.stream).take(self.left), &mut std::io::sink())?;
        if skipped != self.left {
            bail!("the tar archive ends in a member");
        }
        self.left = 0;
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_LIMIT {
            bail!("a tar extension header has {size} bytes");
        }
        let mut data = Vec::new();
        Content { members: self, size }.read_to_end(&mut data)?;
        while data.last() == Some(&0) {
            data.pop();
        }
        Ok(data)
    }
}

impl Extensions {
    /// Records of `LENGTH KEY=VALUE\n`, pax(1).
    fn read_pax(&mut self, mut records: &[u8]) -> Result<()> {
        while !records.is_empty() {
            let space = records.iter().position(|b| *b == b' ').context("a pax record has no length")?;
            let length: usize = std::str::from_utf8(&records[..space])
                .ok()
                .and_then(|t| t.parse().ok())
                .filter(|l| *l > space + 1 && *l <= records.len())
                .context("a pax record has a broken length")?;
            let (record, rest) = records.split_at(length);
            let record = record[space + 1..].strip_suffix(b"\n").context("a pax record has no end")?;
            let equals = record.iter().position(|b| *b == b'=').context("a pax record has no value")?;
            let key = String::from_utf8_lossy(&record[..equals]);
            let value = &record[equals + 1..];
            let text = String::from_utf8_lossy(value);
            let number = || text.split('.').next().and_then(|t| t.parse::<i64>().ok());
            let broken = || format!("the pax record {key} has the value {text:?}");
            match key.as_ref() {
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.link = Some(value.to_vec()),
                "uid" => self.uid = Some(number().and_then(|n| n.try_into().ok()).with_context(broken)?),
                "gid" => self.gid = Some(number().and_then(|n| n.try_into().ok()).with_context(broken)?),
                "mtime" => self.mtime = Some(number().with_context(broken)?),
                "size" => bail!("a file of 8 GiB or more"),
                "APK-TOOLS.checksum.SHA1" => self.sha1 = Some(text.into_owned()),
                key => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        self.xattrs.push((name.to_string(), value.to_vec()));
                    }
                }
            }
            records = rest;
        }
        Ok(())
    }
}

fn member(header: &tar::Header, kind: EntryType, extensions: Extensions, paths: Paths) -> Result<Member> {
    let raw = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let path = clean_path(&raw, paths).with_context(|| format!("the member {:?}", String::from_utf8_lossy(&raw)))?;
    let link =
        || extensions.link.clone().or_else(|| header.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default();
    let device = || -> Result<(u32, u32)> {
        let major = header.device_major().ok().flatten();
        let minor = header.device_minor().ok().flatten();
        major.zip(minor).with_context(|| format!("the device {} has no numbers", path.display()))
    };
    let kind = match kind {
        // Old archives mark a directory by a slash at the end of its name alone.
        EntryType::Regular | EntryType::Continuous if raw.last() == Some(&b'/') => Kind::Dir,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Dir,
        EntryType::Symlink => {
            let target = link();
            if target.is_empty() || target.len() > PATH_LIMIT || target.contains(&0) {
                bail!("the symbolic link {} has a broken target", path.display());
            }
            Kind::Symlink(PathBuf::from(OsString::from_vec(target)))
        }
        EntryType::Link => {
            let target = link();
            let target = clean_path(&target, paths).with_context(|| format!("the hard link {}", path.display()))?;
            Kind::Hardlink(target)
        }
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => device().map(|(major, minor)| Kind::Char(major, minor))?,
        EntryType::Block => device().map(|(major, minor)| Kind::Block(major, minor))?,
        other => bail!("{} has the unknown type {other:?}", path.display()),
    };
    if path.as_os_str().is_empty() && kind != Kind::Dir {
        bail!("the root itself is not a directory in it");
    }
    let id = |own: Option<u64>, header: std::io::Result<u64>, what: &str| -> Result<u32> {
        let id = own.map_or(header, Ok).ok().and_then(|id| u32::try_from(id).ok());
        // The highest id means "unchanged" to chown(2).
        id.filter(|id| *id != u32::MAX).with_context(|| format!("{} has a broken {what}", path.display()))
    };
    Ok(Member {
        mode: header.mode().with_context(|| format!("{} has a broken mode", path.display()))? & 0o7777,
        uid: id(extensions.uid, header.uid(), "owner")?,
        gid: id(extensions.gid, header.gid(), "group")?,
        mtime: match extensions.mtime {
            Some(mtime) => mtime,
            None => header.mtime().ok().and_then(|t| i64::try_from(t).ok()).context("a broken time")?,
        },
        user: header.username_bytes().unwrap_or_default().to_vec(),
        group: header.groupname_bytes().unwrap_or_default().to_vec(),
        xattrs: extensions.xattrs,
        sha1: extensions.sha1,
        path,
        kind,
    })
}

/// A member's path below the root, as dpkg takes it: leading `./` and slashes and trailing slashes do not count.
/// Anything that could lead elsewhere is refused.
fn clean_path(raw: &[u8], paths: Paths) -> Result<PathBuf> {
    if raw.len() > PATH_LIMIT {
        bail!("its path is longer than {PATH_LIMIT} bytes");
    }
    if raw.iter().any(|b| *b == 0 || *b == b'\n') {
        bail!("its path has a line break or a zero byte in it, which the package manager's database cannot hold");
    }
    if paths == Paths::Strict {
        let parts = raw.strip_suffix(b"/").unwrap_or(raw);
        if parts.split(|b| *b == b'/').any(|part| part.is_empty() || part == b".") {
            bail!("its path is not written as one below the root: it is absolute, or has an empty part or '.' in it");
        }
        if raw.iter().any(u8::is_ascii_control) {
            bail!("its path has a control character in it");
        }
    }
    let mut clean = Vec::with_capacity(raw.len());
    for part in raw.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => bail!("its path leads out of the root"),
            part => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(part);
            }
        }
    }
    Ok(PathBuf::from(OsString::from_vec(clean)))
}
