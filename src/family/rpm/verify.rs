//! Verifies a package file: a pinned key signed its header, and the header has the digest of the payload.

use std::io::Read;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::header::{Header, tag};
use super::package::Package;
use crate::fetch::openpgp::{Keyring, SignatureError};
use crate::hash::hex;

/// Signatures looked at in one package; rpm 6 allows several.
const MAX_SIGNATURES: usize = 16;
/// A payload that only a signature of the whole file covers may have so many bytes, for it is held in memory.
/// Packages without a payload digest are those of rpm 4.13 and older.
const MAX_LEGACY_PAYLOAD: u64 = 1 << 30;

/// Verifies a package with the keys of its repository.
pub fn verify(package: &mut Package, keys: &Keyring) -> Result<()> {
    let signatures = header_signatures(&package.signatures)?;
    if signatures.is_empty() {
        return verify_legacy(package, keys);
    }
    one_counts(keys, &package.signed, &signatures)?;
    if !check_payload(package)? {
        verify_legacy(package, keys).context("its header is signed, but not its payload")?;
    }
    Ok(())
}

/// Checks the digests of a package that needs no signature: it may be damaged all the same.
pub fn check_digests(package: &mut Package) -> Result<()> {
    if let Some(expected) = package.signatures.text(tag::SHA256_HEADER)?
        && hex(&Sha256::digest(&package.signed)) != *expected
    {
        bail!("its header is damaged: its SHA-256 is not the one that the package says");
    }
    check_payload(package).map(drop)
}

/// The signatures of the header alone.
fn header_signatures(header: &Header) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for tag in [tag::RSA_HEADER, tag::DSA_HEADER] {
        found.extend(header.bytes(tag)?.map(<[u8]>::to_vec));
    }
    for text in header.strings(tag::OPENPGP)? {
        found.push([b"-----BEGIN PGP SIGNATURE-----\n\n", text, b"\n-----END PGP SIGNATURE-----\n"].concat());
    }
    if found.len() > MAX_SIGNATURES {
        bail!("it has more than {MAX_SIGNATURES} signatures");
    }
    Ok(found)
}

/// Whether one of the signatures is good; else what is wrong with the one that came nearest.
fn one_counts(keys: &Keyring, data: &[u8], signatures: &[Vec<u8>]) -> Result<()> {
    let mut worst = None;
    for signature in signatures {
        match keys.verify_package(data, signature) {
            Ok(()) => return Ok(()),
            Err(SignatureError::Unsigned) => {}
            Err(error @ SignatureError::UnknownKey { .. }) => worst = worst.or(Some(error)),
            Err(error) => worst = Some(error),
        }
    }
    match worst {
        Some(error) => Err(error.into()),
        None => bail!(
            "it is not signed; sign it with a key of the repository, or set 'trusted = true' to install it unverified"
        ),
    }
}

/// Packages of old releases of rpm: one signature of header and payload together.
fn verify_legacy(package: &mut Package, keys: &Keyring) -> Result<()> {
    let mut signatures = Vec::new();
    for tag in [tag::LEGACY_RSA, tag::LEGACY_DSA] {
        signatures.extend(package.signatures.bytes(tag)?.map(<[u8]>::to_vec));
    }
    if signatures.is_empty() {
        return one_counts(keys, &[], &[]);
    }
    let mut data = package.signed.clone();
    let limit = MAX_LEGACY_PAYLOAD + data.len() as u64;
    package.payload.by_ref().take(MAX_LEGACY_PAYLOAD + 1).read_to_end(&mut data).context("reading its payload")?;
    if data.len() as u64 > limit {
        bail!("its payload is larger than {} MiB and has no digest in the header", MAX_LEGACY_PAYLOAD >> 20);
    }
    one_counts(keys, &data, &signatures)
}

/// Checks the payload against its digest in the header; false where the header has none, and then nothing was read.
fn check_payload(package: &mut Package) -> Result<bool> {
    let Some(expected) = package.header.text(tag::PAYLOAD_DIGEST)? else { return Ok(false) };
    let expected = expected.into_owned();
    // RFC 9580, section 9.5.
    let found = match package.header.number(tag::PAYLOAD_DIGEST_ALGORITHM)? {
        Some(8) | None => digest::<Sha256>(&mut package.payload)?,
        Some(9) => digest::<Sha384>(&mut package.payload)?,
        Some(10) => digest::<Sha512>(&mut package.payload)?,
        Some(other) => bail!("its payload has a digest of a kind that does not count ({other})"),
    };
    if found != expected {
        bail!(
            "its payload was changed after the package was built: its digest is not the one in the header; the mirror \
             is damaged or was tampered with: use another one"
        );
    }
    Ok(true)
}

fn digest<D: sha2::Digest>(input: &mut impl Read) -> Result<String> {
    let mut hasher = D::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match input.read(&mut buffer).context("reading its payload")? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
