//! Reads a tarball back into a root filesystem. The tarball may be anyone's: nothing it says leads out of the root,
//! and nothing in it can take more memory or disk than the limits allow.

use std::io::{BufReader, Cursor, Read};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::codec::Codec;
use crate::interrupt;
use crate::root::Root;

mod place;
mod reader;

#[cfg(test)]
mod tests;

/// What a tarball may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the tar, decompressed.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

impl Default for Limits {
    /// Far above any root filesystem, far below any disk's end by a bomb of a few kilobytes a time.
    fn default() -> Limits {
        Limits { bytes: 64 << 30, entries: 4_000_000 }
    }
}

/// What was extracted.
#[derive(Debug, Default)]
pub struct Extracted {
    /// Entries read.
    pub entries: u64,
    /// Bytes of the tar, decompressed.
    pub bytes: u64,
    /// Device nodes that this user is not allowed to make, by their path in the image. They are missing.
    pub omitted: Vec<PathBuf>,
}

/// Extracts a tarball, compressed in any of the ways that [`super::pack`] knows, into `into`, with the default limits.
/// Owners, permissions, times, and the attributes that belong to an image are applied.
pub fn extract(from: impl Read + Send, into: &Root) -> Result<Extracted> {
    extract_within(from, into, Limits::default())
}

/// As [`extract`], with other limits.
pub fn extract_within(from: impl Read + Send, into: &Root, limits: Limits) -> Result<Extracted> {
    let tar = decompress(from)?;
    let mut reader = reader::Reader::new(tar, limits.bytes);
    let mut placer = place::Placer::new(into);
    let mut extracted = Extracted::default();
    while let Some(entry) = reader.next_entry()? {
        interrupt::check()?;
        extracted.entries += 1;
        if extracted.entries > limits.entries {
            bail!("the archive has more than {} entries", limits.entries);
        }
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let placed = placer.place(&entry, &mut reader).with_context(|| format!("extracting {shown:?}"))?;
        if !placed {
            extracted.omitted.push(place::clean(&entry.path)?);
        }
    }
    placer.finish()?;
    extracted.bytes = reader.position();
    Ok(extracted)
}

/// Finds out by the first bytes how it is compressed.
fn decompress<'a>(from: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    /// The first bytes of a file that tell its format.
    const START: u64 = 6;
    const OTHERS: [(&[u8], &str); 3] = [(b"BZh", "bzip2"), (&[0x04, 0x22, 0x4d, 0x18], "lz4"), (b"PK\x03\x04", "zip")];

    let mut input = BufReader::with_capacity(256 << 10, from);
    // A pipe may give fewer bytes at first than that.
    let mut start = Vec::new();
    input.by_ref().take(START).read_to_end(&mut start).context("reading the archive")?;
    if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        bail!("the archive is compressed with {name}; mkbase reads xz, zstd, gzip and plain tar");
    }
    // None comes last, and has no magic.
    let codec = Codec::ALL.into_iter().find(|codec| start.starts_with(codec.magic())).unwrap_or(Codec::None);
    codec.reader(Cursor::new(start).chain(input), 1)
}
