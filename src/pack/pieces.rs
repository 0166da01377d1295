//! The compressed forms of segments, and keeping them in the cache.
//!
//! A piece is kept under a hash of the segment, the codec and its level, and of the program itself: the codecs are built
//! into it, and another version of one may give other bytes. A cache may be damaged, and others may be able to write to
//! it. So a piece from there is decompressed and compared with the segment, which takes a thirtieth of the time of
//! compressing; and it has a checksum, for what a decoder does not look at, as some fields of gzip's header. Without a
//! cache that can be read or written everything is as well, and takes its time.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::encode::{Encoder, Piece};
use crate::fetch::Fetcher;
use crate::hash::{hex, sha256_of};

/// Bytes of the checksum in front.
const CHECKSUM: usize = 32;

/// Bytes of the number that follows it: [`Piece::unpadded`].
const UNPADDED: usize = 8;

/// Where the program is, even when its file was replaced since.
const PROGRAM: &str = "/proc/self/exe";

/// What packing had from the cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reuse {
    /// Segments in all; none where nothing is compressed.
    pub segments: usize,
    /// Those whose compressed form was in the cache.
    pub cached: usize,
    /// Those of which something wrong was in the cache, so that they were compressed again.
    pub damaged: usize,
    /// Why those that were compressed are not in the cache.
    pub not_kept: Option<String>,
}

/// Makes pieces, or takes them from the cache.
#[derive(Debug)]
pub struct Pieces<'a> {
    encoder: Encoder,
    cache: Option<&'a Fetcher>,
    segments: AtomicUsize,
    cached: AtomicUsize,
    damaged: AtomicUsize,
    /// Once there is a reason, nothing more is kept.
    not_kept: Mutex<Option<String>>,
}

impl<'a> Pieces<'a> {
    /// Pieces of one codec and level.
    pub fn new(encoder: Encoder, cache: Option<&'a Fetcher>) -> Pieces<'a> {
        let zero = AtomicUsize::default;
        Pieces { encoder, cache, segments: zero(), cached: zero(), damaged: zero(), not_kept: Mutex::default() }
    }

    /// The compressed form of a segment. Gives up as [`Encoder::encode`] does.
    pub fn piece(&self, segment: &[u8], unwanted: &AtomicBool) -> Result<Piece> {
        self.segments.fetch_add(1, Ordering::Relaxed);
        let Some(cache) = self.cache else { return self.encoder.encode(segment, unwanted) };
        let name = match program() {
            Ok(program) => self.name(program, segment),
            Err(why) => {
                self.give_up(why.clone());
                return self.encoder.encode(segment, unwanted);
            }
        };
        if let Some(kept) = cache.piece(&name, longest(segment)) {
            if let Some(piece) = self.open(&kept, segment) {
                self.cached.fetch_add(1, Ordering::Relaxed);
                return Ok(piece);
            }
            self.damaged.fetch_add(1, Ordering::Relaxed);
        }
        let piece = self.encoder.encode(segment, unwanted)?;
        if self.not_kept.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            let unpadded = piece.unpadded.to_le_bytes();
            let checksum = checksum(&[&unpadded, &piece.data]);
            if let Err(error) = cache.keep_piece(&name, &[&checksum, &unpadded, &piece.data]) {
                self.give_up(format!("{error:#}"));
            }
        }
        Ok(piece)
    }

    /// Keeps nothing more.
    fn give_up(&self, why: String) {
        self.not_kept.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// What the cache had so far.
    pub fn reuse(self) -> Reuse {
        Reuse {
            segments: self.segments.into_inner(),
            cached: self.cached.into_inner(),
            damaged: self.damaged.into_inner(),
            not_kept: self.not_kept.into_inner().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// What the piece of a segment is kept under.
    fn name(&self, program: &str, segment: &[u8]) -> String {
        let compression = self.encoder.compression();
        let (codec, level) = (compression.codec.name(), compression.level());
        let mut hash = Sha256::new();
        hash.update(format!("{program} {codec} {level}\n"));
        hash.update(segment);
        hex(&hash.finalize())
    }

    /// The piece that was kept, if it is the segment's.
    fn open(&self, kept: &[u8], segment: &[u8]) -> Option<Piece> {
        let (sum, rest) = kept.split_at_checked(CHECKSUM)?;
        let (unpadded, data) = rest.split_at_checked(UNPADDED)?;
        if checksum(&[rest]) != sum {
            return None;
        }
        let unpadded = u64::from_le_bytes(unpadded.try_into().ok()?);
        let piece = Piece { data: data.to_vec(), plain: segment.len() as u64, unpadded };
        self.encoder.is_form_of(&piece, segment).then_some(piece)
    }
}

/// Bytes that a segment's piece may have in the cache: what no codec can compress becomes a little longer.
fn longest(segment: &[u8]) -> u64 {
    (segment.len() + segment.len() / 16 + (4 << 10)) as u64
}

fn checksum(parts: &[&[u8]]) -> [u8; CHECKSUM] {
    parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
}

/// The hash of the running program.
fn program() -> &'static Result<String, String> {
    static PROGRAM_HASH: OnceLock<Result<String, String>> = OnceLock::new();
    PROGRAM_HASH.get_or_init(|| {
        let hash = File::open(PROGRAM).and_then(sha256_of).with_context(|| format!("reading {PROGRAM}"));
        hash.map(|(hash, _)| hash).map_err(|error| format!("{error:#}"))
    })
}
