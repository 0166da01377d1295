//! OpenPGP keys of test repositories, made and used in-process.

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::Password;

/// A certificate with its secret key. Ed25519: made in no time, and known to every gpgv in use.
pub struct Key {
    secret: SignedSecretKey,
}

impl Key {
    pub fn new(name: &str) -> Key {
        let mut parameters = SecretKeyParamsBuilder::default();
        parameters
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id(format!("{name} <{name}@example.org>"));
        let secret =
            parameters.build().expect("key parameters are complete").generate(rand::thread_rng()).expect("a key");
        Key { secret }
    }

    /// The certificate, armoured: what a recipe's `key` names.
    pub fn public(&self) -> String {
        self.secret.to_public_key().to_armored_string(ArmorOptions::default()).expect("an armoured key")
    }

    /// The certificate in binary form, as `gpgv` and debootstrap want a keyring.
    pub fn public_binary(&self) -> Vec<u8> {
        use pgp::ser::Serialize as _;
        self.secret.to_public_key().to_bytes().expect("a key can be written")
    }

    /// The fingerprint, as a recipe pins it.
    pub fn fingerprint(&self) -> String {
        use pgp::types::KeyDetails as _;
        self.secret.to_public_key().fingerprint().to_string()
    }

    /// `InRelease` of a `Release`.
    pub fn sign_inline(&self, text: &str) -> String {
        CleartextSignedMessage::sign(rand::thread_rng(), text, &self.secret.primary_key, &Password::empty())
            .expect("a text can be signed")
            .to_armored_string(ArmorOptions::default())
            .expect("an armoured message")
    }

    /// `Release.gpg` of a `Release`.
    pub fn sign_detached(&self, text: &str) -> String {
        DetachedSignature::sign_binary_data(
            rand::thread_rng(),
            &self.secret.primary_key,
            &Password::empty(),
            HashAlgorithm::Sha256,
            text.as_bytes(),
        )
        .expect("a text can be signed")
        .to_armored_string(ArmorOptions::default())
        .expect("an armoured signature")
    }
}
