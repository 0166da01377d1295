//! Lists of mirrors, `mirrorlist` of dnf.conf(5): text with the address of the repository at a mirror on each line.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, bail};

use super::repofile::expand;
use crate::fetch::Fetcher;
use crate::plan::MirrorList;
use crate::recipe::Address;

/// A list may be this large, in bytes; Fedora's with all its mirrors has some ten thousand.
const MAX_LIST: u64 = 256 << 10;
/// So many mirrors of a list are used: to be tried in turn, and to be written into the lock.
const MAX_MIRRORS: usize = 16;
/// A line of what is no list is shown up to here, in characters.
const SHOWN: usize = 60;

/// Fetches a list. Gives the addresses of its mirrors, in turn, without credentials and closing slash.
pub fn read(fetcher: &Fetcher, list: &MirrorList, variables: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let text = fetcher.get(&list.full_url, MAX_LIST);
    let mirrors = text.and_then(|text| parse(&String::from_utf8_lossy(&text), variables));
    mirrors.with_context(|| format!("reading the list of mirrors {}", list.url))
}

/// Reads a list. Mirrors with other protocols than HTTP are passed over.
fn parse(text: &str, variables: &BTreeMap<String, String>) -> Result<Vec<String>> {
    if text.contains("<metalink") {
        bail!("it is a metalink, which is not read; give the address of a list in plain text");
    }
    let mut mirrors: Vec<String> = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = expand(line, variables);
        let place = |reason: &str| {
            let shown: String = line.chars().take(SHOWN).collect();
            anyhow!("its line {number} is {shown:?}: {reason}")
        };
        match line.split_once("://") {
            Some(("http" | "https", _)) => {}
            Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) => continue,
            _ => return Err(place("this is no address")),
        }
        let address = Address::parse(&line).map_err(|reason| place(&reason))?;
        if address.has_credentials() {
            bail!("the mirror in its line {number} has a user name or password; they belong into the recipe's address");
        }
        if !mirrors.contains(&address.public) {
            mirrors.push(address.public);
        }
        if mirrors.len() == MAX_MIRRORS {
            break;
        }
    }
    if mirrors.is_empty() {
        bail!("it names no mirror with http:// or https://");
    }
    Ok(mirrors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<String>> {
        let variables = [("releasever", "9"), ("basearch", "x86_64"), ("arch", "x86_64")];
        parse(text, &variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    #[test]
    fn mirrors_are_kept_in_turn() {
        let many: String = (0..99).map(|number| format!("http://h{number}/\n")).collect();
        for (text, mirrors) in [
            ("https://h/al2023/core/guids/0123/x86_64/", &["https://h/al2023/core/guids/0123/x86_64"][..]),
            ("# repo = os arch = x86_64\r\n\r\n  http://b/os/  \r\nhttps://a/os\r\n", &["http://b/os", "https://a/os"]),
            ("http://h/$releasever/${basearch}/$arch/$other", &["http://h/9/x86_64/x86_64/$other"]),
            ("ftp://h/os\nrsync://h/os\nfile:///etc\nhttp://h/os\n", &["http://h/os"]),
            ("http://h/os\nhttp://h/os/\nhttp://i/os", &["http://h/os", "http://i/os"]),
        ] {
            assert_eq!(parsed(text).expect(text), mirrors);
        }
        let kept = parsed(&many).expect("mirrors");
        assert_eq!((kept.len(), kept[15].as_str()), (16, "http://h15"));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (text, reason) in [
            ("", "no mirror with http:// or https://"),
            ("# nothing for you\n", "no mirror with"),
            ("ftp://h/os\nfile:///srv/os\n", "no mirror with"),
            ("<html>\n<body>Please log in</body></html>", "its line 1 is \"<html>\": this is no address"),
            ("<?xml version=\"1.0\"?>\n<metalink version=\"3.0\">", "it is a metalink"),
            ("http://h/os\nInvalid release/repo/arch combination", "its line 2 is \"Invalid release"),
            ("<a href=\"http://h/os\">", "this is no address"),
            ("http://h/os?x=1", "no '?' and no '#'"),
            ("http://h/a b", "no spaces"),
            ("http://", "no host name"),
            ("http://user:secret@h/os", "line 1 has a user name or password"),
            ("\u{0}\u{1}", "\"\\0\\u{1}\": this is no address"),
        ] {
            let error = parsed(text).expect_err(text).to_string();
            assert!(error.contains(reason) && !error.contains("secret"), "{error}");
        }
        let long = parsed(&"x".repeat(5000)).expect_err("it is no list").to_string();
        assert!(long.len() < 120, "{long}");
    }
}
