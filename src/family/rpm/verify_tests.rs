//! Packages put together byte by byte, as rpm would and as somebody hostile would.

use std::io::Write as _;
use std::path::PathBuf;

use pgp::composed::SignedSecretKey;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PacketHeader, PacketTrait as _, Signature, SignatureType};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, Password, SigningKey as _, Tag, Timestamp};

use super::super::maker::{Value, make};
use super::*;
use crate::fetch::openpgp::testkeys::{SIGNED, key, keyring, public, sign};
use crate::hash::sha256;

const PAYLOAD: &[u8] = b"what cpio would be";

fn header(digest: Option<&str>) -> Vec<u8> {
    let digests = digest.map(|digest| [digest]);
    let mut values = vec![
        (tag::NAME, Value::Text("mini")),
        (tag::VERSION, Value::Text("1.0")),
        (tag::RELEASE, Value::Text("2")),
        (tag::ARCH, Value::Text("noarch")),
        (tag::SOURCE_RPM, Value::Text("mini-1.0-2.src.rpm")),
    ];
    if let Some(digests) = &digests {
        values.push((tag::PAYLOAD_DIGEST, Value::Texts(digests)));
        values.push((tag::PAYLOAD_DIGEST_ALGORITHM, Value::Numbers(&[8])));
    }
    [&super::super::header::MAGIC[..], &make(&values)].concat()
}

fn packet(signature: &Signature) -> Vec<u8> {
    let mut bytes = Vec::new();
    signature.to_writer_with_header(&mut bytes).expect("bytes");
    bytes
}

/// A signature of version 3 (RFC 4880, section 5.2.4): of the data, the type and the time.
fn sign_v3(key: &SignedSecretKey, data: &[u8]) -> Vec<u8> {
    let time = SIGNED.to_be_bytes();
    let digest = Sha256::digest([data, &[SignatureType::Binary.into()], &time].concat());
    let made = key.primary_key.sign(&Password::empty(), HashAlgorithm::Sha256, &digest).expect("a signature");
    let signature = |length| {
        Signature::v3(
            PacketHeader::new_fixed(Tag::Signature, length),
            SignatureType::Binary,
            key.primary_key.algorithm(),
            HashAlgorithm::Sha256,
            Timestamp::from_secs(SIGNED),
            key.primary_key.legacy_key_id(),
            [digest[0], digest[1]],
            made.clone(),
        )
    };
    packet(&signature(signature(0).write_len() as u32))
}

/// A package file of these signatures, header and payload.
fn file(signatures: &[(u32, Value<'_>)], header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut lead = [0; 96];
    lead[..5].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3]);
    let filler = [(1000, Value::Numbers(&[1]))];
    let signatures = if signatures.is_empty() { make(&filler) } else { make(signatures) };
    let mut bytes = [&lead[..], &super::super::header::MAGIC, &signatures].concat();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend([header, payload].concat());
    bytes
}

fn open(bytes: &[u8]) -> Result<Package> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("writes");
    let path: PathBuf = file.path().to_owned();
    Package::open(&path)
}

fn verdict(bytes: &[u8], keys: &Keyring) -> String {
    match open(bytes).and_then(|mut package| verify(&mut package, keys)) {
        Ok(()) => "good".to_owned(),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn signatures_of_every_kind_count() {
    let key = key();
    let keys = keyring(&[&public(&key)]);
    let header = header(Some(&sha256(PAYLOAD)));
    let v4 = packet(&sign(&key.primary_key, &header));
    let text = {
        let armoured = crate::fetch::openpgp::testkeys::armoured(&[sign(&key.primary_key, &header)]);
        let body = armoured.split("\n\n").nth(1).expect("a body").to_owned();
        body.lines().take_while(|line| !line.starts_with('=') && !line.starts_with('-')).collect::<String>()
    };
    for (name, signature) in [
        ("RSA", (tag::RSA_HEADER, Value::Bytes(&v4))),
        ("DSA", (tag::DSA_HEADER, Value::Bytes(&v4))),
        ("rpm 6", (tag::OPENPGP, Value::Texts(&[&text]))),
        ("version 3", (tag::RSA_HEADER, Value::Bytes(&sign_v3(&key, &header)))),
    ] {
        assert_eq!(verdict(&file(&[signature], &header, PAYLOAD), &keys), "good", "{name}");
    }
    // Packages of old releases of rpm have one signature of all.
    let old = self::header(None);
    let whole = packet(&sign(&key.primary_key, &[&old[..], PAYLOAD].concat()));
    let signed = file(&[(tag::LEGACY_RSA, Value::Bytes(&whole))], &old, PAYLOAD);
    assert_eq!(verdict(&signed, &keys), "good");
    let identity = open(&signed).expect("it opens").identity().expect("a name");
    assert_eq!(identity.to_string(), "mini 1.0-2 (noarch)");
}

#[test]
fn packages_that_nobody_trusted_signed_are_refused() {
    let (key, other) = (key(), key());
    let keys = keyring(&[&public(&key)]);
    let head = header(Some(&sha256(PAYLOAD)));
    let good = packet(&sign(&key.primary_key, &head));
    let strange = packet(&sign(&other.primary_key, &head));
    let signed = |bytes: &[u8], header: &[u8], payload: &[u8]| {
        verdict(&file(&[(tag::RSA_HEADER, Value::Bytes(bytes))], header, payload), &keys)
    };
    let other_id = format!("{:X}", other.primary_key.fingerprint());
    assert!(signed(&strange, &head, PAYLOAD).contains(&other_id), "{}", signed(&strange, &head, PAYLOAD));
    assert!(verdict(&file(&[], &head, PAYLOAD), &keys).contains("it is not signed"));
    let mut changed = head.clone();
    *changed.last_mut().expect("a byte") ^= 1;
    assert!(signed(&good, &changed, PAYLOAD).contains("its content was changed after"));
    let mut changed = PAYLOAD.to_vec();
    changed[3] ^= 1;
    assert!(signed(&good, &head, &changed).contains("its payload was changed"));
    assert!(signed(&good, &head, &PAYLOAD[1..]).contains("its payload was changed"));
    assert!(signed(&good, &head, &[PAYLOAD, b"x"].concat()).contains("its payload was changed"));
    assert!(signed(b"\x89", &head, PAYLOAD).contains("it is not signed"));
    assert!(signed(&good[..good.len() - 1], &head, PAYLOAD).contains("cannot be read"));

    // A signed header without a digest of the payload says nothing about that.
    let bare = header(None);
    let only_header = packet(&sign(&key.primary_key, &bare));
    assert!(signed(&only_header, &bare, PAYLOAD).contains("its header is signed, but not its payload"));
    let whole = packet(&sign(&key.primary_key, &[&bare[..], PAYLOAD].concat()));
    let both = |payload: &[u8]| {
        let signatures = [(tag::RSA_HEADER, Value::Bytes(&only_header)), (tag::LEGACY_RSA, Value::Bytes(&whole))];
        verdict(&file(&signatures, &bare, payload), &keys)
    };
    assert_eq!(both(PAYLOAD), "good");
    assert!(both(b"another").contains("its content was changed after"));
    // A digest that anybody can match.
    let weak = header(Some(&"0".repeat(32)));
    let signature = packet(&sign(&key.primary_key, &weak));
    assert!(signed(&signature, &weak, PAYLOAD).contains("its payload was changed"));
}

#[test]
fn a_package_that_needs_no_signature_may_still_be_damaged() {
    let head = header(Some(&sha256(PAYLOAD)));
    let sum = sha256(&head);
    let check = |sum: &str, payload: &[u8]| {
        let bytes = file(&[(tag::SHA256_HEADER, Value::Text(sum))], &head, payload);
        check_digests(&mut open(&bytes).expect("it opens")).map_err(|error| error.to_string())
    };
    assert_eq!(check(&sum, PAYLOAD), Ok(()));
    assert!(check(&"0".repeat(64), PAYLOAD).expect_err("damaged").contains("its header is damaged"));
    assert!(check(&sum, b"other").expect_err("damaged").contains("its payload was changed"));
}

#[test]
fn hostile_files_are_refused() {
    let head = header(Some(&sha256(PAYLOAD)));
    let good = file(&[], &head, PAYLOAD);
    let start = good.len() - PAYLOAD.len() - head.len();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let source = [(tag::NAME, Value::Text("a"))];
    let source = [&super::super::header::MAGIC[..], &make(&source)].concat();
    let twice = [(tag::NAME, Value::Text("a")), (tag::NAME, Value::Text("b")), (tag::SOURCE_RPM, Value::Text("s"))];
    let twice = [&super::super::header::MAGIC[..], &make(&twice)].concat();
    for (bytes, expected) in [
        (b"<html>".to_vec(), "it is no RPM package"),
        (good[..95].to_vec(), "it is no RPM package"),
        (with(0, b"PK"), "it is no RPM package"),
        (good[..100].to_vec(), "its signatures: it is cut off"),
        (with(96, &[0]), "its signatures: it does not begin as a header does"),
        (with(104, &u32::MAX.to_be_bytes()), "its signatures: a header of 4294967295 entries"),
        (with(108, &(65u32 << 20).to_be_bytes()), "its signatures: it is longer than it may be"),
        (with(start, &[0]), "its header: it does not begin as a header does"),
        (with(start + 12, &(200u32 << 20).to_be_bytes()), "its header: it is longer than it may be"),
        (good[..start + 40].to_vec(), "its header: it is"),
        (file(&[], &source, PAYLOAD), "it is a source package"),
        (file(&[], &twice, PAYLOAD), "has the tag 1000 twice"),
    ] {
        let error = format!("{:#}", open(&bytes).expect_err(expected));
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
