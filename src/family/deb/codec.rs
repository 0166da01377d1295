//! Decompression by the name of a file's ending.

use std::io::{BufRead, Read};

use anyhow::{Context as _, Result};
use xz2::stream::{MtStreamBuilder, Stream};

/// The dictionary and the blocks of an xz file may take this much memory, in bytes. `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;
/// A zstd window may be at most two to this power of bytes: `zstd --ultra -22`, which `dpkg-deb` uses at most.
const ZSTD_WINDOW_LOG: u32 = 27;

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `.xz`
    Xz,
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
    /// None.
    Plain,
}

impl Codec {
    /// All of them, in the order in which indexes are preferred: smallest first.
    pub const ALL: [Codec; 4] = [Codec::Xz, Codec::Zstd, Codec::Gzip, Codec::Plain];

    /// What names end with, dot included.
    pub fn ending(self) -> &'static str {
        match self {
            Codec::Xz => ".xz",
            Codec::Gzip => ".gz",
            Codec::Zstd => ".zst",
            Codec::Plain => "",
        }
    }

    /// The uncompressed content of `input`. An xz file of several blocks is read with `threads` threads.
    pub fn reader<'a>(self, input: impl BufRead + Send + 'a, threads: usize) -> Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Codec::Xz => {
                let stream = if threads > 1 {
                    MtStreamBuilder::new()
                        .threads(u32::try_from(threads)?)
                        .memlimit_threading(XZ_MEMORY)
                        .memlimit_stop(XZ_MEMORY)
                        .decoder()
                } else {
                    Stream::new_stream_decoder(XZ_MEMORY, 0)
                };
                Box::new(xz2::bufread::XzDecoder::new_stream(input, stream.context("starting the xz decoder")?))
            }
            Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Codec::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input).context("starting the zstd decoder")?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).context("limiting the window of the zstd decoder")?;
                Box::new(decoder)
            }
            Codec::Plain => Box::new(input),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn every_codec_reads_back() {
        let text = "Package: a\n".repeat(1000).into_bytes();
        let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).expect("it compresses");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).expect("it compresses");
        let all = [
            (Codec::Xz, xz.finish().expect("it ends")),
            (Codec::Gzip, gzip.finish().expect("it ends")),
            (Codec::Zstd, zstd::encode_all(&text[..], 1).expect("it compresses")),
            (Codec::Plain, text.clone()),
        ];
        for (codec, packed) in &all {
            for threads in [1, 2] {
                let mut out = Vec::new();
                codec.reader(&packed[..], threads).expect("it starts").read_to_end(&mut out).expect("it reads");
                assert_eq!(out, text, "{codec:?}");
            }
            if *codec != Codec::Plain {
                let mut damaged = packed.clone();
                let middle = damaged.len() - 12;
                damaged[middle] ^= 0x55;
                let mut reader = codec.reader(&damaged[..], 1).expect("it starts");
                let mut out = Vec::new();
                assert!(reader.read_to_end(&mut out).is_err() || out != text, "{codec:?}");
                let mut cut = codec.reader(&packed[..packed.len() / 2], 1).expect("it starts");
                assert!(cut.read_to_end(&mut Vec::new()).is_err(), "{codec:?}");
            }
        }
    }
}
