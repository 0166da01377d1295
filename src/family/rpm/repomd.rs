//! `repomd.xml`: the list of a repository's metadata files with their hashes (createrepo_c, `xml_dump_repomd.c`).

use anyhow::{Context as _, Result, bail};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::location::below;
use crate::codec::Codec;

/// The files of metadata that decide on packages, by their type in `repomd.xml`; of the last three a repository may
/// have none.
pub const WANTED: [&str; 5] = ["primary", "filelists", "group", "group_gz", "modules"];
/// Those that every repository has.
const REQUIRED: [&str; 2] = ["primary", "filelists"];
/// Elements of the list at most; the largest known has some thirty.
const MAX_RECORDS: usize = 256;
/// A file of metadata may be this large as it is fetched, in bytes; the largest known, the file lists of Fedora, have some
/// eighty million.
const MAX_SIZE: u64 = 512 << 20;
/// Endings of names by which dnf takes a file for compressed, in ways that are not read here.
const UNREAD: [&str; 5] = ["bz2", "lzma", "zck", "zchunk", "zip"];
/// Whole seconds since 1970 are no less than this where they are meant as a time: 2001. Some distributions have a
/// version in the place of it.
const FIRST_TIME: i64 = 1_000_000_000;

/// What is said about a repository.
#[derive(Debug, PartialEq, Eq)]
pub struct Repomd {
    /// When it was made, in seconds since 1970: its revision where that is a time, else that of its newest file.
    pub date: i64,
    /// The files that dnf needs.
    pub records: Vec<Record>,
}

/// One file of metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What is in it: `primary`.
    pub kind: String,
    /// Path below the repository's address.
    pub location: String,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Size in bytes, at most 512 MiB.
    pub size: u64,
    /// Its compression.
    pub codec: Codec,
}

/// An element of the list as it is read.
#[derive(Debug, Default)]
struct Found {
    kind: String,
    location: Option<String>,
    base: bool,
    algorithm: Option<String>,
    digest: String,
    size: String,
    timestamp: String,
}

impl Repomd {
    /// Reads a `repomd.xml`.
    pub fn parse(text: &str) -> Result<Repomd> {
        let mut reader = Reader::from_str(text);
        let (mut revision, mut newest) = (String::new(), None);
        let mut records = Vec::new();
        let mut current: Option<Found> = None;
        // The names of the elements around.
        let mut path: Vec<String> = Vec::new();
        loop {
            let event = reader.read_event().context("it is no XML")?;
            match event {
                Event::Start(element) => {
                    open(&element, &path, &mut current)?;
                    path.push(name(&element));
                }
                Event::Empty(element) => {
                    open(&element, &path, &mut current)?;
                    close(&[path.as_slice(), &[name(&element)]].concat(), &mut current, &mut records, &mut newest)?;
                }
                Event::End(_) => {
                    close(&path, &mut current, &mut records, &mut newest)?;
                    path.pop();
                }
                Event::Text(text) => {
                    let text = text.xml10_content();
                    let text = text.trim();
                    match (path.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), &mut current) {
                        (["repomd", "revision"], _) => revision.push_str(text),
                        (["repomd", "data", "checksum"], Some(found)) => found.digest.push_str(text),
                        (["repomd", "data", "size"], Some(found)) => found.size.push_str(text),
                        (["repomd", "data", "timestamp"], Some(found)) => found.timestamp.push_str(text),
                        _ => {}
                    }
                }
                Event::Eof => break,
                _ => {}
            }
            if path.len() > 16 || records.len() > MAX_RECORDS {
                bail!("it is nested too deeply or lists more than {MAX_RECORDS} files");
            }
        }
        if let Some(missing) = REQUIRED.iter().find(|kind| !records.iter().any(|r: &Record| r.kind == **kind)) {
            bail!("it lists no {missing}; is this the address of an RPM repository?");
        }
        let revision = revision.parse().ok().filter(|time: &i64| *time >= FIRST_TIME);
        let date = revision.or(newest).context("it says nowhere when it was made (revision, timestamp)")?;
        Ok(Repomd { date, records })
    }

    /// A list of only these files, for dnf, which then looks for no others.
    pub fn to_xml(&self) -> String {
        let mut text = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\n",
        );
        text.push_str(&format!("<revision>{}</revision>\n", self.date));
        for Record { kind, sha256, size, .. } in &self.records {
            let file = self.file_name(kind);
            text.push_str(&format!(
                "<data type=\"{kind}\"><checksum type=\"sha256\">{sha256}</checksum><location href=\"repodata/{file}\"/>\
                 <timestamp>{}</timestamp><size>{size}</size></data>\n",
                self.date
            ));
        }
        text.push_str("</repomd>\n");
        text
    }

    /// What a file is called beside that list: its ending is what dnf knows the compression by.
    pub fn file_name(&self, kind: &str) -> String {
        let record = self.records.iter().find(|record| record.kind == kind);
        format!("{kind}.xml{}", record.map_or("", |record| record.codec.ending()))
    }
}

fn name(element: &BytesStart<'_>) -> String {
    element.local_name().as_ref().to_owned()
}

/// At the beginning of an element.
fn open(element: &BytesStart<'_>, path: &[String], current: &mut Option<Found>) -> Result<()> {
    let mut attributes = Vec::new();
    for attribute in element.attributes() {
        let attribute = attribute.context("an attribute")?;
        let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).context("an attribute")?;
        attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    let get = |name: &str| attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    match (path.len(), path.first().map(String::as_str), name(element).as_str()) {
        (0, _, "repomd") => {}
        (0, _, other) => bail!("it is a document of type {other:?}, not repomd"),
        (1, Some("repomd"), "data") => {
            *current = Some(Found { kind: get("type").unwrap_or_default(), ..Found::default() });
        }
        (2, _, "location") => {
            if let Some(found) = current {
                found.location = get("href");
                found.base = get("xml:base").is_some();
            }
        }
        (2, _, "checksum") => {
            if let Some(found) = current {
                found.algorithm = get("type");
            }
        }
        _ => {}
    }
    Ok(())
}

/// At the end of an element.
fn close(
    path: &[String],
    current: &mut Option<Found>,
    records: &mut Vec<Record>,
    newest: &mut Option<i64>,
) -> Result<()> {
    if path.len() != 2 || path[1] != "data" {
        return Ok(());
    }
    let Some(found) = current.take() else { return Ok(()) };
    // Old releases of createrepo give fractions.
    let time = found.timestamp.split('.').next().and_then(|time| time.parse::<i64>().ok());
    *newest = (*newest).max(time.filter(|time| *time >= 0));
    if !WANTED.contains(&found.kind.as_str()) {
        return Ok(());
    }
    let kind = found.kind.clone();
    let record = record(found).with_context(|| format!("its entry of type {kind}"))?;
    if records.iter().any(|known| known.kind == kind) {
        bail!("it lists {kind} twice");
    }
    records.push(record);
    Ok(())
}

fn record(found: Found) -> Result<Record> {
    let algorithm = found.algorithm.unwrap_or_default();
    if algorithm != "sha256" {
        bail!("its checksum is of the type {algorithm:?}, and only sha256 is read");
    }
    if found.base {
        bail!("it is on another server (xml:base), which is not read");
    }
    let location = below(&found.location.context("it has no location")?)?;
    let size = found.size.parse().with_context(|| format!("its size {:?}", found.size))?;
    if size > MAX_SIZE {
        bail!("it has {size} bytes, more than the {MAX_SIZE} that it may have");
    }
    Ok(Record { kind: found.kind, codec: codec(&location)?, location, sha256: sha256(&found.digest)?, size })
}

/// The compression that a file's name says.
fn codec(location: &str) -> Result<Codec> {
    let known = Codec::ALL.into_iter().find(|codec| location.ends_with(codec.ending()));
    let ending = location.rsplit('.').next().unwrap_or_default();
    if UNREAD.contains(&ending) {
        bail!("it is compressed as .{ending}, which is not read");
    }
    Ok(known.unwrap_or(Codec::None))
}

/// A SHA-256 in hexadecimal, made lower case.
pub fn sha256(text: &str) -> Result<String> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        bail!("{text:?} is no SHA-256");
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(kind: &str, inside: &str) -> String {
        format!("<data type=\"{kind}\">{inside}</data>\n")
    }

    fn entry(kind: &str) -> String {
        data(
            kind,
            &format!(
                "<checksum type=\"sha256\">{}</checksum><open-checksum type=\"sha256\">x</open-checksum>\
                 <location href=\"repodata/{kind}.xml.gz\"/><timestamp>1700000001.5</timestamp><size>12</size>",
                "A1".repeat(32)
            ),
        )
    }

    fn document(revision: &str, inside: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>{revision}\
             </revision>{inside}</repomd>"
        )
    }

    fn whole() -> String {
        entry("primary") + &entry("filelists") + &entry("other") + &entry("primary_zck")
    }

    #[test]
    fn what_dnf_needs_is_read() {
        let repomd = Repomd::parse(&document("1700000009", &whole())).expect("it is right");
        assert_eq!(repomd.date, 1_700_000_009);
        let kinds: Vec<_> = repomd.records.iter().map(|r| r.kind.as_str()).collect();
        assert_eq!(kinds, ["primary", "filelists"]);
        let record = &repomd.records[0];
        assert_eq!((record.location.as_str(), record.size), ("repodata/primary.xml.gz", 12));
        assert_eq!(record.sha256, "a1".repeat(32));
        for revision in ["", "9.4", "1", "-1"] {
            assert_eq!(Repomd::parse(&document(revision, &whole())).expect("right").date, 1_700_000_001, "{revision}");
        }
        // dnf gets a list of what was fetched.
        let again = Repomd::parse(&repomd.to_xml()).expect("its own");
        assert_eq!((again.date, again.records.len()), (repomd.date, 2));
        assert_eq!(again.records[1].location, "repodata/filelists.xml.gz");
        for (name, expected) in [
            ("1c45-comps-BaseOS.x86_64.xml.gz", "group_gz.xml.gz"),
            ("comps.xml", "group_gz.xml"),
            ("comps", "group_gz.xml"),
            ("comps.xml.zst", "group_gz.xml.zst"),
        ] {
            let group = entry("group_gz").replace("group_gz.xml.gz", name);
            let repomd = Repomd::parse(&document("1700000009", &(whole() + &group))).expect("it is right");
            assert_eq!(repomd.file_name("group_gz"), expected);
        }
    }

    #[test]
    fn hostile_lists_are_refused() {
        let size = "<size>1</size>";
        let sum = format!("<checksum type=\"sha256\">{}</checksum>", "0".repeat(64));
        let place = "<location href=\"repodata/x.xml\"/>";
        let primary = |inside: &str| document("1700000000", &(data("primary", inside) + &entry("filelists")));
        for (text, expected) in [
            (String::new(), "lists no primary"),
            ("<html><body>Please log in</body></html>".into(), "a document of type \"html\""),
            ("<repomd><data".into(), "no XML"),
            ("<repomd></data></repomd>".into(), "no XML"),
            (document("", ""), "lists no primary"),
            (document("", &entry("primary")), "lists no filelists"),
            (document("", &(entry("primary") + &whole())), "lists primary twice"),
            (primary(&format!("{size}{place}")), "only sha256 is read"),
            (primary(&format!("{size}{place}{}", sum.replace("256\"", "512\""))), "the type \"sha512\""),
            (primary(&format!("{size}{place}{}", sum.replace("00", "zz"))), "is no SHA-256"),
            (primary(&format!("{sum}{place}")), "its size \"\""),
            (primary(&format!("{sum}{place}<size>-1</size>")), "its size \"-1\""),
            (primary(&format!("{sum}{place}<size>99999999999999999999</size>")), "its size"),
            (primary(&format!("{sum}{place}<size>536870913</size>")), "more than the 536870912"),
            (primary(&format!("{sum}{size}{}", place.replace(".xml", ".xml.bz2"))), "compressed as .bz2"),
            (primary(&format!("{sum}{size}")), "no location"),
            (primary(&format!("{sum}{size}<location href=\"../x\"/>")), "not a path below the repository"),
            (primary(&format!("{sum}{size}<location href=\"/etc/passwd\"/>")), "not a path below"),
            (primary(&format!("{sum}{size}<location href=\"http://h/x\"/>")), "not a path below"),
            (primary(&format!("{sum}{size}<location href=\"a?b\"/>")), "not a path below"),
            (primary(&format!("{sum}{size}<location href=\"\"/>")), "not a path below"),
            (primary(&format!("{sum}{size}<location xml:base=\"http://h/\" href=\"x\"/>")), "on another server"),
            ("<a>".repeat(40), "a document of type"),
            (format!("<repomd>{}", "<a>".repeat(40)), "nested too deeply"),
        ] {
            let error = format!("{:#}", Repomd::parse(&text).expect_err(expected));
            assert!(error.contains(expected), "{expected}: {error}");
        }
        // An entity is never resolved, so one in a number leaves no number.
        let bomb = document("&lol;", &whole());
        let bomb = bomb.replacen("?>", "?><!DOCTYPE repomd [<!ENTITY lol \"1700000009\">]>", 1);
        assert_eq!(Repomd::parse(&bomb).expect("without it").date, 1_700_000_001);
    }
}
