//! Versions: epoch, version and release, and their order, as rpm's manual ("Dependencies basics") and
//! `rpmio/rpmvercmp.c` have it.

use std::cmp::Ordering;
use std::fmt;

/// Epoch, version and release. Written `epoch:version-release`, without the epoch where it is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evr<'a> {
    /// Epoch; none is 0.
    pub epoch: u64,
    /// Version.
    pub version: &'a str,
    /// Release.
    pub release: &'a str,
}

impl fmt::Display for Evr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != 0 {
            write!(f, "{}:", self.epoch)?;
        }
        write!(f, "{}-{}", self.version, self.release)
    }
}

impl<'a> Evr<'a> {
    /// Takes a version apart. What has no release has an empty one.
    pub fn parse(text: &'a str) -> Evr<'a> {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => (epoch.parse().unwrap_or(0), rest),
            _ => (0, text),
        };
        let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Evr { epoch, version, release }
    }
}

/// The order of two versions, each as [`Evr`] writes it.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Evr::parse(a), Evr::parse(b));
    a.epoch
        .cmp(&b.epoch)
        .then_with(|| compare_parts(a.version, b.version))
        .then_with(|| compare_parts(a.release, b.release))
}

/// The order of two versions or two releases: runs of digits and of letters are compared one after the other, what
/// stands between them only separates; `~` comes before everything, even the end, and `^` after the end alone.
fn compare_parts(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    if a == b {
        return Ordering::Equal;
    }
    loop {
        a = skip(a);
        b = skip(b);
        match (a.first(), b.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                a = &a[1..];
                b = &b[1..];
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (Some(b'^'), None) => return Ordering::Greater,
            (None, Some(b'^')) => return Ordering::Less,
            (Some(b'^'), Some(_)) => return Ordering::Less,
            (Some(_), Some(b'^')) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => {
                let (numeric, other) = (x.is_ascii_digit(), y.is_ascii_digit());
                if numeric != other {
                    // Numbers are newer than letters.
                    return if numeric { Ordering::Greater } else { Ordering::Less };
                }
                let run = |text: &[u8]| {
                    let is_in = |byte: &u8| if numeric { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
                    text.iter().position(|byte| !is_in(byte)).unwrap_or(text.len())
                };
                let ((left, rest_a), (right, rest_b)) = (a.split_at(run(a)), b.split_at(run(b)));
                let order = if numeric {
                    let (left, right) = (trim(left), trim(right));
                    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
                } else {
                    left.cmp(right)
                };
                if order.is_ne() {
                    return order;
                }
                a = rest_a;
                b = rest_b;
            }
        }
    }
}

/// What is left after separators.
fn skip(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'^'));
    &text[start.unwrap_or(text.len())..]
}

/// A number without leading zeros.
fn trim(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_order_of_rpm() {
        // Most of these are cases of rpm's own test-suite, tests/rpmvercmp.at.
        for (a, b, expected) in [
            ("1.0", "1.0", Ordering::Equal),
            ("1.0", "2.0", Ordering::Less),
            ("2.0.1", "2.0", Ordering::Greater),
            ("2.0.1a", "2.0.1", Ordering::Greater),
            ("5.5p1", "5.5p2", Ordering::Less),
            ("5.5p10", "5.5p1", Ordering::Greater),
            ("10xyz", "10.1xyz", Ordering::Less),
            ("xyz10", "xyz10.1", Ordering::Less),
            ("xyz.4", "8", Ordering::Less),
            ("5.6.0", "6.5.0", Ordering::Less),
            ("6.0.rc1", "6.0", Ordering::Greater),
            ("10b2", "10a1", Ordering::Greater),
            ("1.0aa", "1.0a", Ordering::Greater),
            ("10.0001", "10.1", Ordering::Equal),
            ("10.0039", "10.0001", Ordering::Greater),
            ("20101121", "20101122", Ordering::Less),
            ("2_0", "2.0", Ordering::Equal),
            ("a+", "a_", Ordering::Equal),
            ("+", "_", Ordering::Equal),
            ("1.0~rc1", "1.0", Ordering::Less),
            ("1.0~rc1~git123", "1.0~rc1", Ordering::Less),
            ("1.0^", "1.0", Ordering::Greater),
            ("1.0^git1", "1.0^git2", Ordering::Less),
            ("1.0^git1", "1.01", Ordering::Less),
            ("1.0^20160101^git1", "1.0^20160102", Ordering::Less),
            ("1.0~rc1^git1", "1.0~rc1", Ordering::Greater),
            ("1.0^git1~pre", "1.0^git1", Ordering::Less),
            ("99999999999999999999999", "100000000000000000000000", Ordering::Less),
        ] {
            assert_eq!(compare_parts(a, b), expected, "{a} and {b}");
            assert_eq!(compare_parts(b, a), expected.reverse(), "{b} and {a}");
        }
        for (a, b, expected) in [
            ("1:1.0-1", "2.0-1", Ordering::Greater),
            ("0:1.0-1", "1.0-1", Ordering::Equal),
            ("1.0-1.fc40", "1.0-2.fc40", Ordering::Less),
            ("1.0-1", "1.0.1-0", Ordering::Less),
        ] {
            assert_eq!(compare(a, b), expected, "{a} and {b}");
        }
    }

    #[test]
    fn versions_are_written_as_they_are_read() {
        for text in ["1.0-1", "2:3.4-5.el9", "1.0-"] {
            assert_eq!(Evr::parse(text).to_string(), text);
        }
        assert_eq!(Evr::parse("a:1-2"), Evr { epoch: 0, version: "a:1", release: "2" });
    }
}
