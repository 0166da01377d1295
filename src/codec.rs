//! The compressions of package files, indexes and tarballs, and how each is read.

use std::io::{self, BufRead, Read};

use anyhow::{Context as _, Result};
use xz2::bufread::XzDecoder;
use xz2::stream::{IGNORE_CHECK, MtStreamBuilder, Stream};

/// The dictionary and the blocks of an xz file may take this much memory, in bytes. `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;
/// A zstd window may be at most two to this power of bytes: `zstd --ultra -22`, which `dpkg-deb` uses at most.
const ZSTD_WINDOW_LOG: u32 = 27;

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `.xz`
    Xz,
    /// `.zst`
    Zstd,
    /// `.gz`
    Gzip,
    /// No compression.
    None,
}

impl Codec {
    /// All of them, in the order of the help, which is also that in which indexes are preferred: smallest first.
    pub const ALL: [Codec; 4] = [Codec::Xz, Codec::Zstd, Codec::Gzip, Codec::None];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Xz => "xz",
            Codec::Zstd => "zstd",
            Codec::Gzip => "gzip",
            Codec::None => "none",
        }
    }

    /// What file names end with, dot included.
    pub fn ending(self) -> &'static str {
        match self {
            Codec::Xz => ".xz",
            Codec::Zstd => ".zst",
            Codec::Gzip => ".gz",
            Codec::None => "",
        }
    }

    /// What its files begin with (`xz-file-format.txt`, RFC 8878, RFC 1952).
    pub fn magic(self) -> &'static [u8] {
        match self {
            Codec::Xz => b"\xfd7zXZ\0",
            Codec::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
            Codec::Gzip => &[0x1f, 0x8b],
            Codec::None => b"",
        }
    }

    /// The uncompressed content of `input`: all of it, where streams follow one another too. An xz stream of several
    /// blocks is read with `threads` threads.
    pub fn reader<'a>(self, input: impl BufRead + Send + 'a, threads: usize) -> Result<Box<dyn Read + Send + 'a>> {
        self.reader_with(input, Xz { threads: u32::try_from(threads)?, flags: 0 })
    }

    /// The same with one thread, of a file whose hash was found to be right: the checksums in xz files are left alone,
    /// which saves a tenth of the time.
    pub fn verified_reader<'a>(self, input: impl BufRead + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
        self.reader_with(input, Xz { threads: 1, flags: IGNORE_CHECK })
    }

    /// Reads one stream of xz, one frame of zstd or one member of gzip with `read`, and gives back what follows it.
    pub fn single<B: BufRead>(self, input: B, read: impl FnOnce(&mut dyn Read) -> Result<()>) -> Result<B> {
        Ok(match self {
            Codec::Xz => {
                let xz = Xz { threads: 1, flags: 0 };
                let mut decoder = XzDecoder::new_stream(input, xz.stream().context("starting the xz decoder")?);
                read(&mut decoder)?;
                decoder.into_inner()
            }
            Codec::Gzip => {
                let mut decoder = flate2::bufread::GzDecoder::new(input);
                read(&mut decoder)?;
                decoder.into_inner()
            }
            Codec::Zstd => {
                let mut decoder = zstd_decoder(input)?.single_frame();
                read(&mut decoder)?;
                decoder.finish()
            }
            Codec::None => {
                let mut input = input;
                read(&mut input)?;
                input
            }
        })
    }

    fn reader_with<'a>(self, input: impl BufRead + Send + 'a, xz: Xz) -> Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Codec::Xz => {
                let decoder = XzDecoder::new_stream(input, xz.stream().context("starting the xz decoder")?);
                Box::new(XzStreams { decoder: Some(decoder), xz })
            }
            Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Codec::Zstd => Box::new(zstd_decoder(input)?),
            Codec::None => Box::new(input),
        })
    }
}

fn zstd_decoder<'a, B: BufRead>(input: B) -> Result<zstd::Decoder<'a, B>> {
    let mut decoder = zstd::Decoder::with_buffer(input).context("starting the zstd decoder")?;
    decoder.window_log_max(ZSTD_WINDOW_LOG).context("limiting the window of the zstd decoder")?;
    Ok(decoder)
}

/// How xz is read.
#[derive(Debug, Clone, Copy)]
struct Xz {
    threads: u32,
    /// Of the decoder with one thread, `lzma/container.h`.
    flags: u32,
}

impl Xz {
    fn stream(self) -> Result<Stream, xz2::stream::Error> {
        if self.threads <= 1 {
            return Stream::new_stream_decoder(XZ_MEMORY, self.flags);
        }
        let mut builder = MtStreamBuilder::new();
        builder.threads(self.threads).memlimit_threading(XZ_MEMORY).memlimit_stop(XZ_MEMORY).decoder()
    }
}

/// Reads xz streams one after the other, as `xz-file-format.txt` wants it (section 2). The library does so itself
/// with one thread only.
struct XzStreams<R> {
    /// `None` at the end and after an error.
    decoder: Option<XzDecoder<R>>,
    xz: Xz,
}

impl<R: BufRead> Read for XzStreams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(mut decoder) = self.decoder.take() {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                self.decoder = Some(decoder);
                return Ok(count);
            }
            let mut input = decoder.into_inner();
            if !skip_padding(&mut input)? {
                break;
            }
            self.decoder = Some(XzDecoder::new_stream(input, self.xz.stream()?));
        }
        Ok(0)
    }
}

/// Skips the zeros that may follow a stream. Whether anything comes after them.
fn skip_padding(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let more = zeros < bytes.len();
        input.consume(zeros);
        if more {
            return Ok(true);
        }
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
            (Codec::None, text.clone()),
        ];
        for (codec, packed) in &all {
            assert!(packed.starts_with(codec.magic()), "{codec:?}");
            for threads in [1, 2] {
                let read = |packed: &[u8]| {
                    let mut out = Vec::new();
                    codec.reader(packed, threads).expect("it starts").read_to_end(&mut out).expect("it reads");
                    out
                };
                assert_eq!(read(packed), text, "{codec:?}");
                assert_eq!(read(&packed.repeat(2)), text.repeat(2), "{codec:?}");
                let mut verified = Vec::new();
                let mut reader = codec.verified_reader(&packed[..]).expect("it starts");
                reader.read_to_end(&mut verified).expect("it reads");
                assert_eq!(verified, text, "{codec:?}");
                if *codec == Codec::Xz {
                    assert_eq!(read(&[&packed[..], &[0; 8], packed, &[0; 4]].concat()), text.repeat(2));
                    let rubbish = [&packed[..], b"x"].concat();
                    let mut reader = codec.reader(&rubbish[..], threads).expect("it starts");
                    assert!(reader.read_to_end(&mut Vec::new()).is_err());
                }
            }
            if *codec != Codec::None {
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
