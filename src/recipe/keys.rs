//! The keys that a recipe pins for a repository.

use std::path::Path;

use anyhow::Context as _;
use pgp::composed::{ArmorOptions, PublicOrSecret};
use pgp::types::KeyDetails as _;

use super::choose::Choice;
use super::node::{Node, Value};
use super::source::{fill, list, read};
use super::values::Address;

/// Bytes of a key file at most; whole keyrings of distributions have some ten thousand.
pub const KEY_LIMIT: u64 = 1 << 20;

/// A key whose bytes are at hand.
pub struct PinnedKey {
    /// File name.
    pub name: String,
    /// The key itself.
    pub data: Vec<u8>,
    /// What the recipe pins: the file's hash, or the fingerprint of a key that is downloaded.
    pub pin: String,
}

/// The keys under `key` of a table, in the order of the recipe. `key` is what messages call that: `repository.corp.key`.
pub fn read_all(node: &Node, key: &str, choice: &Choice<'_>) -> anyhow::Result<Vec<PinnedKey>> {
    let Some(value) = node.get("key") else { return Ok(Vec::new()) };
    let given = match &value.value {
        Value::List(list) => list.as_slice(),
        _ => std::slice::from_ref(value),
    };
    let mut keys = Vec::new();
    for one in given {
        if one.table().is_some() {
            keys.push(download(one, key, choice)?);
            continue;
        }
        let path = fill(one, key, &choice.placeholders)?;
        let files = if path.ends_with('/') { list(one, key, &path)? } else { vec![path] };
        for file in files {
            let data = read(one, key, &file, KEY_LIMIT)?;
            keys.push(PinnedKey { name: file_name(&file), pin: crate::hash::sha256(&data), data });
        }
    }
    Ok(keys)
}

fn file_name(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_string(), |name| name.to_string_lossy().into_owned())
}

/// A key from a server. What comes is only taken for what the fingerprint says it is.
fn download(node: &Node, key: &str, choice: &Choice<'_>) -> anyhow::Result<PinnedKey> {
    let part = |name: &str| {
        let full = format!("{key}.{name}");
        let value =
            node.get(name).ok_or_else(|| node.refuse(&full, "a key that is downloaded has url and fingerprint"));
        Ok::<_, anyhow::Error>((value?, full))
    };
    let (url, url_key) = part("url")?;
    let text = fill(url, &url_key, &choice.placeholders)?;
    let address = Address::parse(&text).map_err(|error| url.refuse(&url_key, error))?;
    if address.has_credentials() {
        return Err(url.refuse(&url_key, "the address of a key has no user name or password"));
    }
    let (fingerprint, fingerprint_key) = part("fingerprint")?;
    let wanted: String =
        fingerprint.text().unwrap_or_default().chars().filter(|c| *c != ' ').collect::<String>().to_ascii_lowercase();
    if !(wanted.len() == 40 || wanted.len() == 64) || !wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(fingerprint.refuse(&fingerprint_key, "a fingerprint has 40 or 64 hexadecimal digits, in full"));
    }
    let data = (choice.download)(&address.public).with_context(|| format!("downloading the key {}", address.public))?;
    let data = only(&data, &wanted).with_context(|| format!("reading the key {}", address.public))?;
    let name = format!("{wanted}.asc");
    Ok(PinnedKey { name, data, pin: wanted })
}

/// The one certificate of that fingerprint, armoured. Others in the file are left out: nobody pinned them.
fn only(data: &[u8], fingerprint: &str) -> anyhow::Result<Vec<u8>> {
    let (keys, _) = PublicOrSecret::from_reader_many(data).context("this is no OpenPGP key")?;
    let mut seen = Vec::new();
    for key in keys {
        let PublicOrSecret::Public(key) = key.context("this is no OpenPGP key")? else {
            anyhow::bail!("this is a secret key: its owner must replace it");
        };
        let found = key.primary_key.fingerprint().to_string().to_ascii_lowercase();
        if found == fingerprint {
            return key.to_armored_bytes(ArmorOptions::default()).context("writing it down again");
        }
        seen.push(found);
    }
    anyhow::bail!(
        "it is not the key that the recipe pins: fingerprint {fingerprint} is wanted, found {}",
        if seen.is_empty() { "no key".to_string() } else { seen.join(", ") }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: &[u8] = include_bytes!("../../recipes/keys/debian-archive.asc");
    const STABLE_13: &str = "41587f7db8c774bccf131416762f67a0b2c39de4";

    #[test]
    fn only_the_pinned_certificate_is_taken() {
        let one = only(RING, STABLE_13).expect("it is in the ring");
        let (keys, _) = PublicOrSecret::from_reader_many(one.as_slice()).expect("it is a key");
        let found: Vec<_> = keys.map(|key| key.expect("it is a key")).collect();
        assert_eq!(found.len(), 1);
        let PublicOrSecret::Public(key) = &found[0] else { panic!("it is public") };
        assert_eq!(key.primary_key.fingerprint().to_string().to_ascii_lowercase(), STABLE_13);
        assert!(key.verify_bindings().is_ok(), "its self-signatures came along");
    }

    #[test]
    fn others_are_refused_by_fingerprint() {
        let message = only(RING, &"0".repeat(40)).expect_err("it is not in the ring").to_string();
        assert!(message.contains("not the key that the recipe pins") && message.contains(STABLE_13), "{message}");
        assert!(only(b"<html>not found</html>", STABLE_13).is_err());
        assert!(only(b"", STABLE_13).is_err());
    }
}
