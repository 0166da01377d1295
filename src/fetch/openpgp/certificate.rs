//! A certificate, and whether one of its keys was allowed to make a signature.

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, PublicParams, Tag, VerifyingKey};

/// RSA keys below this many bits count as broken (NIST SP 800-131A; apt refuses them too).
const MIN_RSA_BITS: u16 = 2048;

/// A certificate and the file it came from.
#[derive(Debug)]
pub(super) struct Certificate {
    pub file: String,
    pub key: SignedPublicKey,
}

/// A key of a certificate: its primary one or a subkey.
#[derive(Debug, Clone, Copy)]
pub(super) enum Component<'a> {
    Primary,
    Subkey(&'a SignedPublicSubKey),
}

impl Certificate {
    /// The primary key's fingerprint, as people compare it.
    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.key.fingerprint())
    }

    /// The keys that a signature may be by: those it names, or all if it names none.
    pub fn issuers(&self, signature: &Signature) -> Vec<Component<'_>> {
        let subkeys = self.key.public_subkeys.iter().map(Component::Subkey);
        std::iter::once(Component::Primary)
            .chain(subkeys)
            .filter(|component| match component {
                Component::Primary => named(signature, &self.key.primary_key),
                Component::Subkey(subkey) => named(signature, &subkey.key),
            })
            .collect()
    }

    /// Whether a key made a signature of the data; nothing about whether it was allowed to.
    pub fn made(&self, component: Component<'_>, signature: &Signature, data: &[u8]) -> bool {
        match component {
            Component::Primary => signature.verify(&self.key.primary_key, data),
            Component::Subkey(subkey) => signature.verify(&subkey.key, data),
        }
        .is_ok()
    }

    /// Why a key was not allowed to make a signature at a time, in seconds since 1970.
    ///
    /// A revocation counts from ever on, whatever its date. Expiry counts at the time of the signature, so that
    /// snapshots of an archive stay usable: what is pinned in a recipe was looked at by its author, and indexes
    /// carry their own `Valid-Until`.
    pub fn objection(&self, component: Component<'_>, at: u32) -> Option<String> {
        let primary = &self.key.primary_key;
        let details = &self.key.details;
        if details.revocation_signatures.iter().any(|s| s.verify_key(primary).is_ok()) {
            return Some("the key was revoked".to_owned());
        }
        let direct = details
            .direct_signatures
            .iter()
            .filter(|s| s.typ() == Some(SignatureType::Key) && sound_binding(s) && s.verify_key(primary).is_ok());
        let direct = newest(direct);
        let users = details.users.iter().flat_map(|user| user.signatures.iter().map(move |s| (user, s)));
        let certified = newest(
            users
                .filter(|(user, s)| {
                    s.typ() != Some(SignatureType::CertRevocation)
                        && named(s, primary)
                        && sound_binding(s)
                        && s.verify_certification(primary, Tag::UserId, &user.id).is_ok()
                })
                .map(|(_, s)| s),
        );
        let bindings: Vec<&Signature> = [certified, direct].into_iter().flatten().collect();
        if bindings.is_empty() {
            return Some("the certificate has no valid signature of its own".to_owned());
        }
        let lifetime = bindings.iter().find_map(|s| s.key_expiration_time()).map(|d| d.as_secs());
        if let Some(objection) = lived(primary, lifetime, at).or_else(|| weak(primary)) {
            return Some(objection);
        }
        match component {
            Component::Primary => {
                let flags = bindings.iter().find_map(|s| key_flags(s));
                flags.is_some_and(|f| !f.sign()).then(|| "the key is not meant for signing".to_owned())
            }
            Component::Subkey(subkey) => self.objection_to_subkey(subkey, at),
        }
    }

    fn objection_to_subkey(&self, subkey: &SignedPublicSubKey, at: u32) -> Option<String> {
        let primary = &self.key.primary_key;
        let of_type = |wanted| subkey.signatures.iter().filter(move |s| s.typ() == Some(wanted));
        if of_type(SignatureType::SubkeyRevocation).any(|s| s.verify_subkey_binding(primary, &subkey.key).is_ok()) {
            return Some("the subkey was revoked".to_owned());
        }
        let bindings = of_type(SignatureType::SubkeyBinding)
            .filter(|s| sound_binding(s) && s.verify_subkey_binding(primary, &subkey.key).is_ok());
        let Some(binding) = newest(bindings) else {
            return Some("the subkey is not bound to its certificate".to_owned());
        };
        if !key_flags(binding).is_some_and(KeyFlags::sign) {
            return Some("the subkey is not meant for signing".to_owned());
        }
        // Without it anyone could claim the subkey of another as their own (RFC 9580, section 10.1.5).
        let back = binding.embedded_signature();
        if !back.is_some_and(|s| sound_binding(s) && s.verify_primary_key_binding(&subkey.key, primary).is_ok()) {
            return Some("the subkey did not confirm that it belongs to its certificate".to_owned());
        }
        lived(&subkey.key, binding.key_expiration_time().map(|d| d.as_secs()), at).or_else(|| weak(&subkey.key))
    }
}

fn named(signature: &Signature, key: &impl KeyDetails) -> bool {
    let ids = signature.issuer_key_id();
    let fingerprints = signature.issuer_fingerprint();
    (ids.is_empty() && fingerprints.is_empty())
        || ids.into_iter().any(|id| *id == key.legacy_key_id())
        || fingerprints.into_iter().any(|f| *f == key.fingerprint())
}

/// Whether the hash of a signature inside a certificate is good enough. SHA-1 is here, unlike for data: to forge
/// one takes a second preimage, which nobody can make, and old but valid certificates are full of it.
fn sound_binding(signature: &Signature) -> bool {
    signature.hash_alg().is_some_and(|h| h == HashAlgorithm::Sha1 || sound_hash(h))
}

/// Whether a hash is good enough to sign data with.
pub(super) fn sound_hash(hash: HashAlgorithm) -> bool {
    matches!(
        hash,
        HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    )
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|s| s.created().map(|t| t.as_secs()))
}

/// The flags of a binding; without that subpacket every use is allowed.
fn key_flags(signature: &Signature) -> Option<&KeyFlags> {
    signature.config()?.hashed_subpackets().find_map(|p| match &p.data {
        SubpacketData::KeyFlags(flags) => Some(flags),
        _ => None,
    })
}

/// Whether a key existed at a time. A lifetime of zero is without end.
fn lived(key: &impl KeyDetails, lifetime: Option<u32>, at: u32) -> Option<String> {
    let created = key.created_at().as_secs();
    let expires = lifetime.filter(|&l| l > 0).map(|l| created.saturating_add(l));
    if at < created {
        return Some("the signature is older than the key".to_owned());
    }
    expires.filter(|&e| at >= e).map(|e| format!("the key had expired on {}", super::day(e)))
}

pub(super) fn weak(key: &impl VerifyingKey) -> Option<String> {
    match key.public_params() {
        PublicParams::RSA(params) => {
            // Its first number is the modulus, which begins with its length in bits (RFC 9580, section 3.2).
            let bits = params.to_bytes().ok().and_then(|b| Some(u16::from_be_bytes([*b.first()?, *b.get(1)?])));
            bits.is_none_or(|b| b < MIN_RSA_BITS).then(|| format!("its RSA key is shorter than {MIN_RSA_BITS} bits"))
        }
        PublicParams::ECDSA(_) | PublicParams::EdDSALegacy(_) | PublicParams::Ed25519(_) | PublicParams::Ed448(_) => {
            None
        }
        _ => Some(format!("{:?} keys are too weak or not known", key.algorithm())),
    }
}
