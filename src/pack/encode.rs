//! The codecs: one segment of the tar in, its compressed form out.
//!
//! A codec gives the same bytes on every processor, but another version of its library may give others: the versions
//! are those of `Cargo.lock`, and an update of one is a change of every image.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use flate2::GzBuilder;

use super::Compression;
use super::xz;
use crate::codec::Codec;
use crate::interrupt;

/// How much goes to a codec at a time, so that an interrupt is seen within a tenth of a second.
const STEP: usize = 256 << 10;

/// The operating system that a gzip header names: none (RFC 1952, section 2.3.1).
const GZIP_NO_SYSTEM: u8 = 255;

/// A segment's compressed form.
#[derive(Debug)]
pub struct Piece {
    /// The bytes.
    pub data: Vec<u8>,
    /// Bytes before compression.
    pub plain: u64,
    /// Bytes that xz's index counts: without the padding.
    pub unpadded: u64,
}

/// Compresses segments. It has no state, so any segment can be compressed at any time.
#[derive(Debug, Clone, Copy)]
pub struct Encoder {
    compression: Compression,
}

impl Encoder {
    /// An encoder for one codec and level.
    pub fn new(compression: Compression) -> Encoder {
        Encoder { compression }
    }

    /// The codec and its level.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Compresses one segment. Gives up when `unwanted` is set or the process was interrupted.
    pub fn encode(&self, segment: &[u8], unwanted: &AtomicBool) -> Result<Piece> {
        let level = self.compression.level();
        let plain = segment.len() as u64;
        let out = Vec::with_capacity(segment.len() / 3);
        let data = match self.compression.codec {
            Codec::Xz => {
                let mut encoder = xz::encoder(out, level)?;
                feed(&mut encoder, segment, unwanted)?;
                let stream = encoder.finish().context("compressing with xz")?;
                let (data, unpadded) = xz::block(&stream, plain)?;
                return Ok(Piece { data, plain, unpadded });
            }
            Codec::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, level).context("starting zstd")?;
                encoder.include_checksum(true).context("setting up zstd")?;
                encoder.set_pledged_src_size(Some(plain)).context("setting up zstd")?;
                feed(&mut encoder, segment, unwanted)?;
                encoder.finish().context("compressing with zstd")?
            }
            Codec::Gzip => {
                let level = flate2::Compression::new(level.unsigned_abs());
                let mut encoder = GzBuilder::new().mtime(0).operating_system(GZIP_NO_SYSTEM).write(out, level);
                feed(&mut encoder, segment, unwanted)?;
                encoder.finish().context("compressing with gzip")?
            }
            Codec::None => segment.to_vec(),
        };
        Ok(Piece { data, plain, unpadded: plain })
    }
}

fn feed(encoder: &mut dyn Write, segment: &[u8], unwanted: &AtomicBool) -> Result<()> {
    for step in segment.chunks(STEP) {
        interrupt::check()?;
        if unwanted.load(Ordering::Relaxed) {
            bail!("nobody waits for this any more");
        }
        encoder.write_all(step).context("compressing")?;
    }
    Ok(())
}

/// What stands around the pieces in the file. Frames of zstd and members of gzip simply follow one another; blocks of
/// xz need a header before and an index after them.
#[derive(Debug)]
pub enum Framing {
    /// Nothing.
    Bare,
    /// The sizes for the index so far.
    Xz(xz::Index),
}

impl Framing {
    /// For what this encoder makes.
    pub fn new(encoder: &Encoder) -> Framing {
        match encoder.compression.codec {
            Codec::Xz => Framing::Xz(xz::Index::default()),
            Codec::Zstd | Codec::Gzip | Codec::None => Framing::Bare,
        }
    }

    /// What comes before the first piece.
    pub fn begin(&self) -> Vec<u8> {
        match self {
            Framing::Bare => Vec::new(),
            Framing::Xz(_) => xz::stream_header(),
        }
    }

    /// Takes note of a piece.
    pub fn add(&mut self, piece: &Piece) {
        if let Framing::Xz(index) = self {
            index.add(piece.unpadded, piece.plain);
        }
    }

    /// What comes after the last piece.
    pub fn end(&self) -> Vec<u8> {
        match self {
            Framing::Bare => Vec::new(),
            Framing::Xz(index) => index.finish(),
        }
    }
}
