//! Indexes of version 2: `APKINDEX.tar.gz` (`apk-index(8)`, `apk-v2(5)`).
//!
//! The file is a row of gzip members. The first holds signatures of all bytes that follow it; those hold the index.

use std::io::{BufReader, Read};

use anyhow::{Context as _, Result, bail};
use flate2::bufread::{GzDecoder, MultiGzDecoder};

use super::info::Info;
use super::signature::{self, Keys, Signature};
use crate::family::members::Bounded;

/// An index may have so many bytes when unpacked. That of Alpine's community repository, the largest known, has 12 MB.
const MAX_UNPACKED: u64 = 512 << 20;
const TOO_LARGE: &str = "it unpacks to more than 512 MiB, far more than any index has";
/// The signatures of an index may have so many bytes when unpacked: a few blocks of a tar archive each.
const MAX_SIGNATURES: u64 = 1 << 20;
/// What files of version 3 begin with.
const ADB_MAGIC: &[u8] = b"ADB";
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// An index.
#[derive(Debug)]
pub struct Index {
    /// When it was made, in seconds since 1970: as its archive says, or else when its newest package was built.
    pub date: i64,
    /// Its packages.
    pub packages: Vec<Info>,
}

/// Whether a file begins as those of version 3 do.
pub fn is_version_3(file: &[u8]) -> bool {
    file.starts_with(ADB_MAGIC)
}

/// Verifies and reads an index. Without keys its signatures are passed over.
pub fn read(file: &[u8], keys: Option<&Keys>) -> Result<Index> {
    if !file.starts_with(GZIP_MAGIC) {
        bail!("it is not compressed with gzip, as indexes are");
    }
    let (signatures, content) = split(file)?;
    if let Some(keys) = keys {
        keys.verify(&signatures, content)?;
    }
    parse(content)
}

/// The signatures, and the bytes that they are of.
fn split(file: &[u8]) -> Result<(Vec<Signature>, &[u8])> {
    let mut rest = file;
    let mut first = Vec::new();
    GzDecoder::new(&mut rest).take(MAX_SIGNATURES).read_to_end(&mut first).context("its first part does not unpack")?;
    // An index that is not signed is one part, which the bound may have cut.
    if !first.starts_with(signature::PREFIX.as_bytes()) {
        return Ok((Vec::new(), file));
    }
    if first.len() as u64 == MAX_SIGNATURES {
        bail!("its signatures unpack to more than {MAX_SIGNATURES} bytes");
    }
    let mut signatures = Vec::new();
    // The end of the archive is cut off, so that this and the rest are one.
    for entry in tar::Archive::new(first.as_slice()).entries().context("its signatures")? {
        let mut entry = entry.context("its signatures")?;
        let member = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !member.starts_with(signature::PREFIX) {
            bail!("there is {member:?} beside its signatures");
        }
        if entry.size() > signature::MAX_SIGNATURE {
            bail!("its signature {member:?} has {} bytes", entry.size());
        }
        let mut data = Vec::new();
        entry.read_to_end(&mut data).context("its signatures")?;
        signatures.push(Signature { member, data });
    }
    Ok((signatures, rest))
}

fn parse(content: &[u8]) -> Result<Index> {
    let unpacked = Bounded::new(MultiGzDecoder::new(content), MAX_UNPACKED, TOO_LARGE);
    let mut archive = tar::Archive::new(BufReader::new(unpacked));
    let mut found = None;
    for entry in archive.entries().context("its archive")? {
        let mut entry = entry.context("its archive")?;
        match entry.path_bytes().as_ref() {
            b"APKINDEX" if found.is_none() => {
                let date = entry.header().mtime().context("its archive")?;
                let mut text = Vec::new();
                entry.read_to_end(&mut text).context("its archive")?;
                found = Some((date, String::from_utf8_lossy(&text).into_owned()));
            }
            b"DESCRIPTION" => {}
            other => bail!("its archive holds {:?}, which does not belong there", String::from_utf8_lossy(other)),
        }
    }
    let (date, text) = found.context("its archive holds no APKINDEX")?;
    let packages = paragraphs(&text)?;
    let newest = packages.iter().map(|package| package.build_time).max().unwrap_or(0);
    let date = i64::try_from(if date > 0 { date } else { newest }).context("its date")?;
    Ok(Index { date, packages })
}

fn paragraphs(text: &str) -> Result<Vec<Info>> {
    let mut packages = Vec::new();
    let mut line = 1;
    for paragraph in text.split("\n\n") {
        let trimmed = paragraph.trim_matches('\n');
        if !trimmed.is_empty() {
            let info = Info::from_index(trimmed);
            packages.push(info.with_context(|| format!("the paragraph of its APKINDEX around line {line}"))?);
        }
        line += paragraph.matches('\n').count() + 2;
    }
    Ok(packages)
}

#[cfg(test)]
pub mod testing {
    use tar::EntryType;

    use super::super::apk_maker::{self, gzip};
    use super::super::signature::testing::Signer;

    /// The part of an index that is signed.
    pub use super::super::apk_maker::index as content;

    fn member(name: &str, data: &[u8]) -> Vec<u8> {
        apk_maker::member(name, EntryType::Regular, "", 0o644, data, &[])
    }

    /// A signature before a content.
    pub fn sign(signer: &Signer, scheme: &str, content: &[u8]) -> Vec<u8> {
        let signature = signer.sign(scheme, content);
        [gzip(&member(&signature.member, &signature.data)), content.to_vec()].concat()
    }

    /// An archive of these members, and what follows it.
    pub fn archive(members: &[(&str, &[u8])], after: &[u8]) -> Vec<u8> {
        let members: Vec<u8> = members.iter().flat_map(|(name, data)| member(name, data)).collect();
        [gzip(&members), after.to_vec()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::super::signature::testing::Signer;
    use super::testing::{archive, content, sign};
    use super::*;

    const TEXT: &str = "C:Q1a=\nP:a\nV:1-r0\nt:1700000000\n\nC:Q1b=\nP:b\nV:2-r0\nt:1600000000\n\n";

    #[test]
    fn a_signed_index_is_read() {
        let signer = Signer::new("one.rsa.pub", 0);
        let keys = Keys::parse(&[signer.public()]).expect("a key");
        for scheme in ["RSA", "RSA256"] {
            let index = read(&sign(&signer, scheme, &content(TEXT, 1_750_000_000)), Some(&keys)).expect(scheme);
            let names: Vec<&str> = index.packages.iter().map(|p| p.name.as_str()).collect();
            assert_eq!((names, index.date), (vec!["a", "b"], 1_750_000_000));
        }
        let undated = read(&sign(&signer, "RSA", &content(TEXT, 0)), Some(&keys)).expect("it is right");
        assert_eq!(undated.date, 1_700_000_000, "that of the newest package");
        let unsigned = read(&content(TEXT, 5), None).expect("nobody asks for a signature");
        assert_eq!(unsigned.packages.len(), 2);
        assert!(read(&sign(&signer, "RSA", &content("", 5)), Some(&keys)).expect("it is empty").packages.is_empty());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let signer = Signer::new("one.rsa.pub", 0);
        let keys = Keys::parse(&[signer.public()]).expect("a key");
        let right = sign(&signer, "RSA", &content(TEXT, 1));
        // Of the first bytes, a header of gzip, some mean nothing; they are not signed either.
        for at in 10..right.len() {
            let mut changed = right.clone();
            changed[at] ^= 4;
            if let Ok(index) = read(&changed, Some(&keys)) {
                assert!(at < right.len() - content(TEXT, 1).len(), "byte {at}");
                assert_eq!(index.packages.len(), 2);
            }
        }
        for length in [0, 1, 100, right.len() - 1] {
            assert!(read(&right[..length], Some(&keys)).is_err(), "{length}");
        }
    }

    #[test]
    fn bad_indexes_are_refused() {
        let (one, two) = (Signer::new("one.rsa.pub", 0), Signer::new("two.rsa.pub", 1));
        let keys = Keys::parse(&[one.public()]).expect("a key");
        let good = content(TEXT, 1);
        let signed = |content: &[u8]| sign(&one, "RSA", content);
        for (file, words) in [
            (good.clone(), "it is not signed"),
            (sign(&two, "RSA", &good), "it is signed by two.rsa.pub"),
            (b"<html>".to_vec(), "not compressed with gzip"),
            ([signed(&good), good.clone()].concat(), "does not match"),
            (archive(&[(".SIGN.RSA.one.rsa.pub", &[0; 1000])], &good), "has 1000 bytes"),
            (archive(&[(".SIGN.RSA.one.rsa.pub", &[0; 256]), ("x", b"")], &good), "there is \"x\" beside"),
            (archive(&[(".SIGN.RSA.one.rsa.pub", &vec![0; 2 << 20])], &good), "unpack to more than"),
            (signed(&archive(&[("x", b"")], &[])), "its archive holds \"x\""),
            (signed(&archive(&[("DESCRIPTION", b"")], &[])), "holds no APKINDEX"),
            (signed(&content("C:Q1a=\nP:a\nV:1\n\nP:b\nV:1\n", 1)), "around line 5: the package b has no checksum"),
            (signed(&content("P:../b\n", 1)), "\"../b\" is not the name of a package"),
            (signed(b"hello"), "its archive"),
        ] {
            let error = read(&file, Some(&keys)).expect_err(words);
            assert!(format!("{error:#}").contains(words), "{words}: {error:#}");
        }
    }
}
