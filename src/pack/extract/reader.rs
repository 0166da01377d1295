//! Reads a tar entry by entry: ustar, pax and GNU headers. Trusts no number in it.

use std::io::Read;

use anyhow::{Context as _, Result, bail};

use crate::pack::header::{BLOCK, XATTR, checksum, kind};
use crate::pack::xattrs;

/// The longest name or link target the kernel takes.
const PATH_LIMIT: usize = libc::PATH_MAX as usize;
/// The most that the extended headers of one entry may hold; a single attribute may have 64 KiB.
const EXTENDED_LIMIT: u64 = 1 << 20;

/// One entry; its content is read from the [`Reader`].
#[derive(Debug, Default)]
pub struct Entry {
    /// Name, as the archive has it.
    pub path: Vec<u8>,
    /// Type, one of [`kind`].
    pub kind: u8,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u64, u64),
    /// Extended attributes that belong to an image.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What extended headers say about the next entry.
#[derive(Debug, Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    size: Option<u64>,
    mtime: Option<i64>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tar being read.
pub struct Reader<R> {
    input: R,
    position: u64,
    limit: u64,
    /// Content of the current entry that was not read yet, and its padding.
    left: u64,
    padding: u64,
}

impl<R: Read> Reader<R> {
    /// Reads from `input`, at most `limit` bytes.
    pub fn new(input: R, limit: u64) -> Reader<R> {
        Reader { input, position: 0, limit, left: 0, padding: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next entry, or `None` at the end of the archive. The rest of the current one's content is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extension = Extension::default();
        let mut extended = 0;
        loop {
            self.skip_content()?;
            let Some(block) = self.header()? else { return Ok(None) };
            let size = number(&block[124..136]).context("the size in a header is no number")?;
            let letter = block[156];
            match letter {
                kind::PAX | kind::PAX_GLOBAL | kind::GNU_LONG_NAME | kind::GNU_LONG_LINK => {
                    extended += size;
                    if extended > EXTENDED_LIMIT {
                        bail!("the extended headers of an entry have more than {EXTENDED_LIMIT} bytes");
                    }
                    self.expect_content(size);
                    let mut content = vec![0; usize::try_from(size)?];
                    self.read_content(&mut content)?;
                    match letter {
                        kind::PAX => extension.read_pax(&content)?,
                        // Global records name commits and the like; none of them is about a file's metadata in practice.
                        kind::PAX_GLOBAL => Extension::default().read_pax(&content)?,
                        kind::GNU_LONG_NAME => extension.path = Some(until_nul(&content).to_vec()),
                        _ => extension.link = Some(until_nul(&content).to_vec()),
                    }
                }
                _ => return self.entry(&block, letter, size, extension).map(Some),
            }
        }
    }

    fn entry(&mut self, block: &[u8; BLOCK], letter: u8, size: u64, extension: Extension) -> Result<Entry> {
        let path = match extension.path {
            Some(path) => path,
            None => short_path(block),
        };
        let shown = String::from_utf8_lossy(&path).into_owned();
        let field = |name: &str, from: usize, to: usize| {
            number(&block[from..to]).with_context(|| format!("the {name} of {shown:?} is no number"))
        };
        let id = |name: &str, number: u64| {
            u32::try_from(number).with_context(|| format!("the {name} of {shown:?} is too large: {number}"))
        };
        let mut entry = Entry {
            mode: id("mode", field("mode", 100, 108)?)? & 0o7777,
            uid: id("owner", extension.uid.map_or_else(|| field("owner", 108, 116), Ok)?)?,
            gid: id("group", extension.gid.map_or_else(|| field("group", 116, 124), Ok)?)?,
            size: extension.size.unwrap_or(size),
            mtime: extension.mtime.map_or_else(|| signed(&block[136..148]), Some).context("a time is no number")?,
            link: extension.link.unwrap_or_else(|| until_nul(&block[157..257]).to_vec()),
            device: (0, 0),
            xattrs: extension.xattrs,
            kind: letter,
            path,
        };
        for (what, bytes) in [("name", &entry.path), ("link target", &entry.link)] {
            if bytes.len() >= PATH_LIMIT || bytes.contains(&0) {
                bail!("the {what} of {shown:?} is not one that a file can have");
            }
        }
        match letter {
            kind::OLD_FILE if entry.path.ends_with(b"/") => entry.kind = kind::DIR,
            kind::OLD_FILE | kind::CONTIGUOUS => entry.kind = kind::FILE,
            kind::CHAR | kind::BLOCK => {
                entry.device = (field("major number", 329, 337)?, field("minor number", 337, 345)?);
            }
            kind::FILE | kind::HARD_LINK | kind::SYMLINK | kind::DIR | kind::FIFO => {}
            b'S' => bail!("{shown:?} is a sparse entry; pack it again without --sparse"),
            other => bail!("{shown:?} is of an unknown type, {:?}", char::from(other)),
        }
        // Some tars repeat the size of the file at its other names, but only files have content (pax says: unless it
        // is a hard link; no tar in use makes such).
        if entry.kind != kind::FILE {
            if entry.kind != kind::HARD_LINK && entry.size > 0 && entry.kind != kind::DIR {
                bail!("{shown:?} has content, but it is no file");
            }
            entry.size = 0;
        }
        self.expect_content(entry.size);
        Ok(entry)
    }

    /// The next header, or `None` at the end.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0u8; BLOCK];
        let first = self.position == 0;
        self.fill(&mut block).context(if first {
            "this is no tar archive: it is too short for one"
        } else {
            "the archive is cut short: it has no end mark"
        })?;
        if block == [0; BLOCK] {
            // What follows is padding. Reading it makes the decoder check its last sums.
            let mut rest = vec![0; 64 << 10];
            loop {
                match self.some(&mut rest)? {
                    0 => return Ok(None),
                    _ => continue,
                }
            }
        }
        let sum = number(&block[148..156]).context("this is no tar archive: a header has no checksum")?;
        if sum != checksum(&block) {
            bail!("this is no tar archive, or a damaged one: the checksum of a header is wrong");
        }
        Ok(Some(block))
    }

    fn expect_content(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Fills the buffer from the content of the current entry.
    pub fn read_content(&mut self, buffer: &mut [u8]) -> Result<()> {
        if buffer.len() as u64 > self.left {
            bail!("the entry has no more content");
        }
        self.fill(buffer).context("the archive is cut short")?;
        self.left -= buffer.len() as u64;
        Ok(())
    }

    fn skip_content(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        let mut left = std::mem::take(&mut self.left);
        left = left.checked_add(std::mem::take(&mut self.padding)).context("an entry is too large")?;
        while left > 0 {
            let count = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            self.fill(&mut buffer[..count]).context("the archive is cut short")?;
            left -= count as u64;
        }
        Ok(())
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            let count = self.some(buffer)?;
            if count == 0 {
                bail!("unexpected end of file");
            }
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    fn some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.input.read(buffer) {
                Ok(count) => {
                    self.position += count as u64;
                    if self.position > self.limit {
                        bail!("the archive has more than {} bytes", self.limit);
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading the archive"),
            }
        }
    }
}

impl Extension {
    /// Reads `LENGTH KEY=VALUE\n` records.
    fn read_pax(&mut self, mut rest: &[u8]) -> Result<()> {
        const BROKEN: &str = "a pax record is malformed";
        while !rest.is_empty() {
            let space = rest.iter().take(20).position(|byte| *byte == b' ').context(BROKEN)?;
            let length: usize = decimal(&rest[..space]).context(BROKEN)?;
            let record = rest.get(space + 1..length).context(BROKEN)?;
            let record = record.strip_suffix(b"\n").context(BROKEN)?;
            let equals = record.iter().position(|byte| *byte == b'=').context(BROKEN)?;
            self.take(&record[..equals], &record[equals + 1..]).context(BROKEN)?;
            rest = &rest[length..];
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let key = std::str::from_utf8(key).context("a key is no text")?;
        match key {
            "path" => self.path = Some(value.to_vec()),
            "linkpath" => self.link = Some(value.to_vec()),
            "uid" => self.uid = Some(decimal(value).context("uid")?),
            "gid" => self.gid = Some(decimal(value).context("gid")?),
            "size" => self.size = Some(decimal(value).context("size")?),
            "mtime" => {
                let whole = value.split(|byte| *byte == b'.').next().unwrap_or_default();
                self.mtime = Some(decimal(whole).context("mtime")?);
            }
            _ if key.starts_with("GNU.sparse.") => {
                bail!("the archive has a sparse entry; pack it again without --sparse")
            }
            _ => {
                let Some(name) = key.strip_prefix(XATTR) else { return Ok(()) };
                let name = name.replace("%3D", "=").replace("%25", "%").into_bytes();
                if xattrs::belongs(&name) {
                    self.xattrs.push((name, value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn decimal<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())]
}

/// The name in the header itself. GNU's own format has times where ustar has the prefix.
fn short_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = if &block[257..263] == b"ustar\0" { until_nul(&block[345..500]) } else { b"" };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// A number in a header: octal digits, or the base-256 form of GNU tar. Empty counts as zero.
fn number(field: &[u8]) -> Option<u64> {
    signed(field).and_then(|number| u64::try_from(number).ok())
}

fn signed(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative { i128::from(field[0] as i8) } else { i128::from(field[0] & 0x7f) };
        let value = field[1..].iter().fold(first, |value, byte| (value << 8) | i128::from(*byte));
        return i64::try_from(value).ok();
    }
    let text = std::str::from_utf8(until_nul(field)).ok()?.trim_matches(' ');
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok()?.try_into().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_spelling() {
        for (field, want) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777777\0", Some(8_589_934_591)),
            (&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0], Some(2 << 32)),
            (&[0xff; 12], Some(-1)),
            (&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None),
            (b"0000648\0", None),
            (b"-000001\0", None),
            (b"0x00001\0", None),
        ] {
            assert_eq!(signed(field), want, "{field:?}");
        }
        assert_eq!(number(&[0xff; 12]), None);
    }

    #[test]
    fn pax_records_good_and_bad() {
        let mut extension = Extension::default();
        extension.read_pax(b"14 path=a/b=c\n15 mtime=-5.25\n12 comment=\n").expect("good records");
        assert_eq!((extension.path.as_deref(), extension.mtime), (Some(&b"a/b=c"[..]), Some(-5)));
        for bad in [
            &b"x"[..],
            b"99 path=a\n",
            b"0 path=a\n",
            b"3 path=a\n",
            b"9 path=ab",
            b"8 patha\n",
            b"10 size=-1\n",
            b"18446744073709551616 path=a\n",
            b"                         ",
            b"11 uid=1e3\n",
            b"22 GNU.sparse.major=1\n",
        ] {
            assert!(Extension::default().read_pax(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
