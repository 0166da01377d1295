//! The container format of xz: one stream of blocks that were compressed apart (`xz-file-format.txt` 1.2.1).

use std::io::Write;

use anyhow::{Context as _, Result, bail};
use flate2::Crc;
use xz2::stream::{Check, Stream};
use xz2::write::XzEncoder;

const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const FOOTER_MAGIC: [u8; 2] = *b"YZ";
/// Stream flags: CRC64 as the check of every block, xz's own default (section 2.1.1.2).
const FLAGS: [u8; 2] = [0, 4];
const CHECK_SIZE: usize = 8;
const HEADER_SIZE: usize = 12;
const FOOTER_SIZE: usize = 12;
/// Block flags: both sizes stand in the header; the low bits say one filter (section 3.1.2).
const HAS_SIZES: u8 = 0xc0;
/// The filter id of LZMA2 (section 5.3.1).
const LZMA2: u8 = 0x21;

/// An encoder for the stream that [`block`] takes apart.
pub fn encoder<W: Write>(out: W, level: i32) -> Result<XzEncoder<W>> {
    let stream = Stream::new_easy_encoder(level.unsigned_abs(), Check::Crc64).context("starting xz")?;
    Ok(XzEncoder::new_stream(out, stream))
}

/// The header of a stream.
pub fn stream_header() -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&FLAGS);
    header.extend_from_slice(&crc32(&FLAGS));
    header
}

/// Takes the one block out of a stream of one block, and writes its sizes into its header, as the threaded xz does, so
/// that others can decompress the blocks in parallel. Gives the block with its padding, and its size without.
pub fn block(stream: &[u8], plain: u64) -> Result<(Vec<u8>, u64)> {
    let broken = "the codec gave an unexpected stream";
    let (head, rest) = stream.split_at_checked(HEADER_SIZE).context(broken)?;
    if head != stream_header() {
        bail!("{broken}");
    }
    // Section 2.1.2.2: the index's size is in the footer, in words of four bytes, less one.
    let backward: [u8; 4] =
        rest.len().checked_sub(8).and_then(|at| rest.get(at..at + 4)?.try_into().ok()).context(broken)?;
    let index_size = (u32::from_le_bytes(backward) as usize + 1) * 4;
    let index_at = rest.len().checked_sub(FOOTER_SIZE + index_size).context(broken)?;
    let mut index = rest[index_at..].iter().copied();
    if (index.next(), index.next()) != (Some(0), Some(1)) {
        bail!("{broken}");
    }
    let unpadded = usize::try_from(read_number(&mut index).context(broken)?)?;
    // Section 3.1: header size in words less one, flags, the sizes if the flags say so, the filter: id, size of its
    // properties, properties.
    let header_size = (usize::from(*rest.first().context(broken)?) + 1) * 4;
    let [_, 0, LZMA2, 1, dictionary, ..] = *rest else { bail!("{broken}") };
    let compressed = unpadded.checked_sub(header_size + CHECK_SIZE).context(broken)?;
    let content = rest.get(header_size..header_size + compressed).context(broken)?;
    let check_at = (header_size + compressed).next_multiple_of(4);
    let check = rest.get(check_at..check_at + CHECK_SIZE).context(broken)?;

    let mut fields = vec![0, HAS_SIZES];
    write_number(&mut fields, compressed as u64);
    write_number(&mut fields, plain);
    fields.extend_from_slice(&[LZMA2, 1, dictionary]);
    fields.resize(fields.len().next_multiple_of(4), 0);
    fields[0] = u8::try_from(fields.len() / 4)?;
    let crc = crc32(&fields);
    let unpadded = fields.len() + crc.len() + compressed + CHECK_SIZE;

    let mut out = fields;
    out.reserve(crc.len() + compressed + 4 + CHECK_SIZE);
    out.extend_from_slice(&crc);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(check);
    Ok((out, unpadded as u64))
}

/// The index of a stream.
#[derive(Debug, Default)]
pub struct Index {
    records: Vec<u8>,
    count: u64,
}

impl Index {
    /// Takes note of a block.
    pub fn add(&mut self, unpadded: u64, plain: u64) {
        write_number(&mut self.records, unpadded);
        write_number(&mut self.records, plain);
        self.count += 1;
    }

    /// The index and the footer that ends the stream.
    pub fn finish(&self) -> Vec<u8> {
        let mut out = vec![0];
        write_number(&mut out, self.count);
        out.extend_from_slice(&self.records);
        out.resize(out.len().next_multiple_of(4), 0);
        let crc = crc32(&out);
        out.extend_from_slice(&crc);
        let words = (out.len() / 4 - 1) as u32;
        let mut fields = words.to_le_bytes().to_vec();
        fields.extend_from_slice(&FLAGS);
        out.extend_from_slice(&crc32(&fields));
        out.extend_from_slice(&fields);
        out.extend_from_slice(&FOOTER_MAGIC);
        out
    }
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

/// Seven bits a byte, the lowest first (section 1.2).
fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_number(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn numbers_read_back() {
        for number in [0, 1, 127, 128, 16383, 16384, u64::from(u32::MAX), (1 << 63) - 1] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(read_number(&mut out.into_iter()), Some(number));
        }
        assert_eq!(read_number(&mut [0x80].into_iter()), None);
        assert_eq!(read_number(&mut [0x80; 20].into_iter()), None);
    }

    #[test]
    fn blocks_of_any_length_make_one_stream() {
        let mut file = stream_header();
        let mut index = Index::default();
        let mut plain = Vec::new();
        for length in [1usize, 2, 3, 4, 5, 1000, 70_000] {
            let content: Vec<u8> = (0..length).map(|i| (i * i / 7) as u8).collect();
            let mut encoder = encoder(Vec::new(), 6).expect("an encoder");
            encoder.write_all(&content).expect("compressed");
            let (data, unpadded) =
                block(&encoder.finish().expect("a stream"), content.len() as u64).expect("its block");
            assert_eq!(data.len() % 4, 0);
            assert_eq!((unpadded as usize).next_multiple_of(4), data.len());
            index.add(unpadded, content.len() as u64);
            file.extend(data);
            plain.extend(content);
        }
        file.extend(index.finish());
        let mut back = Vec::new();
        // Without CONCATENATED: all of it must be one stream.
        let decoder = Stream::new_stream_decoder(u64::MAX, 0).expect("a decoder");
        xz2::read::XzDecoder::new_stream(file.as_slice(), decoder).read_to_end(&mut back).expect("a good stream");
        assert_eq!(back, plain);
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        assert!(block(b"", 0).is_err());
        assert!(block(&[0; 64], 0).is_err());
        assert!(block(&stream_header(), 0).is_err());
    }
}
