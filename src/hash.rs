//! Hashes as text: lower-case hexadecimal, the form of locks, repositories and `SHA256SUMS`.

use std::io::{self, BufRead, BufReader, Read};

use sha2::{Digest as _, Sha256};

/// Read at once, in bytes.
const BUFFER: usize = 64 << 10;

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

/// The digits of base 64.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base 64 with padding (RFC 4648).
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |n, &b| n << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = ALPHABET[(group >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// The bytes of base 64 with padding, if it is that (RFC 4648).
pub fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let body = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let padding = text.len() - body.len();
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in body.chunks(4) {
        let digits = group.iter().try_fold(0u32, |n, byte| {
            let digit = ALPHABET.iter().position(|known| known == byte)?;
            Some(n << 6 | digit as u32)
        })?;
        let bytes = (digits << (6 * (4 - group.len()))).to_be_bytes();
        out.extend_from_slice(&bytes[1..group.len()]);
    }
    text.len().is_multiple_of(4).then_some(out).filter(|_| body.len() % 4 == (4 - padding) % 4)
}

/// SHA-256 of some bytes, in lower-case hexadecimal.
pub fn sha256(data: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(data))
}

/// SHA-256 of everything that `input` gives, in lower-case hexadecimal, and how many bytes that was.
pub fn sha256_of(input: impl Read) -> io::Result<(String, u64)> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let (mut hash, mut size) = (Sha256::new(), 0);
    loop {
        let bytes = match input.fill_buf() {
            Ok([]) => return Ok((hex(&hash.finalize()), size)),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(bytes);
        let length = bytes.len();
        size += length as u64;
        input.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_the_standard_one() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256("abc"), abc);
        assert_eq!(sha256_of(&b"abc"[..]).expect("it reads"), (abc.into(), 3));
        let large = vec![7; 2 * BUFFER + 1];
        assert_eq!(sha256_of(&large[..]).expect("it reads"), (sha256(&large), large.len() as u64));
        assert_eq!(hex(&[0, 0x0f, 0xa5, 0xff]), "000fa5ff");
    }

    #[test]
    fn base_64() {
        // RFC 4648, section 10.
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(from_base64(coded.as_bytes()).as_deref(), Some(plain.as_bytes()), "{coded}");
        }
        for bad in ["Z", "Zg", "Zg=", "Zm8", "Zg===", "Z===", "=", "====", "Zm9v=", "Zm 9", "Zm9v\n", "Zm-_"] {
            assert_eq!(from_base64(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
