//! OpenPGP signatures, verified in-process (RFC 9580, cleartext framework and detached).
//!
//! As with gpgv and apt, one good signature by a pinned key is enough, whatever others stand beside it: archives
//! sign with the old and the new key while they change keys.

use std::io::Cursor;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use pgp::armor::{Dearmor, DearmorOptions};
use pgp::composed::{Deserializable as _, SignedPublicKey};
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SignatureVersion, SubpacketData};

use crate::plan::Key;
use armour::Cleartext;
use certificate::{Certificate, sound_hash};

mod armour;
mod certificate;
pub mod listed;
#[cfg(test)]
pub(crate) mod testkeys;
#[cfg(test)]
mod tests;

/// How far the clocks of signer and host may differ.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60 * 60);
/// Signatures looked at in one file. Archives have two or three; each one more costs a hash of the whole text.
const MAX_SIGNATURES: usize = 16;
/// Certificates that a message lists.
const MAX_NAMED: usize = 6;
/// Bytes of one armoured block, decoded or not.
const MAX_BLOCK: usize = 4 << 20;

/// Versions of signatures that count.
const VERSIONS: [SignatureVersion; 2] = [SignatureVersion::V4, SignatureVersion::V6];
/// The same for packages of RPM, see [`Keyring::verify_package`].
const PACKAGE_VERSIONS: [SignatureVersion; 3] = [SignatureVersion::V3, SignatureVersion::V4, SignatureVersion::V6];

/// Why a signature is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    /// There is none.
    #[error(
        "it is not signed; check the address of the repository (a login page or a proxy may have answered), or set \
         'trusted = true' on the repository to use it unverified"
    )]
    Unsigned,
    /// It cannot be read.
    #[error("its signature cannot be read: {0}")]
    Malformed(String),
    /// Only keys that are not pinned made one.
    #[error(
        "it is signed by {signers}, not by a key of the recipe ({accepted}); if the distribution changed its key, \
         add the new one to the repository's keys"
    )]
    UnknownKey {
        /// Fingerprints or ids of the keys that signed.
        signers: String,
        /// The certificates that would have been accepted.
        accepted: String,
    },
    /// A pinned key signed something else.
    #[error(
        "its content was changed after {key} signed it; the mirror is damaged or was tampered with: use another one"
    )]
    Bad {
        /// The key that the signature names.
        key: String,
    },
    /// A pinned key signed it, but not in a way that counts.
    #[error("the signature by {key} does not count: {reason}")]
    Refused {
        /// The key that signed.
        key: String,
        /// Why.
        reason: String,
    },
}

/// The certificates that may sign one repository.
#[derive(Debug)]
pub struct Keyring {
    certificates: Vec<Certificate>,
}

impl Keyring {
    /// Reads certificates, armoured or binary, one or several a file.
    pub fn parse(keys: &[Key]) -> Result<Keyring> {
        let mut certificates = Vec::new();
        for file in keys {
            let keys = parse_file(&file.data).with_context(|| format!("reading the key {}", file.name))?;
            certificates.extend(keys.into_iter().map(|key| Certificate { file: file.name.clone(), key }));
        }
        Ok(Keyring { certificates })
    }

    /// The text of a cleartext-signed message, if one of these certificates signed it. Nothing outside the
    /// signature is given. Fails with a [`SignatureError`].
    pub fn verify_inline(&self, signed: &[u8]) -> Result<Vec<u8>> {
        Ok(self.inline(signed, SystemTime::now())?)
    }

    /// Whether one of these certificates made the detached signature of `data`. Fails with a [`SignatureError`].
    pub fn verify_detached(&self, data: &[u8], signature: &[u8]) -> Result<()> {
        Ok(self.detached(data, signature, SystemTime::now())?)
    }

    /// The same for a signature of an RPM package, which may be of version 3 (RFC 4880, section 5.2.2): CentOS and Red
    /// Hat sign their packages so to this day. What that version lacks, conditions of the signature, packages do not
    /// use.
    pub fn verify_package(&self, data: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.verify(data, &signatures(signature)?, SystemTime::now(), &PACKAGE_VERSIONS)
    }

    fn inline(&self, signed: &[u8], now: SystemTime) -> Result<Vec<u8>, SignatureError> {
        let message = Cleartext::parse(signed)?;
        self.verify(&message.signed(), &signatures(&message.signatures)?, now, &VERSIONS)?;
        Ok(message.text())
    }

    fn detached(&self, data: &[u8], signature: &[u8], now: SystemTime) -> Result<(), SignatureError> {
        self.verify(data, &signatures(signature)?, now, &VERSIONS)
    }

    /// Finds one signature that counts. Otherwise tells what came nearest to it.
    fn verify(
        &self,
        data: &[u8],
        signatures: &[Signature],
        now: SystemTime,
        versions: &[SignatureVersion],
    ) -> Result<(), SignatureError> {
        let mut refused = None;
        let mut bad = None;
        let mut unknown = Vec::new();
        for signature in signatures {
            match self.judge(data, signature, now, versions) {
                Ok(()) => return Ok(()),
                Err(e @ SignatureError::Refused { .. }) => refused = refused.or(Some(e)),
                Err(e @ SignatureError::Bad { .. }) => bad = bad.or(Some(e)),
                Err(_) => unknown.push(signer(signature)),
            }
        }
        Err(bad.or(refused).unwrap_or_else(|| SignatureError::UnknownKey {
            signers: unknown.join(" and "),
            accepted: self.accepted(),
        }))
    }

    fn judge(
        &self,
        data: &[u8],
        signature: &Signature,
        now: SystemTime,
        versions: &[SignatureVersion],
    ) -> Result<(), SignatureError> {
        let mut verdict = SignatureError::UnknownKey { signers: signer(signature), accepted: self.accepted() };
        for certificate in &self.certificates {
            for component in certificate.issuers(signature) {
                let key = format!("{} ({})", certificate.fingerprint(), certificate.file);
                let refused = |reason| SignatureError::Refused { key: key.clone(), reason };
                let created = match acceptable(signature, now, versions) {
                    Ok(created) => created,
                    Err(reason) => {
                        verdict = refused(reason);
                        continue;
                    }
                };
                if !certificate.made(component, signature, data) {
                    // Of several keys with this id another one may have made it.
                    if !matches!(verdict, SignatureError::Refused { .. }) {
                        verdict = SignatureError::Bad { key };
                    }
                    continue;
                }
                match certificate.objection(component, created) {
                    None => return Ok(()),
                    Some(reason) => verdict = refused(reason),
                }
            }
        }
        Err(verdict)
    }

    fn accepted(&self) -> String {
        let named = self.certificates.iter().take(MAX_NAMED).map(|c| format!("{}: {}", c.file, c.fingerprint()));
        let mut all: Vec<String> = named.collect();
        match self.certificates.len() {
            0 => all.push("which names none".to_owned()),
            n if n > MAX_NAMED => all.push(format!("{} more", n - MAX_NAMED)),
            _ => {}
        }
        all.join(", ")
    }
}

/// Reads one key file.
fn parse_file(data: &[u8]) -> Result<Vec<SignedPublicKey>> {
    // GnuPG 2.1 and later keep keys in a format of their own, which no other program reads.
    if data.get(8..12) == Some(b"KBXf") {
        bail!("it is a keybox of GnuPG; write the key with 'gpg --export' instead");
    }
    let mut certificates = Vec::new();
    if armour::is_binary(data) {
        compose(Cursor::new(data), &mut certificates)?;
    } else {
        for block in armour::blocks(data, "PUBLIC KEY BLOCK") {
            compose(std::io::BufReader::new(dearmored(block).map_err(readable)?), &mut certificates)?;
        }
    }
    if certificates.is_empty() {
        bail!("it holds no OpenPGP certificate (public key), armoured or binary");
    }
    Ok(certificates)
}

/// Makes certificates of packets. Keyrings of GnuPG, such as Ubuntu's, hold trust packets (RFC 9580, section 5.10)
/// between the others, which would cut the signatures off from what they sign.
fn compose(reader: impl std::io::BufRead, certificates: &mut Vec<SignedPublicKey>) -> Result<()> {
    let packets = PacketParser::new(reader).filter(|packet| match packet {
        Ok(Packet::Trust(_) | Packet::Marker(_) | Packet::Padding(_)) => false,
        Ok(_) => true,
        Err(e) => !is_unsupported(e),
    });
    for certificate in SignedPublicKey::from_packets(packets.peekable()) {
        certificates.push(certificate.map_err(readable)?);
    }
    Ok(())
}

/// Whether a packet is only of a kind, version or algorithm that is not known: it can be left out.
fn is_unsupported(error: &pgp::errors::Error) -> bool {
    match error {
        pgp::errors::Error::Unsupported { .. } => true,
        pgp::errors::Error::InvalidPacketContent { source } => is_unsupported(source),
        _ => false,
    }
}

/// The bytes of one armoured block.
fn dearmored(block: &[u8]) -> pgp::errors::Result<Dearmor<Cursor<&[u8]>>> {
    let mut dearmor = Dearmor::with_options(Cursor::new(block), DearmorOptions::new().set_limit(MAX_BLOCK));
    dearmor.read_header()?;
    Ok(dearmor)
}

/// An error of the library with its causes on one line.
fn readable(error: pgp::errors::Error) -> anyhow::Error {
    anyhow!("not a valid OpenPGP certificate: {error}")
}

/// The signatures of a file, armoured or binary. Those of kinds that are not known are left out.
fn signatures(data: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let mut found = Vec::new();
    if armour::is_binary(data) {
        collect(Cursor::new(data), &mut found)?;
    } else {
        for block in armour::blocks(data, "SIGNATURE") {
            let bytes = dearmored(block).map_err(|e| SignatureError::Malformed(e.to_string()))?;
            collect(std::io::BufReader::new(bytes), &mut found)?;
        }
    }
    if found.is_empty() { Err(SignatureError::Unsigned) } else { Ok(found) }
}

fn collect(reader: impl std::io::BufRead, found: &mut Vec<Signature>) -> Result<(), SignatureError> {
    for packet in PacketParser::new(reader) {
        match packet {
            Ok(Packet::Signature(signature)) if found.len() < MAX_SIGNATURES => found.push(signature),
            Ok(Packet::Signature(_)) => {
                return Err(SignatureError::Malformed(format!("more than {MAX_SIGNATURES} signatures")));
            }
            Ok(Packet::Marker(_) | Packet::Padding(_)) => {}
            Ok(_) => return Err(SignatureError::Malformed("something else than a signature is among them".into())),
            // Of a version or algorithm to come; beside it there may be one of today.
            Err(e) if is_unsupported(&e) => {}
            Err(e) => return Err(SignatureError::Malformed(e.to_string())),
        }
    }
    Ok(())
}

/// What must hold of a signature by itself. Gives the time it was made, in seconds since 1970.
fn acceptable(signature: &Signature, now: SystemTime, versions: &[SignatureVersion]) -> Result<u32, String> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let Some(config) = signature.config() else { return Err("its version is not known".to_owned()) };
    if !versions.contains(&signature.version()) {
        return Err("it is of a version that is no longer used".to_owned());
    }
    if !matches!(config.typ(), SignatureType::Binary | SignatureType::Text) {
        return Err("it is not a signature of a file".to_owned());
    }
    if !sound_hash(config.hash_alg) {
        return Err(format!("it is made with {}, which is too weak", config.hash_alg));
    }
    let not_understood = config.hashed_subpackets().any(|p| {
        p.is_critical
            && matches!(p.data, SubpacketData::Notation(_) | SubpacketData::Experimental(..) | SubpacketData::Other(..))
    });
    if not_understood {
        return Err("it holds a condition that is not understood (critical subpacket)".to_owned());
    }
    let Some(created) = config.created().map(|t| t.as_secs()) else { return Err("it has no date".to_owned()) };
    if u64::from(created) > now + CLOCK_TOLERANCE.as_secs() {
        return Err(format!("it was made in the future ({}); check the clock", day(created)));
    }
    let lifetime = signature.signature_expiration_time().map_or(0, |d| d.as_secs());
    if lifetime > 0 && u64::from(created) + u64::from(lifetime) <= now {
        return Err(format!("it has expired on {}", day(created.saturating_add(lifetime))));
    }
    Ok(created)
}

/// Whom a signature names as its maker.
fn signer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|f| format!("{f:X}"));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
    fingerprint.or_else(id).unwrap_or_else(|| "an unnamed key".to_owned())
}

/// A time as its day.
fn day(seconds: u32) -> String {
    jiff::Timestamp::from_second(seconds.into()).map(|t| t.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
}
