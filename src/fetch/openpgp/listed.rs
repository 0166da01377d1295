//! The certificates of a key file as they stand there, with what names them: for those who keep keys, not for who
//! verifies with them.

use std::io::Read as _;

use anyhow::{Context as _, Result};
use pgp::composed::SignedPublicKey;
use pgp::types::KeyDetails;

use super::{armour, compose, dearmored, readable};
use crate::hash::hex;
use crate::plan::Key;

/// The tag of the packet that a certificate begins with (RFC 9580, section 5).
const PUBLIC_KEY: u8 = 6;

/// A key: its id in hexadecimal, and when it was made, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// 16 digits.
    pub id: String,
    /// When it was made.
    pub created: u32,
}

/// A certificate of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its packets, every one of them: those of kinds that are not known here too.
    pub bytes: Vec<u8>,
    /// Its first user.
    pub user: String,
    /// Its own key.
    pub primary: Named,
    /// The others.
    pub subkeys: Vec<Named>,
}

/// The certificates of a file, armoured or binary. What cannot be read as one is left out, as rpm does.
pub fn listed(key: &Key) -> Result<Vec<Listed>> {
    let mut binaries = Vec::new();
    if armour::is_binary(&key.data) {
        binaries.push(key.data.clone());
    } else {
        for block in armour::blocks(&key.data, "PUBLIC KEY BLOCK") {
            let mut bytes = Vec::new();
            dearmored(block).map_err(readable)?.read_to_end(&mut bytes)?;
            binaries.push(bytes);
        }
    }
    let mut found = Vec::new();
    for bytes in &binaries {
        let parts = split(bytes).with_context(|| format!("reading the key {}", key.name))?;
        found.extend(parts.into_iter().filter_map(describe));
    }
    Ok(found)
}

fn describe(bytes: &[u8]) -> Option<Listed> {
    let mut keys = Vec::new();
    compose(std::io::Cursor::new(bytes), &mut keys).ok()?;
    let key: &SignedPublicKey = keys.first()?;
    let user = key.details.users.first().map(|user| String::from_utf8_lossy(user.id.id()).into_owned());
    Some(Listed {
        bytes: bytes.to_vec(),
        user: user.unwrap_or_default(),
        primary: named(&key.primary_key),
        subkeys: key.public_subkeys.iter().map(|subkey| named(&subkey.key)).collect(),
    })
}

fn named(key: &impl KeyDetails) -> Named {
    Named { id: hex(key.legacy_key_id().as_ref()), created: key.created_at().as_secs() }
}

/// Packets, cut before every one that begins a certificate.
fn split(bytes: &[u8]) -> Result<Vec<&[u8]>> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (tag, length) = packet(&bytes[at..]).context("not a valid OpenPGP certificate: a packet is cut off")?;
        if tag == PUBLIC_KEY {
            starts.push(at);
        }
        at += length;
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    Ok(starts.iter().zip(ends).map(|(start, end)| &bytes[*start..end]).collect())
}

/// The tag of the first packet, and its length with its head (RFC 9580, section 4.2). Keys have no partial lengths.
fn packet(bytes: &[u8]) -> Option<(u8, usize)> {
    let number = |from: usize, size: usize| {
        let digits = bytes.get(from..from + size)?;
        Some(digits.iter().fold(0usize, |number, digit| number << 8 | usize::from(*digit)))
    };
    let first = *bytes.first()?;
    let (tag, head, body) = match first {
        0xc0.. => match number(1, 1)? {
            length @ ..192 => (first & 0x3f, 2, length),
            192..224 => (first & 0x3f, 3, number(1, 2)? - (192 << 8) + 192),
            255 => (first & 0x3f, 6, number(2, 4)?),
            _ => return None,
        },
        0x80..0xc0 => {
            let size = match first & 3 {
                0 => 1,
                1 => 2,
                2 => 4,
                _ => return Some((first >> 2 & 0xf, bytes.len())),
            };
            (first >> 2 & 0xf, 1 + size, number(1, size)?)
        }
        _ => return None,
    };
    let length = head + body;
    (length <= bytes.len()).then_some((tag, length))
}

#[cfg(test)]
mod tests {
    use pgp::composed::ArmorOptions;
    use pgp::ser::Serialize as _;

    use super::super::testkeys::{CREATED, key, public};
    use super::*;

    fn file(data: Vec<u8>) -> Key {
        Key { name: "keys.asc".into(), data }
    }

    #[test]
    fn certificates_stand_one_after_the_other_or_in_blocks() {
        let certificates = [public(&key()), public(&key())];
        let binary: Vec<Vec<u8>> = certificates.iter().map(|c| c.to_bytes().expect("bytes")).collect();
        let text = |c: &SignedPublicKey| c.to_armored_string(ArmorOptions::default()).expect("text");
        let blocks = certificates.iter().map(text).collect::<String>();
        // Trust packets, which are not read, in the old format and in the new one, are not lost.
        let more = [&binary[0][..], &[0xb0, 2, 1, 2], &[0xcc, 192, 1], &[7; 193]].concat();
        for (data, expected) in [
            (binary[0].clone(), vec![&binary[0]]),
            (binary.concat(), vec![&binary[0], &binary[1]]),
            (blocks.into_bytes(), vec![&binary[0], &binary[1]]),
            ([&more[..], &binary[1]].concat(), vec![&more, &binary[1]]),
        ] {
            let found = listed(&file(data)).expect("it reads");
            assert_eq!(found.iter().map(|one| &one.bytes).collect::<Vec<_>>(), expected);
            let id = hex(certificates[0].legacy_key_id().as_ref());
            assert_eq!(found[0].primary, Named { id, created: CREATED });
            assert_eq!((found[0].user.as_str(), found[0].subkeys.len()), ("Archive <archive@example.org>", 1));
            assert_eq!(found[0].subkeys[0].id.len(), 16);
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let binary = public(&key()).to_bytes().expect("bytes");
        for data in
            [&binary[..binary.len() - 1], &[0xc6], &[0xc6, 224, 0], &[0xc6, 255, 255, 255, 255, 255], &[0x98, 1]]
        {
            assert!(listed(&file(data.to_vec())).expect_err("damaged").to_string().contains("the key keys.asc"));
        }
        // Not one that can be read, but sound packets.
        assert_eq!(listed(&file(vec![0xc6, 1, 99])).expect("it reads"), []);
        assert_eq!(listed(&file(b"no key".to_vec())).expect("it reads"), []);
    }
}
