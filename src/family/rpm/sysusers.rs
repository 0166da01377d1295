//! The users and groups that a package provides, rpm-sysusers(7): `user(NAME)`, `group(NAME)` and
//! `groupmember(NAME/GROUP)` have as their version a line of sysusers.d(5) in base 64, padded with zeroes.
//!
//! Since 4.19 rpm has these made before it unpacks a package, so that files can belong to them; `driver/sysusers.py` is
//! what it has that done by. For an older rpm the driver of dnf does it at the same moment.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use super::header::{Header, tag};
use crate::hash::from_base64;

/// `RPMSENSE_EQUAL` of `rpmds.h`: the provide has a version.
const EQUAL: u64 = 1 << 3;
/// What the names of such provides begin with.
const KINDS: [&[u8]; 3] = [b"user(", b"group(", b"groupmember("];
/// Types of dependencies in the dictionary of those that files have: this one is of provides.
const PROVIDE: u64 = b'P' as u64;

/// The lines of a package: one list for each of its files that they are from, in the order in which rpm takes them.
pub fn lines(header: &Header) -> Result<Vec<Vec<String>>> {
    let names = header.strings(tag::PROVIDE_NAMES)?;
    let versions = header.strings(tag::PROVIDE_VERSIONS)?;
    let flags = header.numbers(tag::PROVIDE_FLAGS)?;
    let mut lists: Vec<(Option<usize>, Vec<String>)> = Vec::new();
    let mut files = None;
    for (i, ((name, version), flags)) in names.iter().zip(&versions).zip(&flags).enumerate() {
        if flags & EQUAL == 0 || !KINDS.iter().any(|kind| name.starts_with(kind)) {
            continue;
        }
        // rpm passes over what is none of it.
        let Some(line) = from_base64(version) else { continue };
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        let name = String::from_utf8_lossy(name);
        let line = String::from_utf8(line).ok().filter(|line| !line.contains(char::is_control));
        let line = line.with_context(|| format!("its provide {name:?} holds no line of text"))?;
        if files.is_none() {
            files = Some(providers(header)?);
        }
        let file = files.as_ref().and_then(|files| files.get(&i).copied());
        match lists.iter_mut().find(|(known, _)| *known == file) {
            Some((_, list)) => list.push(line),
            None => lists.push((file, vec![line])),
        }
    }
    Ok(lists.into_iter().map(|(_, list)| list).collect())
}

/// Which file each provide is of, by their positions: the first of several.
fn providers(header: &Header) -> Result<BTreeMap<usize, usize>> {
    let starts = header.numbers(tag::FILE_DEPENDENCIES)?;
    let counts = header.numbers(tag::FILE_DEPENDENCY_COUNTS)?;
    let dictionary = header.numbers(tag::DEPENDENCY_DICTIONARY)?;
    let mut found = BTreeMap::new();
    for (file, (start, count)) in starts.into_iter().zip(counts).enumerate() {
        let range = usize::try_from(start).ok().zip(usize::try_from(start + count).ok());
        let Some(entries) = range.and_then(|(start, end)| dictionary.get(start..end)) else {
            bail!("the dependencies of its file {file} are outside of their dictionary");
        };
        for entry in entries.iter().filter(|entry| **entry >> 24 == PROVIDE) {
            found.entry((entry & 0xff_ffff) as usize).or_insert(file);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::maker::{Value, make};
    use super::*;
    use crate::hash::base64;

    fn padded(line: &str) -> String {
        let mut bytes = line.as_bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(3), 0);
        base64(&bytes)
    }

    fn header(provides: &[(&str, &str, u32)], more: &[(u32, Value<'_>)]) -> Header {
        let names: Vec<&str> = provides.iter().map(|provide| provide.0).collect();
        let versions: Vec<&str> = provides.iter().map(|provide| provide.1).collect();
        let flags: Vec<u32> = provides.iter().map(|provide| provide.2).collect();
        let mut blob = vec![
            (tag::PROVIDE_NAMES, Value::Texts(&names)),
            (tag::PROVIDE_VERSIONS, Value::Texts(&versions)),
            (tag::PROVIDE_FLAGS, Value::Numbers(&flags)),
        ];
        blob.extend_from_slice(more);
        Header::parse(&make(&blob)).expect("a header")
    }

    #[test]
    fn lines_are_grouped_by_their_files() {
        let (web, db, member) = (padded("u web - \"Web\" /srv"), padded("g db 26"), padded("m web db"));
        let provides = [
            ("bash", "5.2", 8),
            ("group(db)", &*db, 8),
            ("group(web)", "", 0),
            ("groupmember(web/db)", &member, 8),
            ("user(web)", &web, 8),
            ("user(odd)", "1.0-1", 8),
            ("userspace", &web, 8),
        ];
        let all = ["g db 26", "m web db", "u web - \"Web\" /srv"];
        assert_eq!(lines(&header(&provides, &[])).expect("lines"), [all]);
        // The second file has the first and the third of them, the third file another one.
        let dictionary = [0x5000_0001, 0x5000_0003, 0x5200_0000, 0x5000_0004];
        let files = [
            (tag::FILE_DEPENDENCIES, Value::Numbers(&[0, 0, 2])),
            (tag::FILE_DEPENDENCY_COUNTS, Value::Numbers(&[0, 2, 2])),
            (tag::DEPENDENCY_DICTIONARY, Value::Numbers(&dictionary)),
        ];
        assert_eq!(lines(&header(&provides, &files)).expect("lines"), [&all[..2], &all[2..]]);
        assert!(lines(&header(&provides[..1], &[])).expect("none").is_empty());
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let two = padded("u a -\nu root -");
        let error = lines(&header(&[("user(a)", &two, 8)], &[])).expect_err("two lines").to_string();
        assert!(error.contains("\"user(a)\" holds no line"), "{error}");
        let outside = [
            (tag::FILE_DEPENDENCIES, Value::Numbers(&[3])),
            (tag::FILE_DEPENDENCY_COUNTS, Value::Numbers(&[u32::MAX])),
            (tag::DEPENDENCY_DICTIONARY, Value::Numbers(&[0])),
        ];
        let error = lines(&header(&[("user(a)", &padded("u a -"), 8)], &outside)).expect_err("outside").to_string();
        assert!(error.contains("its file 0"), "{error}");
    }
}
