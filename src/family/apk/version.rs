//! Package versions and their order (`apk-package(5)`, "package names and versions").
//!
//! A version is `number{.number}...{letter}{_suffix{number}}...{~hash}{-rnumber}`.

use std::cmp::Ordering;

/// The kinds of parts. Where two versions go on differently, the one with the earlier kind is the later version,
/// unless a suffix announces a pre-release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    First,
    Number,
    Letter,
    Suffix,
    SuffixNumber,
    Hash,
    Revision,
    End,
    Invalid,
}

/// The suffixes in their order.
const SUFFIXES: [&str; 10] = ["alpha", "beta", "pre", "rc", "", "cvs", "svn", "git", "hg", "p"];
/// The place of a version without any suffix among them.
const NO_SUFFIX: usize = 4;

/// A version that is read part by part.
#[derive(Debug, Clone, Copy)]
struct Parts<'a> {
    kind: Kind,
    /// The part's text without what introduces it.
    text: &'a str,
    /// Place of the suffix in [`SUFFIXES`].
    suffix: usize,
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn new(version: &'a str) -> Parts<'a> {
        let mut parts = Parts { kind: Kind::First, text: "", suffix: NO_SUFFIX, rest: version };
        parts.number(Kind::First);
        parts
    }

    /// Takes the leading characters that are of some kind.
    fn take(&mut self, which: impl Fn(u8) -> bool) {
        let end = self.rest.bytes().position(|b| !which(b)).unwrap_or(self.rest.len());
        // What is taken is ASCII, so that the border is one between characters.
        (self.text, self.rest) = self.rest.split_at(end);
    }

    fn number(&mut self, kind: Kind) {
        self.take(|b| b.is_ascii_digit());
        self.kind = if self.text.is_empty() { Kind::Invalid } else { kind };
    }

    fn next(&mut self) {
        let Some(first) = self.rest.bytes().next() else {
            self.kind = Kind::End;
            return;
        };
        let after = |kind| self.kind <= kind;
        match first {
            b'a'..=b'z' if after(Kind::Number) => {
                (self.text, self.rest) = self.rest.split_at(1);
                self.kind = Kind::Letter;
            }
            b'.' if after(Kind::Number) => {
                self.rest = &self.rest[1..];
                self.number(Kind::Number);
            }
            b'0'..=b'9' if self.kind == Kind::Suffix => self.number(Kind::SuffixNumber),
            b'_' if after(Kind::SuffixNumber) => {
                self.rest = &self.rest[1..];
                self.take(|b| b.is_ascii_lowercase());
                let known = SUFFIXES.iter().position(|suffix| *suffix == self.text);
                match known.filter(|place| *place != NO_SUFFIX) {
                    Some(place) => (self.kind, self.suffix) = (Kind::Suffix, place),
                    None => self.kind = Kind::Invalid,
                }
            }
            b'~' if after(Kind::SuffixNumber) => {
                self.rest = &self.rest[1..];
                self.take(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                self.kind = if self.text.is_empty() { Kind::Invalid } else { Kind::Hash };
            }
            b'-' if after(Kind::Hash) && self.rest.starts_with("-r") => {
                self.rest = &self.rest[2..];
                self.number(Kind::Revision);
            }
            _ => self.kind = Kind::Invalid,
        }
    }

    fn is_prerelease(&self) -> bool {
        self.kind == Kind::Suffix && self.suffix < NO_SUFFIX
    }

    /// The order of two parts of the same kind.
    fn compare(&self, other: &Parts<'_>) -> Ordering {
        match self.kind {
            // A fraction: 1.05 is before 1.5.
            Kind::Number if self.text.starts_with('0') || other.text.starts_with('0') => self.text.cmp(other.text),
            Kind::First | Kind::Number | Kind::SuffixNumber | Kind::Revision => compare_numbers(self.text, other.text),
            Kind::Suffix => self.suffix.cmp(&other.suffix),
            Kind::Letter | Kind::Hash | Kind::End | Kind::Invalid => self.text.cmp(other.text),
        }
    }
}

/// Compares numbers of any length by value.
fn compare_numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Whether apk takes it for a version.
pub fn is_valid(version: &str) -> bool {
    let mut parts = Parts::new(version);
    while parts.kind < Kind::End {
        parts.next();
    }
    parts.kind == Kind::End
}

/// Compares two versions as apk does. Every string has a place in the order, also those that are not valid.
pub fn compare(a: &str, b: &str) -> Ordering {
    walk(a, b, false)
}

/// The same, but a version is equal to every one that it is the beginning of, part by part: `1.2.3-r4` to `1.2`.
pub fn compare_prefix(version: &str, prefix: &str) -> Ordering {
    walk(version, prefix, true)
}

fn walk(a: &str, b: &str, prefix: bool) -> Ordering {
    let (mut a, mut b) = (Parts::new(a), Parts::new(b));
    while a.kind == b.kind && a.kind < Kind::End {
        let order = a.compare(&b);
        if order.is_ne() {
            return order;
        }
        a.next();
        b.next();
    }
    if a.kind == b.kind || (prefix && b.kind == Kind::End) {
        return Ordering::Equal;
    }
    match (a.is_prerelease(), b.is_prerelease()) {
        (true, _) => Ordering::Less,
        (_, true) => Ordering::Greater,
        _ => b.kind.cmp(&a.kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From low to high; versions on one line are equal.
    const ORDER: &[&[&str]] = &[
        &["0"],
        &["0.1_alpha"],
        &["0.1_alpha1"],
        &["0.1_alpha2-r1"],
        &["0.1_beta"],
        &["0.1_pre1"],
        &["0.1_rc2"],
        &["0.1_rc10"],
        &["0.1"],
        &["0.1-r0"],
        &["0.1-r1"],
        &["0.1-r10"],
        &["0.1_cvs1"],
        &["0.1_svn1"],
        &["0.1_git20200101"],
        &["0.1_git20200101_p1"],
        &["0.1_hg1"],
        &["0.1_p1_alpha2"],
        &["0.1_p1"],
        &["0.1_p1~0abc"],
        &["0.1_p1~abc"],
        &["0.1_p2"],
        &["0.1a"],
        &["0.1b"],
        &["0.1b-r1"],
        &["0.1.0"],
        &["1", "01"],
        &["1.0"],
        &["1.05"],
        &["1.050"],
        &["1.06"],
        &["1.1"],
        &["1.5"],
        &["1.10"],
        &["2_alpha"],
        &["2"],
        &["10"],
        &["20240101"],
        &["184467440737095516150"],
        &["184467440737095516151"],
    ];

    #[test]
    fn the_whole_table_is_ordered() {
        let flat: Vec<(usize, &str)> =
            ORDER.iter().enumerate().flat_map(|(rank, same)| same.iter().map(move |v| (rank, *v))).collect();
        for (rank_a, a) in &flat {
            assert!(is_valid(a), "{a}");
            for (rank_b, b) in &flat {
                assert_eq!(compare(a, b), rank_a.cmp(rank_b), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn a_prefix_is_equal_to_what_it_begins() {
        for (version, prefix, order) in [
            ("1.2.3-r4", "1.2", Ordering::Equal),
            ("1.2.3-r4", "1.2.3", Ordering::Equal),
            ("1.2.3-r4", "1.2.3-r4", Ordering::Equal),
            ("1.2_rc1", "1.2", Ordering::Equal),
            ("1.20", "1.2", Ordering::Greater),
            ("1.1", "1.2", Ordering::Less),
            ("1", "1.2", Ordering::Less),
            ("1.2.3-r4", "1.2.3-r40", Ordering::Less),
        ] {
            assert_eq!(compare_prefix(version, prefix), order, "{version} {prefix}");
        }
    }

    #[test]
    fn valid_and_not() {
        for good in ["1", "0-r0", "1.2.3a_rc1_p2~ff00-r12", "20240101", "1_git", "1~0"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "", "a", ".1", "1.", "1..2", "1aa", "1a1", "1a.1", "1_", "1_foo", "1_rcx", "1~", "1~g", "1~f_p1", "1-r",
            "1-1", "1-r1-r2", "1-r1a", "1 ", "1/../2", "ä", "1A", "-r0",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn hostile_strings_have_an_order_too() {
        for (a, b) in [("1ä", "1ö"), ("1-", "1"), ("", "-r1"), ("1_", "1_x"), ("٣", "3"), ("1\u{0}", "1")] {
            assert_eq!(compare(a, b), compare(b, a).reverse(), "{a:?} {b:?}");
            assert_eq!(compare(a, a), Ordering::Equal);
        }
    }
}
