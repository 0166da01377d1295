//! Keys in the RPM database, the packages `gpg-pubkey`.
//!
//! They are made here and not taken from the rpm that installed: each release writes them otherwise (the name of the rpm,
//! the armour, since 6.0 the whole fingerprint for a version), and some leave out keys that they do not like. This is
//! the form of rpm 4 (`makePubkeyHeader` of `lib/rpmts.c`), which every rpm reads, without the release of rpm.

use anyhow::Result;
use sha1::{Digest as _, Sha1};

use super::header::{MAGIC, tag};
use super::maker::{Maker, Value};
use crate::fetch::openpgp::listed::{Listed, Named, listed};
use crate::hash::{base64, hex, sha256};
use crate::plan::Key;

/// The name of all of them.
pub const NAME: &str = "gpg-pubkey";
/// The group of all of them.
pub const GROUP: &str = "Public Keys";
/// Characters of a line of base 64.
const LINE: usize = 64;
/// What a provided name of a key is: of a keyring, and equal to the version (`rpmds.h`).
const PROVIDED: u32 = 1 << 26 | 8;
/// Tags that only headers of keys need here, of `rpmtag.h`.
mod own {
    pub const PUBKEYS: u32 = 266;
    pub const SHA1_HEADER: u32 = 269;
    pub const SUMMARY: u32 = 1004;
    pub const DESCRIPTION: u32 = 1005;
    pub const BUILD_TIME: u32 = 1006;
    pub const BUILD_HOST: u32 = 1007;
    pub const PACKAGER: u32 = 1015;
    pub const GROUP: u32 = 1016;
}

/// A key as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pubkey {
    /// Its header.
    pub blob: Vec<u8>,
    /// What it provides.
    pub provides: Vec<String>,
    /// SHA-1 of its header, in hexadecimal.
    pub sha1: String,
}

/// The keys of files, one of each id, as installed at a time in seconds since 1970.
pub fn pubkeys(keys: &[&Key], time: u32) -> Result<Vec<Pubkey>> {
    let mut found: Vec<Listed> = Vec::new();
    for key in keys {
        for certificate in listed(key)? {
            // rpm keeps the first, too.
            if found.iter().all(|known| known.primary.id != certificate.primary.id) {
                found.push(certificate);
            }
        }
    }
    Ok(found.iter().map(|certificate| pubkey(certificate, time)).collect())
}

fn pubkey(certificate: &Listed, time: u32) -> Pubkey {
    let Listed { bytes, user, primary, subkeys } = certificate;
    let coded = base64(bytes);
    let lines: String = coded.as_bytes().chunks(LINE).map(|line| String::from_utf8_lossy(line) + "\n").collect();
    let text = format!("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{lines}-----END PGP PUBLIC KEY BLOCK-----\n");
    let mut provides = vec![(user.as_str(), primary)];
    for key in std::iter::once(primary).chain(subkeys) {
        provides.extend([(short(key), key), (key.id.as_str(), key)]);
    }
    // Version of the key, id, and time.
    let versions: Vec<String> = provides.iter().map(|(_, key)| format!("4:{}-{:x}", key.id, key.created)).collect();
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let names: Vec<String> = provides.iter().map(|(name, _)| format!("gpg({name})")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();

    let mut maker = Maker::default();
    for (tag, value) in [
        (own::PUBKEYS, Value::Texts(&[&lines])),
        (tag::NAME, Value::Text(NAME)),
        (tag::VERSION, Value::Text(short(primary))),
        (tag::RELEASE, Value::Text(&format!("{:x}", primary.created))),
        (own::SUMMARY, Value::Translated(&format!("{user} public key"))),
        (own::DESCRIPTION, Value::Translated(&text)),
        (own::BUILD_TIME, Value::Numbers(&[primary.created])),
        (own::BUILD_HOST, Value::Text("localhost")),
        (tag::SIZE, Value::Numbers(&[0])),
        (tag::LICENCE, Value::Text("pubkey")),
        (own::PACKAGER, Value::Text(user)),
        (own::GROUP, Value::Translated(GROUP)),
        (tag::SOURCE_RPM, Value::Text("(none)")),
        (tag::PROVIDE_NAMES, Value::Texts(&refs)),
        (tag::PROVIDE_FLAGS, Value::Numbers(&vec![PROVIDED; refs.len()])),
        (tag::PROVIDE_VERSIONS, Value::Texts(&versions)),
    ] {
        maker.add(tag, &value);
    }
    maker.seal();
    let signed = [&MAGIC[..], &maker.blob()].concat();
    let sha1 = hex(&Sha1::digest(&signed));
    maker.add(own::SHA1_HEADER, &Value::Text(&sha1));
    maker.add(tag::SHA256_HEADER, &Value::Text(&sha256(&signed)));
    maker.add(tag::INSTALL_TIME, &Value::Numbers(&[time]));
    maker.add(tag::INSTALL_ID, &Value::Numbers(&[time]));
    Pubkey { blob: maker.blob(), provides: names, sha1 }
}

/// The last eight digits of an id.
fn short(key: &Named) -> &str {
    &key.id[key.id.len() - 8..]
}

#[cfg(test)]
mod tests {
    use super::super::header::Header;
    use super::*;
    use crate::fetch::openpgp::testkeys::{CREATED, key, public};
    use pgp::ser::Serialize as _;

    #[test]
    fn a_key_is_a_package_that_provides_its_ids() {
        let certificate = public(&key());
        let file = Key { name: "key".into(), data: certificate.to_bytes().expect("bytes") };
        let found = pubkeys(&[&file, &file], 77).expect("it reads");
        let [found] = &found[..] else { panic!("the same key twice is one: {}", found.len()) };
        let header = Header::parse(&found.blob).expect("a header");
        let text = |tag| header.text(tag).expect("text").expect("it is there").into_owned();
        let id = listed(&file).expect("it reads")[0].primary.id.clone();
        assert_eq!((text(tag::NAME), text(tag::VERSION)), (NAME.into(), id[8..].to_owned()));
        assert_eq!(text(tag::RELEASE), format!("{CREATED:x}"));
        assert_eq!(text(own::PUBKEYS).replace('\n', ""), base64(&file.data));
        assert!(text(own::PUBKEYS).lines().all(|line| line.len() <= LINE));
        assert_eq!(header.numbers(tag::INSTALL_TIME).expect("a number"), [77]);
        assert_eq!(found.provides.len(), 5, "the user, and two of each key: {:?}", found.provides);
        assert_eq!(found.provides[2], format!("gpg({id})"));

        // The digests are of the region alone, whose end tells its length.
        let entries = u32::from_be_bytes(found.blob[..4].try_into().expect("four bytes")) as usize;
        let region = 17;
        assert_eq!(entries, region + 4);
        let number = |at: usize| u32::from_be_bytes(found.blob[at..at + 4].try_into().expect("four bytes")) as usize;
        let (store, end) = (8 + 16 * entries, number(16));
        let trailer = store + end;
        assert_eq!(number(trailer + 8), (16 * region as u32).wrapping_neg() as usize);
        let lengths = [region as u32, end as u32 + 16].map(u32::to_be_bytes).concat();
        let sealed = [&MAGIC[..], &lengths, &found.blob[8..8 + 16 * region], &found.blob[store..trailer + 16]].concat();
        assert_eq!((text(own::SHA1_HEADER), text(tag::SHA256_HEADER)), (found.sha1.clone(), sha256(&sealed)));
    }
}
