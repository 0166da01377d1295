//! The header of RPM: tagged values, as they stand in package files and in the database.
//!
//! Format: rpm's manual, "RPM V4 Package format", and `lib/header.c`. A header is an index of 16 bytes an entry (tag,
//! type, offset, count) and a store that the offsets point into; all numbers are big-endian. Everything is checked
//! against the limits of rpm itself before it is used.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

/// What a header begins with in a file: three bytes and the version, then four reserved ones.
pub const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
/// Bytes of an entry of the index.
const ENTRY: usize = 16;
/// Entries of a header at most, as in rpm.
pub const MAX_ENTRIES: usize = 0xffff;
/// Bytes of a store at most, as in rpm.
pub const MAX_STORE: usize = 256 << 20;

/// Tags of `rpmtag.h` that are used here.
pub mod tag {
    /// Header-only signature by a DSA or EdDSA key (signature header).
    pub const DSA_HEADER: u32 = 267;
    /// Header-only signature by an RSA key (signature header).
    pub const RSA_HEADER: u32 = 268;
    /// SHA-256 of the header (signature header).
    pub const SHA256_HEADER: u32 = 273;
    /// Header-only signatures of every kind, in base 64 (signature header).
    pub const OPENPGP: u32 = 278;
    /// Signature of header and payload by an RSA key (signature header).
    pub const LEGACY_RSA: u32 = 1002;
    /// Signature of header and payload by a DSA key (signature header).
    pub const LEGACY_DSA: u32 = 1005;
    /// Name.
    pub const NAME: u32 = 1000;
    /// Version.
    pub const VERSION: u32 = 1001;
    /// Release.
    pub const RELEASE: u32 = 1002;
    /// Epoch.
    pub const EPOCH: u32 = 1003;
    /// When it was installed: the transaction's time, and a second more for every package before it.
    pub const INSTALL_TIME: u32 = 1008;
    /// Size of the files in bytes, 32 bits.
    pub const SIZE: u32 = 1009;
    /// Its licence, an SPDX expression as a rule.
    pub const LICENCE: u32 = 1014;
    /// Architecture.
    pub const ARCH: u32 = 1022;
    /// State of each file: 0 is installed.
    pub const FILE_STATES: u32 = 1029;
    /// Type and permissions of each file, as of stat(2).
    pub const FILE_MODES: u32 = 1030;
    /// Digest of each file, in hexadecimal; empty of what is no regular file.
    pub const FILE_DIGESTS: u32 = 1035;
    /// Target of each symbolic link.
    pub const FILE_LINKS: u32 = 1036;
    /// Flags of each file.
    pub const FILE_FLAGS: u32 = 1037;
    /// File name of the source package.
    pub const SOURCE_RPM: u32 = 1044;
    /// Which properties of each file are verified, `rpmvf.h`.
    pub const FILE_VERIFY_FLAGS: u32 = 1045;
    /// Names of what the package provides.
    pub const PROVIDE_NAMES: u32 = 1047;
    /// Flags of each provide, `rpmsenseFlags` of `rpmds.h`.
    pub const PROVIDE_FLAGS: u32 = 1112;
    /// Version of each provide.
    pub const PROVIDE_VERSIONS: u32 = 1113;
    /// Where in [`DEPENDENCY_DICTIONARY`] the dependencies of each file begin.
    pub const FILE_DEPENDENCIES: u32 = 1143;
    /// How many each file has there.
    pub const FILE_DEPENDENCY_COUNTS: u32 = 1144;
    /// Dependencies of files: the type in the first byte, and the position in the list of that type.
    pub const DEPENDENCY_DICTIONARY: u32 = 1145;
    /// Index into [`DIR_NAMES`] of each file.
    pub const DIR_INDEXES: u32 = 1116;
    /// Last part of the path of each file.
    pub const BASE_NAMES: u32 = 1117;
    /// Folders, with `/` at the end.
    pub const DIR_NAMES: u32 = 1118;
    /// The time of the transaction that it was installed by.
    pub const INSTALL_ID: u32 = 1128;
    /// Size of the files in bytes, 64 bits, where 32 are too few.
    pub const LONG_SIZE: u32 = 5009;
    /// Algorithm of the digests of files, as OpenPGP numbers them.
    pub const FILE_DIGEST_ALGORITHM: u32 = 5011;
    /// Digest of the payload as it is in the file.
    pub const PAYLOAD_DIGEST: u32 = 5092;
    /// Its algorithm, as OpenPGP numbers them.
    pub const PAYLOAD_DIGEST_ALGORITHM: u32 = 5093;
}

/// A parsed header; owns its bytes.
#[derive(Debug, Clone)]
pub struct Header {
    store: Vec<u8>,
    /// Entries of the index as it stands.
    index: usize,
    entries: BTreeMap<u32, Entry>,
    repeated: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    kind: u32,
    offset: usize,
    count: usize,
}

/// The lengths that a header begins with: entries, and bytes of the store.
pub fn lengths(start: [u8; 8]) -> Result<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = start;
    let (entries, store) = (u32::from_be_bytes([a, b, c, d]) as usize, u32::from_be_bytes([e, f, g, h]) as usize);
    if entries == 0 || entries > MAX_ENTRIES {
        bail!("a header of {entries} entries, where 1 to {MAX_ENTRIES} are allowed");
    }
    if store > MAX_STORE {
        bail!("a header with {store} bytes of values, where {MAX_STORE} are allowed");
    }
    Ok((entries, store))
}

/// Bytes of a header after its lengths.
pub fn body_size(entries: usize, store: usize) -> usize {
    entries * ENTRY + store
}

impl Header {
    /// Reads a header without its magic: from its lengths to its end, nothing after it.
    pub fn parse(blob: &[u8]) -> Result<Header> {
        let (start, body) = blob.split_first_chunk::<8>().context("a header is cut off in its lengths")?;
        let (count, store) = lengths(*start)?;
        if body.len() != body_size(count, store) {
            bail!("a header has {} bytes, and by its lengths {}", body.len(), body_size(count, store));
        }
        let (index, store) = body.split_at(count * ENTRY);
        let mut header = Header { store: store.to_vec(), index: count, entries: BTreeMap::new(), repeated: None };
        for entry in index.chunks_exact(ENTRY) {
            let number = |at: usize| u32::from_be_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
            let tag = number(0);
            let (offset, count) = (number(8) as usize, number(12) as usize);
            if offset > header.store.len() || count == 0 || count > header.store.len().max(1) {
                bail!("the entry of tag {tag} is out of the header: offset {offset}, count {count}");
            }
            // In the database what rpm added later stands last, and counts.
            if header.entries.insert(tag, Entry { kind: number(4), offset, count }).is_some() {
                header.repeated = Some(tag);
            }
        }
        Ok(header)
    }

    /// A tag that is there more than once. Package files have none.
    pub fn repeated(&self) -> Option<u32> {
        self.repeated
    }

    fn entry(&self, tag: u32) -> Option<Entry> {
        self.entries.get(&tag).copied()
    }

    /// Numbers of 8 to 64 bits; empty where the tag is not there.
    pub fn numbers(&self, tag: u32) -> Result<Vec<u64>> {
        let Some(entry) = self.entry(tag) else { return Ok(Vec::new()) };
        let width = match entry.kind {
            1 | 2 => 1,
            3 => 2,
            4 => 4,
            5 => 8,
            kind => bail!("tag {tag} has no numbers but values of type {kind}"),
        };
        let end = entry.count.checked_mul(width).and_then(|size| size.checked_add(entry.offset));
        let bytes = end.and_then(|end| self.store.get(entry.offset..end));
        let bytes = bytes.with_context(|| format!("the numbers of tag {tag} go beyond the header"))?;
        Ok(bytes.chunks_exact(width).map(|part| part.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))).collect())
    }

    /// Where in the blob the values of a tag begin.
    pub fn position(&self, tag: u32) -> Option<usize> {
        self.entry(tag).map(|entry| 8 + self.index * ENTRY + entry.offset)
    }

    /// The first number.
    pub fn number(&self, tag: u32) -> Result<Option<u64>> {
        Ok(self.numbers(tag)?.first().copied())
    }

    /// Bytes.
    pub fn bytes(&self, tag: u32) -> Result<Option<&[u8]>> {
        let Some(entry) = self.entry(tag) else { return Ok(None) };
        if entry.kind != 7 {
            bail!("tag {tag} has no bytes but values of type {}", entry.kind);
        }
        let bytes = entry.offset.checked_add(entry.count).and_then(|end| self.store.get(entry.offset..end));
        bytes.map(Some).with_context(|| format!("the bytes of tag {tag} go beyond the header"))
    }

    /// Strings, of all kinds; empty where the tag is not there.
    pub fn strings(&self, tag: u32) -> Result<Vec<&[u8]>> {
        let Some(entry) = self.entry(tag) else { return Ok(Vec::new()) };
        let count = match entry.kind {
            6 => 1,
            8 | 9 => entry.count,
            kind => bail!("tag {tag} has no strings but values of type {kind}"),
        };
        let mut strings = Vec::with_capacity(count);
        let mut rest = self.store.get(entry.offset..).unwrap_or_default();
        for _ in 0..count {
            let end = rest.iter().position(|byte| *byte == 0);
            let end = end.with_context(|| format!("the strings of tag {tag} go beyond the header"))?;
            strings.push(&rest[..end]);
            rest = &rest[end + 1..];
        }
        Ok(strings)
    }

    /// The first string.
    pub fn text(&self, tag: u32) -> Result<Option<Cow<'_, str>>> {
        Ok(self.strings(tag)?.first().map(|text| String::from_utf8_lossy(text)))
    }

    /// The first string of a tag that must be there, without control characters: it becomes part of messages.
    pub fn required(&self, tag: u32, what: &str) -> Result<String> {
        let text = self.text(tag)?.with_context(|| format!("the header has no {what}"))?;
        if text.is_empty() || text.contains(|c: char| c.is_control() || c == '/') {
            bail!("the header's {what} is {text:?}");
        }
        Ok(text.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::maker::{Value, make};
    use super::*;

    fn example() -> Vec<u8> {
        make(&[
            (tag::NAME, Value::Text("bash")),
            (tag::DIR_NAMES, Value::Texts(&["/usr/", "/etc/"])),
            (tag::EPOCH, Value::Numbers(&[1, 0x0102_0304])),
            (tag::RSA_HEADER, Value::Bytes(b"\x01\x02")),
        ])
    }

    #[test]
    fn values_are_read_by_their_type() {
        let header = Header::parse(&example()).expect("it is right");
        assert_eq!(header.required(tag::NAME, "name").expect("a name"), "bash");
        assert_eq!(header.strings(tag::DIR_NAMES).expect("strings"), [b"/usr/", b"/etc/"]);
        assert_eq!(header.numbers(tag::EPOCH).expect("numbers"), [1, 0x0102_0304]);
        assert_eq!(header.bytes(tag::RSA_HEADER).expect("bytes"), Some(&b"\x01\x02"[..]));
        assert!(header.text(tag::ARCH).expect("absent").is_none() && header.repeated().is_none());
        for error in [
            header.numbers(tag::NAME).expect_err("a string"),
            header.bytes(tag::EPOCH).expect_err("numbers"),
            header.strings(tag::RSA_HEADER).expect_err("bytes"),
            header.required(tag::ARCH, "architecture").expect_err("absent"),
        ] {
            assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn hostile_headers_are_refused() {
        let with = |at: usize, number: u32| {
            let mut blob = example();
            blob[at..at + 4].copy_from_slice(&number.to_be_bytes());
            blob
        };
        let size = example().len();
        for (blob, expected) in [
            (Vec::new(), "cut off in its lengths"),
            (with(0, 0), "of 0 entries"),
            (with(0, 70_000), "of 70000 entries"),
            (with(4, u32::MAX), "4294967295 bytes of values"),
            (example()[..size - 1].to_vec(), "by its lengths"),
            ([example(), vec![0]].concat(), "by its lengths"),
            (with(16, 0x7fff_ffff), "tag 1000 is out of the header"),
            (with(20, 0), "tag 1000 is out of the header: offset 0, count 0"),
            (with(20, u32::MAX), "tag 1000 is out of the header"),
        ] {
            let error = Header::parse(&blob).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        // Values are looked at when they are asked for.
        let header = Header::parse(&with(8 + 16 + 12, 20)).expect("the index is right");
        assert!(header.strings(tag::DIR_NAMES).expect_err("too many").to_string().contains("beyond the header"));
        let header = Header::parse(&with(8 + 32 + 12, 9)).expect("the index is right");
        assert!(header.numbers(tag::EPOCH).expect_err("too many").to_string().contains("beyond the header"));
        let header = Header::parse(&with(8 + 48 + 12, 3)).expect("the index is right");
        assert!(header.bytes(tag::RSA_HEADER).expect_err("too many").to_string().contains("beyond the header"));
        let header = Header::parse(&with(8 + 16, tag::NAME)).expect("the index is right");
        assert_eq!(header.repeated(), Some(tag::NAME));
        for name in ["a/b", "a\nb", ""] {
            let header = Header::parse(&make(&[(tag::NAME, Value::Text(name))])).expect("it is right");
            assert!(header.required(tag::NAME, "name").is_err(), "{name:?}");
        }
    }
}
