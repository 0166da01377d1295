//! Pack: a tree becomes a deterministic tar, compressed on all cores; and the way back.
//!
//! The tar is cut into segments by rules that depend on the tree and the codec alone (`order`, `segments`), every
//! segment is compressed on its own, and the pieces are joined to one ordinary `.xz`, `.zst` or `.gz` file. So the bytes
//! do not depend on the number of threads, and a segment's compressed form depends on nothing but its content and the
//! level: it is kept in the cache for the next build (`pieces`).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;

use anyhow::Result;

use crate::codec::Codec;
use crate::error::{did_you_mean, usage};
use crate::fetch::Fetcher;
use crate::root::Root;
use crate::ui::Bar;
use segments::Lengths;

mod encode;
mod extract;
mod header;
mod order;
mod pieces;
mod segments;
mod stream;
mod tree;
mod verify;
mod xattrs;
mod xz;

#[cfg(test)]
mod tests;

pub use extract::{Extracted, Limits, extract, extract_within};
pub use pieces::Reuse;
pub use tree::Clock;
pub use xattrs::belongs;

impl Codec {
    /// What the tarball in an output folder is called.
    pub fn file_name(self) -> &'static str {
        match self {
            Codec::Xz => "rootfs.tar.xz",
            Codec::Zstd => "rootfs.tar.zst",
            Codec::Gzip => "rootfs.tar.gz",
            Codec::None => "rootfs.tar",
        }
    }

    /// The levels it knows; none where there is nothing to choose.
    pub fn levels(self) -> Option<std::ops::RangeInclusive<i32>> {
        match self {
            Codec::Xz => Some(0..=9),
            // 20 to 22 need windows that decoders refuse without being told.
            Codec::Zstd => Some(1..=19),
            Codec::Gzip => Some(1..=9),
            Codec::None => None,
        }
    }

    /// The level taken when none is given. What a Debian tree of 124 MB becomes, with the time of one core as rounded
    /// as a busy machine allows: xz 6 31.7 MB in 47 s, xz 5 31.8 in 39; zstd 19 33.7 in 75, zstd 17 35.0 in 40, zstd 15
    /// 36.8 in 18; gzip 9 49.4 in 8, gzip 6 50.8 in 2.
    pub fn default_level(self) -> i32 {
        match self {
            Codec::Xz => 6,
            Codec::Zstd => 15,
            Codec::Gzip => 9,
            Codec::None => 0,
        }
    }
}

/// A compression and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Which.
    pub codec: Codec,
    /// Level; the codec's own default when `None`.
    pub level: Option<i32>,
}

impl Compression {
    /// The level that counts.
    pub fn level(&self) -> i32 {
        self.level.unwrap_or_else(|| self.codec.default_level())
    }
}

impl FromStr for Compression {
    type Err = anyhow::Error;

    /// Reads `xz`, `zstd:19`, `none`: a codec's name and perhaps a level. Anything else is a usage error.
    fn from_str(text: &str) -> Result<Compression> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        let Some(codec) = Codec::ALL.into_iter().find(|codec| codec.name() == name) else {
            let names = Codec::ALL.map(Codec::name);
            let nearest = did_you_mean(name, names);
            return Err(usage(format!("unknown compression '{name}'; there are {}{nearest}", names.join(", "))));
        };
        let level = match (level, codec.levels()) {
            (None, _) => None,
            (Some(level), None) => return Err(usage(format!("{name} has no levels, but '{level}' was given"))),
            (Some(level), Some(range)) => match level.parse::<i32>() {
                Ok(number) if range.contains(&number) => Some(number),
                _ => {
                    let (first, last) = (range.start(), range.end());
                    return Err(usage(format!("{name} has levels from {first} to {last}, not '{level}'")));
                }
            },
        };
        Ok(Compression { codec, level })
    }
}

/// What was packed.
#[derive(Debug, Clone)]
pub struct Packed {
    /// SHA-256 of the tar before compression: the layer's `diff_id` of the OCI image-spec.
    pub diff_id: String,
    /// SHA-256 of what was written.
    pub sha256: String,
    /// Bytes of the tar.
    pub unpacked: u64,
    /// Bytes written.
    pub packed: u64,
    /// What the cache had of it.
    pub reuse: Reuse,
}

/// What of a tree goes into the tar, as it was when this was made.
#[derive(Debug)]
pub struct Listing {
    items: Vec<tree::Item>,
    clock: Clock,
}

impl Listing {
    /// Everything in the tree. Sockets are left out, and so is what lies in `/dev`, `/proc` and `/sys`, which a container
    /// engine fills. `owners` are the names of the packages that paths belong to; files of one stand together.
    pub fn new(root: &Root, owners: &BTreeMap<PathBuf, String>, clock: Clock) -> Result<Listing> {
        Ok(Listing { items: order::arrange(tree::items(root)?, owners, clock), clock })
    }
}

/// How to pack.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Compression of the tar.
    pub compression: Compression,
    /// Threads that compress.
    pub jobs: usize,
    /// Where compressed segments are kept.
    pub cache: Option<&'a Fetcher>,
    /// Once it is set, nobody wants the result: packing gives up with an error.
    pub unwanted: &'a AtomicBool,
}

/// Writes what the listing holds of the tree as a compressed tar. The bytes depend on the tree, the owners, the epoch and
/// the compression only. `bar` counts bytes of the tar; its total is set here.
///
/// Writing to `out` fails with the error of the writer and "writing the tarball"; the caller knows where that is.
pub fn pack(root: &Root, listing: &Listing, settings: Settings<'_>, out: &mut dyn Write, bar: &Bar) -> Result<Packed> {
    let Listing { items, clock } = listing;
    let total = items.iter().map(tree::Item::tar_size).sum();
    bar.total(total);
    let lengths = Lengths::new(settings.compression, total);
    let starts = match lengths.reach {
        Some(reach) => segments::starts(items, reach),
        None => vec![false; items.len()],
    };
    stream::run(settings, lengths, out, bar, |sink| tree::write(root, items, &starts, *clock, sink))
}
