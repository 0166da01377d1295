//! Signatures of indexes and packages of version 2 (`apk-v2(5)`, `apk-keys(5)`): RSA, PKCS #1 version 1.5, by keys that
//! are known by the names of their files.

use anyhow::{Context as _, Result, bail};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::sha2::{Digest as _, Sha256, Sha512};
use rsa::traits::PublicKeyParts as _;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use sha1::Sha1;

use crate::plan::Key;

/// What the names of signatures begin with.
pub const PREFIX: &str = ".SIGN.";
/// A signature of the longest key that is read, 4096 bits, has 512 bytes; what is more is none.
pub const MAX_SIGNATURE: u64 = 512;
/// Shorter keys can be broken. Alpine's own have 2048 bits, and 4096 since 2021.
const MIN_BITS: usize = 2048;

/// What is signed is a hash, and the name of a signature says which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// SHA-1, the one that Alpine uses.
    Rsa,
    /// SHA-256.
    Rsa256,
    /// SHA-512.
    Rsa512,
}

impl Scheme {
    fn parse(text: &str) -> Option<Scheme> {
        match text {
            "RSA" => Some(Scheme::Rsa),
            "RSA256" => Some(Scheme::Rsa256),
            "RSA512" => Some(Scheme::Rsa512),
            _ => None,
        }
    }

    fn padding(self) -> Pkcs1v15Sign {
        match self {
            Scheme::Rsa => Pkcs1v15Sign::new::<Sha1>(),
            Scheme::Rsa256 => Pkcs1v15Sign::new::<Sha256>(),
            Scheme::Rsa512 => Pkcs1v15Sign::new::<Sha512>(),
        }
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        match self {
            Scheme::Rsa => Sha1::digest(data).to_vec(),
            Scheme::Rsa256 => Sha256::digest(data).to_vec(),
            Scheme::Rsa512 => Sha512::digest(data).to_vec(),
        }
    }
}

/// A signature as it stands in an archive.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The name of its member: `.SIGN.RSA.KEY`.
    pub member: String,
    /// The signature itself.
    pub data: Vec<u8>,
}

/// The keys that may sign.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<(String, RsaPublicKey)>,
}

impl Keys {
    /// Reads public keys, in PEM as `openssl rsa -pubout` writes them.
    pub fn parse(keys: &[Key]) -> Result<Keys> {
        let mut parsed = Vec::with_capacity(keys.len());
        for key in keys {
            let read = || {
                let text = std::str::from_utf8(&key.data).context("it is no RSA public key in PEM")?;
                let read = RsaPublicKey::from_public_key_pem(text.trim()).context("it is no RSA public key in PEM")?;
                let bits = read.size() * 8;
                if bits < MIN_BITS {
                    bail!("it has {bits} bits, and {MIN_BITS} are the least that is safe: sign with another one");
                }
                Ok(read)
            };
            parsed.push((key.name.clone(), read().with_context(|| format!("reading the key {}", key.name))?));
        }
        Ok(Keys { keys: parsed })
    }

    /// Whether a signature is by the name of one of the keys.
    pub fn knows(&self, signature: &Signature) -> bool {
        let name = signature.member.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')).map(|(_, name)| name);
        self.keys.iter().any(|(known, _)| Some(known.as_str()) == name)
    }

    /// Checks that one of the signatures is a right one of the data by one of the keys. Those by other keys do not
    /// matter, a wrong one by a known key does.
    pub fn verify(&self, signatures: &[Signature], data: &[u8]) -> Result<()> {
        if signatures.is_empty() {
            bail!("it is not signed");
        }
        let mut strangers = Vec::new();
        for Signature { member, data: signature } in signatures {
            let Some((scheme, name)) = member.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')) else {
                bail!("{member:?} is not the name of a signature");
            };
            let key = self.keys.iter().find(|(known, _)| known == name);
            let (Some(scheme), Some((_, key))) = (Scheme::parse(scheme), key) else {
                strangers.push(format!("{} ({})", printable(name), printable(scheme)));
                continue;
            };
            return key.verify(scheme.padding(), &scheme.hash(data), signature).with_context(|| {
                format!("its signature by {} does not match: it was changed on the way", printable(name))
            });
        }
        let known: Vec<&str> = self.keys.iter().map(|(name, _)| name.as_str()).collect();
        bail!(
            "it is signed by {}, and the recipe trusts {}; a key is known by the name of its file",
            strangers.join(", "),
            if known.is_empty() { "no key".to_owned() } else { known.join(", ") }
        )
    }
}

/// A name out of an archive, for messages.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
pub mod testing {
    use std::sync::OnceLock;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use rsa::RsaPrivateKey;
    use rsa::pkcs8::{EncodePublicKey as _, LineEnding};

    use super::*;

    /// A public key of so many bits, in PEM.
    pub fn public_key(bits: usize) -> Vec<u8> {
        let private = RsaPrivateKey::new(&mut StdRng::seed_from_u64(bits as u64), bits).expect("a key");
        private.to_public_key().to_public_key_pem(LineEnding::LF).expect("a key").into_bytes()
    }

    /// A pair of keys that only tests trust.
    pub struct Signer {
        /// Name of the public one.
        pub name: String,
        private: RsaPrivateKey,
    }

    impl Signer {
        /// The first or second pair, under this name. Making one takes a moment, so that tests share them.
        pub fn new(name: &str, which: usize) -> Signer {
            static PAIRS: OnceLock<[RsaPrivateKey; 2]> = OnceLock::new();
            let make = |seed| RsaPrivateKey::new(&mut StdRng::seed_from_u64(seed), 2048).expect("a key");
            let pairs = PAIRS.get_or_init(|| [make(1), make(2)]);
            Signer { name: name.into(), private: pairs[which].clone() }
        }

        /// The public key.
        pub fn public(&self) -> Key {
            let pem = self.private.to_public_key().to_public_key_pem(LineEnding::LF).expect("a key");
            Key { name: self.name.clone(), data: pem.into_bytes() }
        }

        /// A signature by `RSA`, `RSA256` or `RSA512`.
        pub fn sign(&self, scheme: &str, data: &[u8]) -> Signature {
            let known = Scheme::parse(scheme).expect("a scheme");
            let data = self.private.sign(known.padding(), &known.hash(data)).expect("signs");
            Signature { member: format!("{PREFIX}{scheme}.{}", self.name), data }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Signer;
    use super::*;

    #[test]
    fn right_signatures_by_known_keys() {
        let (one, two) = (Signer::new("one.rsa.pub", 0), Signer::new("two.rsa.pub", 1));
        let keys = Keys::parse(&[one.public(), two.public()]).expect("keys");
        for scheme in ["RSA", "RSA256", "RSA512"] {
            for signer in [&one, &two] {
                keys.verify(&[signer.sign(scheme, b"data")], b"data").expect(scheme);
            }
        }
        // One that is known suffices.
        let stranger = Signature { member: ".SIGN.RSA.stranger.rsa.pub".into(), data: vec![1] };
        keys.verify(&[stranger, one.sign("RSA", b"data")], b"data").expect("one is right");
    }

    #[test]
    fn everything_else_is_refused() {
        let (one, two) = (Signer::new("one.rsa.pub", 0), Signer::new("two.rsa.pub", 1));
        let keys = Keys::parse(&[one.public()]).expect("keys");
        let renamed = |signature: Signature, member: &str| Signature { member: member.into(), ..signature };
        let right = one.sign("RSA256", b"data");
        for (signatures, words) in [
            (vec![], "it is not signed"),
            (vec![two.sign("RSA", b"data")], "it is signed by two.rsa.pub (RSA), and the recipe trusts one.rsa.pub"),
            // The name of a key says nothing about who signed.
            (vec![renamed(two.sign("RSA", b"data"), ".SIGN.RSA.one.rsa.pub")], "does not match"),
            (vec![one.sign("RSA", b"date")], "does not match"),
            (vec![renamed(right.clone(), ".SIGN.RSA.one.rsa.pub")], "does not match"),
            (vec![renamed(right.clone(), ".SIGN.DSA.one.rsa.pub")], "signed by one.rsa.pub (DSA)"),
            (vec![renamed(right.clone(), ".SIGN.RSA256")], "not the name of a signature"),
            (vec![Signature { data: Vec::new(), ..right.clone() }], "does not match"),
            // A wrong one is not made good by a right one behind it.
            (vec![one.sign("RSA", b"date"), right.clone()], "does not match"),
        ] {
            let error = keys.verify(&signatures, b"data").expect_err(words);
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }

    #[test]
    fn what_is_no_key() {
        for (data, words) in [
            (&b"hello"[..], "reading the key k: it is no RSA public key in PEM"),
            (b"\xff", "no RSA public key"),
            (&super::testing::public_key(1024), "it has 1024 bits"),
        ] {
            let error = Keys::parse(&[Key { name: "k".into(), data: data.to_vec() }]).expect_err("it is none");
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }
}
