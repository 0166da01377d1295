//! Whether a compressed form is that of a segment.

use std::io::{self, BufRead, Read};

use anyhow::{Result, bail};

use super::encode::{Encoder, Framing, Piece};
use crate::codec::Codec;

/// Read and compared at once, in bytes.
const CHUNK: usize = 128 << 10;

impl Encoder {
    /// Whether the piece, and nothing but it, is what any reader makes the segment of. It is decompressed for that, as
    /// the file it would make alone.
    pub fn is_form_of(&self, piece: &Piece, segment: &[u8]) -> bool {
        let mut framing = Framing::new(self);
        framing.add(piece);
        let (begin, end) = (framing.begin(), framing.end());
        let file = begin.chain(piece.data.as_slice()).chain(end.as_slice());
        // Whatever a decoder dislikes in it, it is not the right one.
        piece.plain == segment.len() as u64 && self.compression().codec.unpacks_to(file, segment).is_ok()
    }
}

impl Codec {
    /// Fails unless `file` is one stream, frame or member that unpacks to exactly these bytes.
    fn unpacks_to(self, file: impl BufRead, expected: &[u8]) -> Result<()> {
        let mut rest = self.single(file, |reader| compare(reader, expected))?;
        if !rest.fill_buf()?.is_empty() {
            bail!("something follows");
        }
        Ok(())
    }
}

/// Fails unless the input is exactly these bytes.
fn compare(input: &mut dyn Read, expected: &[u8]) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut rest = expected;
    loop {
        match input.read(&mut chunk) {
            Ok(0) if rest.is_empty() => return Ok(()),
            Ok(0) => bail!("it ends early"),
            Ok(count) => match rest.strip_prefix(&chunk[..count]) {
                Some(after) => rest = after,
                None => bail!("it has other content"),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Pieces that are sound by themselves, with right checksums, as somebody may leave them who can write to the cache.
    #[test]
    fn what_was_made_of_something_else_is_refused() {
        let (segment, other) = (b"content ".repeat(1000), b"Content ".repeat(1000));
        for compression in ["xz:0", "zstd:1", "gzip:1"] {
            let encoder = Encoder::new(compression.parse().expect("a compression"));
            let encode = |plain: &[u8]| encoder.encode(plain, &AtomicBool::new(false)).expect("it compresses");
            let right = encode(&segment);
            assert!(encoder.is_form_of(&right, &segment), "{compression}");
            let plain = segment.len() as u64;
            let (wrong, half) = (encode(&other), encode(&segment[..4000]));
            let rest = encode(&segment[4000..]);
            for (what, data, unpadded) in [
                ("other content", wrong.data.clone(), wrong.unpadded),
                ("the beginning", half.data.clone(), half.unpadded),
                ("more than it", [&right.data[..], &rest.data].concat(), right.unpadded),
                ("two halves", [&half.data[..], &rest.data].concat(), half.unpadded),
                ("nothing", Vec::new(), 0),
                ("padding", [&right.data[..], &[0; 4]].concat(), right.unpadded),
            ] {
                let piece = Piece { data, plain, unpadded };
                assert!(!encoder.is_form_of(&piece, &segment), "{compression}: {what}");
            }
            let shorter = Piece { plain: plain - 1, ..encode(&segment) };
            assert!(!encoder.is_form_of(&shorter, &segment), "{compression}");
        }
        for compression in ["zstd:1", "gzip:1"] {
            let encoder = Encoder::new(compression.parse().expect("a compression"));
            let encode = |plain: &[u8]| encoder.encode(plain, &AtomicBool::new(false)).expect("it compresses");
            let data = [encode(&segment).data, encode(b"").data].concat();
            let piece = Piece { data, plain: segment.len() as u64, unpadded: 0 };
            assert!(!encoder.is_form_of(&piece, &segment), "{compression}: nothing, but after it");
        }
        let encoder = Encoder::new("xz:0".parse().expect("a compression"));
        let right = encoder.encode(&segment, &AtomicBool::new(false)).expect("it compresses");
        for unpadded in [right.unpadded - 1, right.unpadded + 1, 0, u64::MAX >> 1] {
            let piece = Piece { data: right.data.clone(), plain: right.plain, unpadded };
            assert!(!encoder.is_form_of(&piece, &segment), "the index must be right: {unpadded}");
        }
    }
}
