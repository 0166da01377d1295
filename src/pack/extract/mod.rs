//! Reads a tarball back into a root filesystem. The tarball may be anyone's: nothing it says leads out of the root,
//! and nothing in it can take more memory or disk than the limits allow.

use std::io::{BufReader, Cursor, Read};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use flate2::bufread::MultiGzDecoder;

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

/// The most memory that a decoder of xz may take; level 9 needs 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;

/// Extracts a tarball, compressed in any of the ways that [`super::pack`] knows, into `into`, with the default limits.
/// Owners, permissions, times, and the attributes that belong to an image are applied.
pub fn extract(from: impl Read, into: &Root) -> Result<Extracted> {
    extract_within(from, into, Limits::default())
}

/// As [`extract`], with other limits.
pub fn extract_within(from: impl Read, into: &Root, limits: Limits) -> Result<Extracted> {
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
fn decompress<'a>(from: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
    const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    const GZIP: &[u8] = &[0x1f, 0x8b];
    const OTHERS: [(&[u8], &str); 3] = [(b"BZh", "bzip2"), (&[0x04, 0x22, 0x4d, 0x18], "lz4"), (b"PK\x03\x04", "zip")];

    let mut input = BufReader::with_capacity(256 << 10, from);
    // A pipe may give fewer bytes at first than the longest of the magics.
    let mut start = Vec::new();
    input.by_ref().take(XZ.len() as u64).read_to_end(&mut start).context("reading the archive")?;
    let magic = start.clone();
    let input = Cursor::new(start).chain(input);
    if magic.starts_with(XZ) {
        let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY, xz2::stream::CONCATENATED)
            .context("starting to decompress xz")?;
        return Ok(Box::new(xz2::bufread::XzDecoder::new_stream(input, stream)));
    }
    if magic.starts_with(ZSTD) {
        // The decoder's own limit of 128 MiB for the window holds.
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(input).context("starting zstd")?));
    }
    if magic.starts_with(GZIP) {
        return Ok(Box::new(MultiGzDecoder::new(input)));
    }
    if let Some((_, name)) = OTHERS.iter().find(|(start, _)| magic.starts_with(start)) {
        bail!("the archive is compressed with {name}; mkbase reads xz, zstd, gzip and plain tar");
    }
    Ok(Box::new(input))
}
