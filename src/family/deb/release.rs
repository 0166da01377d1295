//! `Release` files: what a suite holds, with hashes (Debian wiki `DebianRepository/Format`).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use super::control::Paragraph;

/// What apt gives an archive of which nothing is said.
const PRIORITY: i16 = 500;
/// What apt gives an archive like backports, that is used for upgrades of what came from it.
const PRIORITY_UPGRADES: i16 = 100;
/// What apt gives an archive like experimental.
const PRIORITY_NOT_AUTOMATIC: i16 = 1;

/// A file named in a `Release`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

/// The parts of a `Release` that matter for reading indexes.
#[derive(Debug, Clone, Default)]
pub struct Release {
    /// `Suite`: `stable`, `stable-security`.
    pub suite: Option<String>,
    /// `Codename`: `trixie`, `trixie-security`.
    pub codename: Option<String>,
    /// `Date`, in seconds since 1970.
    pub date: Option<i64>,
    /// `Valid-Until`, in seconds since 1970.
    pub valid_until: Option<i64>,
    /// `Acquire-By-Hash`: files are also there under their hash.
    pub by_hash: bool,
    /// `Components`.
    pub components: Vec<String>,
    /// `Architectures`.
    pub architectures: Vec<String>,
    /// `No-Support-for-Architecture-all: Packages`: packages for every architecture stand in each one's index.
    pub all_in_each: bool,
    /// Versions of other repositories go before its own, whatever their number: 500 for most, less with
    /// `NotAutomatic`, as in `apt_preferences(5)`.
    pub priority: i16,
    /// The `SHA256` section: path below the `Release` to hash and size.
    pub files: BTreeMap<String, Listed>,
}

impl Release {
    /// Reads a `Release`. Other hashes than SHA-256 are not looked at: they are too weak or not there.
    pub fn parse(text: &str) -> Result<Release> {
        let fields = Paragraph::parse(text)?;
        let word = |name: &str| fields.get(name).filter(|v| !v.is_empty()).map(str::to_owned);
        let yes = |name: &str| fields.get(name).is_some_and(|v| v.eq_ignore_ascii_case("yes"));
        let words = |name: &str| -> Vec<String> {
            fields.get(name).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
        };
        let date = |name: &str| fields.get(name).map(|v| time(v).with_context(|| format!("the field {name}")));
        Ok(Release {
            suite: word("Suite"),
            codename: word("Codename"),
            date: date("Date").transpose()?,
            valid_until: date("Valid-Until").transpose()?,
            by_hash: yes("Acquire-By-Hash"),
            components: words("Components"),
            architectures: words("Architectures"),
            all_in_each: words("No-Support-for-Architecture-all").iter().any(|w| w == "Packages"),
            priority: match (yes("NotAutomatic"), yes("ButAutomaticUpgrades")) {
                (false, _) => PRIORITY,
                (true, true) => PRIORITY_UPGRADES,
                (true, false) => PRIORITY_NOT_AUTOMATIC,
            },
            files: files(fields.get("SHA256").unwrap_or_default())?,
        })
    }

    /// Whether it names this component. Security archives name theirs `updates/main` and are asked for `main`.
    pub fn has_component(&self, wanted: &str) -> bool {
        self.component_names().any(|c| c == wanted)
    }

    /// The components as they are asked for.
    pub fn component_names(&self) -> impl Iterator<Item = &str> {
        self.components.iter().map(|c| c.rsplit('/').next().unwrap_or(c))
    }
}

/// Reads the `SHA256` section: lines of hash, size and path.
fn files(section: &str) -> Result<BTreeMap<String, Listed>> {
    let mut files = BTreeMap::new();
    for line in section.lines().filter(|line| !line.trim().is_empty()) {
        let parts: Vec<&str> = line.split_ascii_whitespace().collect();
        let [hash, size, path] = parts[..] else { bail!("the SHA256 section: '{line}' is not 'hash size path'") };
        let size = size.parse().with_context(|| format!("the SHA256 section: the size '{size}' of {path}"))?;
        let sha256 = sha256(hash).with_context(|| format!("the SHA256 section: the hash of {path}"))?;
        files.insert(path.to_owned(), Listed { sha256, size });
    }
    Ok(files)
}

/// A SHA-256 in lower case, if it is one.
pub fn sha256(hash: &str) -> Result<String> {
    if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        bail!("'{hash}' is not a SHA-256");
    }
    Ok(hash.to_ascii_lowercase())
}

/// A date as in `Date: Sat, 12 Sep 2026 07:55:41 UTC`, in seconds since 1970. RFC 2822 has no zone of that name, and
/// the format allows no other, but `+0000` and `GMT` are met too.
fn time(text: &str) -> Result<i64> {
    let rfc = match text.strip_suffix("UTC").or_else(|| text.strip_suffix('Z')) {
        Some(start) => format!("{start}+0000"),
        None => text.to_owned(),
    };
    // Hand-made repositories get the day of the week wrong; nothing depends on it.
    let time = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(rfc.trim());
    Ok(time.with_context(|| format!("'{text}' is not a date"))?.as_second())
}

/// Seconds since 1970 as people and `Release` files write them.
pub fn show_time(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| format!("{seconds} s"), |time| time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_release_of_a_suite() {
        let text = format!(
            "Origin: Debian\nSuite: stable-security\nCodename: trixie-security\n\
             Date: Fri, 20 Nov 2026 00:12:42 UTC\nValid-Until: Fri, 27 Nov 2026 00:12:42 UTC\n\
             Acquire-By-Hash: yes\nNo-Support-for-Architecture-all: Packages\nArchitectures: all amd64\n\
             Components: updates/main contrib\nMD5Sum:\n 00 0 x\nSHA256:\n {} 12 main/binary-amd64/Packages.xz\n",
            HASH.to_uppercase()
        );
        let release = Release::parse(&text).expect("it is valid");
        assert_eq!(release.codename.as_deref(), Some("trixie-security"));
        assert_eq!(release.suite.as_deref(), Some("stable-security"));
        assert_eq!(release.date, Some(1_795_133_562));
        assert_eq!(release.valid_until, Some(1_795_133_562 + 7 * 86_400));
        assert!(release.by_hash && release.all_in_each);
        assert_eq!(release.architectures, ["all", "amd64"]);
        assert!(release.has_component("main") && release.has_component("contrib"));
        assert!(!release.has_component("updates") && !release.has_component("non-free"));
        let listed = &release.files["main/binary-amd64/Packages.xz"];
        assert_eq!((listed.sha256.as_str(), listed.size), (HASH, 12));
    }

    #[test]
    fn backports_stand_back() {
        for (text, priority) in [
            ("Suite: x\n", 500),
            ("NotAutomatic: yes\n", 1),
            ("NotAutomatic: yes\nButAutomaticUpgrades: yes\n", 100),
            ("NotAutomatic: no\nButAutomaticUpgrades: yes\n", 500),
        ] {
            assert_eq!(Release::parse(text).expect(text).priority, priority, "{text}");
        }
    }

    #[test]
    fn a_bare_release() {
        let release = Release::parse("Origin: corp\n").expect("it is valid");
        assert!(release.date.is_none() && release.files.is_empty() && !release.by_hash);
    }

    #[test]
    fn dates() {
        for text in [
            "Thu, 01 Jan 2026 00:00:00 UTC",
            "Thu, 1 Jan 2026 00:00:00 +0000",
            "Thu, 01 Jan 2026 00:00:00 GMT",
            "Mon, 01 Jan 2026 00:00:00 UTC",
            "Thu, 01 Jan 2026 00:00:00 Z",
        ] {
            assert_eq!(time(text).expect(text), 1_767_225_600, "{text}");
        }
        assert_eq!(show_time(1_767_225_600), "Thu, 01 Jan 2026 00:00:00 UTC");
        for text in ["", "yesterday", "2026-01-01", "Thu, 32 Jan 2026 00:00:00 UTC"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bad_ones() {
        for (text, part) in [
            ("", "no fields"),
            ("Date: never\n", "Date"),
            ("Valid-Until: \n", "Valid-Until"),
            ("SHA256:\n abc 12 x\n", "hash of x"),
            (&format!("SHA256:\n {HASH} -1 x\n"), "size '-1'"),
            (&format!("SHA256:\n {HASH} x\n"), "SHA256 section"),
            ("<html>\n", "line 1"),
        ] {
            let error = Release::parse(text).map(|_| ()).expect_err(text);
            assert!(format!("{error:#}").contains(part), "{text:?} gave {error:#}");
        }
    }
}
