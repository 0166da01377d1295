//! Keys, certificates and signatures for the tests, made on the spot.

use pgp::composed::{KeyType, SecretKeyParamsBuilder, SignedKeyDetails, SignedSecretKey, SubkeyParamsBuilder};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, Subpacket};
use pgp::ser::Serialize as _;
use pgp::types::{Password, SignedUser, SigningKey, Tag, Timestamp};

use super::*;

/// 2020-09-13.
pub const CREATED: u32 = 1_600_000_000;
/// In seconds.
pub const YEAR: u32 = 365 * 24 * 60 * 60;
/// When the signatures are made, two years later.
pub const SIGNED: u32 = CREATED + 2 * YEAR;
/// A text with everything that the cleartext framework changes.
pub const TEXT: &str = "Origin: Test\nSuite: one\n- dash\n\n-----BEGIN PGP SIGNATURE-----\nlast \t\n";

/// A year after the signatures.
pub fn now() -> SystemTime {
    at(SIGNED + YEAR)
}

/// A time by its seconds since 1970.
pub fn at(seconds: u32) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.into())
}

/// A key with a subkey, both able to sign.
pub fn secret(key_type: KeyType, name: &str) -> SignedSecretKey {
    let subkey = SubkeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_sign(true)
        .created_at(Timestamp::from_secs(CREATED))
        .build()
        .expect("valid parameters");
    SecretKeyParamsBuilder::default()
        .key_type(key_type)
        .can_sign(true)
        .can_certify(true)
        .created_at(Timestamp::from_secs(CREATED))
        .primary_user_id(name.to_owned())
        .subkey(subkey)
        .build()
        .expect("valid parameters")
        .generate(rand::thread_rng())
        .expect("a key")
}

/// The key of an archive; a new one at every call.
pub fn key() -> SignedSecretKey {
    secret(KeyType::Ed25519Legacy, "Archive <archive@example.org>")
}

/// Its certificate.
pub fn public(key: &SignedSecretKey) -> SignedPublicKey {
    key.to_public_key()
}

/// A keyring of these certificates, in a file named `archive.gpg`.
pub fn keyring(keys: &[&SignedPublicKey]) -> Keyring {
    let file = |k: &&SignedPublicKey| Key { name: "archive.gpg".into(), data: k.to_bytes().expect("bytes") };
    Keyring::parse(&keys.iter().map(file).collect::<Vec<_>>()).expect("certificates")
}

/// A signature to be made.
pub fn config(key: &impl SigningKey, typ: SignatureType, time: u32, more: Vec<Subpacket>) -> SignatureConfig {
    let mut config = SignatureConfig::v4(typ, key.algorithm(), HashAlgorithm::Sha256);
    let regular = |data| Subpacket::regular(data).expect("a subpacket");
    config.hashed_subpackets = vec![
        regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(time))),
        regular(SubpacketData::IssuerFingerprint(key.fingerprint())),
    ];
    config.hashed_subpackets.extend(more);
    config
}

/// A detached signature.
pub fn sign(key: &impl SigningKey, data: &[u8]) -> Signature {
    config(key, SignatureType::Binary, SIGNED, vec![]).sign(key, &Password::empty(), data).expect("a signature")
}

/// Signatures in one armoured block.
pub fn armoured(signatures: &[Signature]) -> String {
    let bytes: Vec<u8> = signatures
        .iter()
        .flat_map(|s| {
            let mut packet = Vec::new();
            pgp::packet::PacketTrait::to_writer_with_header(s, &mut packet).expect("bytes");
            packet
        })
        .collect();
    let mut text = Vec::new();
    let kind = pgp::armor::BlockType::Signature;
    pgp::armor::write(&Raw(bytes), kind, &mut text, None, true).expect("armour");
    String::from_utf8(text).expect("text")
}

struct Raw(Vec<u8>);

impl pgp::ser::Serialize for Raw {
    fn to_writer<W: std::io::Write>(&self, writer: &mut W) -> pgp::errors::Result<()> {
        Ok(writer.write_all(&self.0)?)
    }

    fn write_len(&self) -> usize {
        self.0.len()
    }
}

/// The canonical form of a text, written here anew so that the tests do not rest on the code they test.
fn canonical(text: &str) -> String {
    text.strip_suffix('\n').unwrap_or(text).split('\n').map(str::trim_end).collect::<Vec<_>>().join("\r\n")
}

/// A cleartext-signed message.
pub fn inline(text: &str, signatures: &[Signature]) -> String {
    let body: String =
        text.split_inclusive('\n').map(|l| if l.starts_with('-') { format!("- {l}") } else { l.to_owned() }).collect();
    format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{body}{}", armoured(signatures))
}

/// A signature for [`inline`].
pub fn sign_text(key: &impl SigningKey, text: &str) -> Signature {
    config(key, SignatureType::Text, SIGNED, vec![])
        .sign(key, &Password::empty(), canonical(text).as_bytes())
        .expect("a signature")
}

/// Why a signature was refused.
pub fn refusal(result: Result<impl std::fmt::Debug, SignatureError>) -> String {
    match result.expect_err("refused") {
        SignatureError::Refused { reason, .. } => reason,
        other => panic!("another error: {other}"),
    }
}

/// A certificate of the key with one self-signature of these properties.
pub fn certified(key: &SignedSecretKey, time: u32, more: Vec<SubpacketData>) -> SignedPublicKey {
    let more = more.into_iter().map(|d| Subpacket::regular(d).expect("a subpacket")).collect();
    let user = &key.details.users[0];
    let public_key = key.primary_key.public_key();
    let signature = config(&key.primary_key, SignatureType::CertPositive, time, more)
        .sign_certification(&key.primary_key, public_key, &Password::empty(), Tag::UserId, &user.id)
        .expect("a certification");
    let users = vec![SignedUser::new(user.id.clone(), vec![signature])];
    SignedPublicKey::new(public_key.clone(), SignedKeyDetails::new(vec![], vec![], users, vec![]), vec![])
}
