//! Relations between packages: `Depends`, `Conflicts`, `Provides` and their kin (`deb-control(5)`, policy 7.1).

use std::cmp::Ordering;
use std::fmt;

use anyhow::{Context as _, Result, bail};

use super::version;

/// How a version must stand to the one in the relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`, and the obsolete `<`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`, and the obsolete `>`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    /// Whether `version` stands so to `wanted`.
    pub fn holds(self, version: &str, wanted: &str) -> bool {
        let order = version::compare(version, wanted);
        match self {
            Operator::Earlier => order == Ordering::Less,
            Operator::EarlierOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::LaterOrEqual => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Operator::Earlier => "<<",
            Operator::EarlierOrEqual => "<=",
            Operator::Equal => "=",
            Operator::LaterOrEqual => ">=",
            Operator::Later => ">>",
        }
    }
}

/// One package in a relation: `name:qualifier (>= version)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Name of a package, real or virtual.
    pub name: &'a str,
    /// `any`, `native` or an architecture.
    pub qualifier: Option<&'a str>,
    /// The wanted version.
    pub version: Option<(Operator, &'a str)>,
}

impl<'a> Relation<'a> {
    /// Reads one relation without alternatives. Architecture lists and build profiles have no place in binary packages.
    pub fn parse(text: &'a str) -> Result<Relation<'a>> {
        let text = text.trim();
        let wrong = || format!("'{text}' is not a relation like 'name (>= version)'");
        let end = text.find(|c: char| c.is_ascii_whitespace() || c == '(').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let (name, qualifier) = match name.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (name, None),
        };
        if !is_package_name(name) || qualifier.is_some_and(|q| !is_word(q)) {
            bail!(wrong());
        }
        let rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(Relation { name, qualifier, version: None });
        }
        let inner = rest.strip_prefix('(').and_then(|r| r.strip_suffix(')')).with_context(wrong)?.trim();
        let (operator, version) = operator(inner);
        let version = version.trim();
        if version.is_empty() || !version.bytes().all(|b| b.is_ascii_graphic() && !b"()|,<>=".contains(&b)) {
            bail!(wrong());
        }
        Ok(Relation { name, qualifier, version: Some((operator, version)) })
    }

    /// Whether a package of this version is in the wanted range. `None` is a package that provides the name without
    /// a version, which no range is met by (policy 7.5).
    pub fn version_matches(&self, version: Option<&str>) -> bool {
        match (self.version, version) {
            (None, _) => true,
            (Some((operator, wanted)), Some(version)) => operator.holds(version, wanted),
            (Some(_), None) => false,
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        if let Some((operator, version)) = self.version {
            write!(f, " ({} {version})", operator.as_str())?;
        }
        Ok(())
    }
}

/// The parts of a field between commas, without empty ones: `Depends: a, b | c,` has two.
pub fn groups(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// The alternatives of one group: `b | c`.
pub fn alternatives(group: &str) -> Result<Vec<Relation<'_>>> {
    group.split('|').map(Relation::parse).collect()
}

/// A name as policy 5.6.1 has it, made wider by what exists: capital letters and `_` in third-party repositories.
pub fn is_package_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The operator a version restriction begins with. dpkg reads the obsolete `<` and `>` as `<=` and `>=`, and none as `=`.
fn operator(text: &str) -> (Operator, &str) {
    for (prefix, operator) in [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("=", Operator::Equal),
        ("<", Operator::EarlierOrEqual),
        (">", Operator::LaterOrEqual),
    ] {
        if let Some(rest) = text.strip_prefix(prefix) {
            return (operator, rest);
        }
    }
    (Operator::Equal, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ones() {
        for (text, shown) in [
            ("libc6", "libc6"),
            (" libc6 ( >= 2.36 ) ", "libc6 (>= 2.36)"),
            ("libc6(>=2.36)", "libc6 (>= 2.36)"),
            ("python3:any (<< 3.14)", "python3:any (<< 3.14)"),
            ("g++\n (>> 1)", "g++ (>> 1)"),
            ("a (< 1)", "a (<= 1)"),
            ("a (> 1)", "a (>= 1)"),
            ("a (1)", "a (= 1)"),
            ("a:native", "a:native"),
            ("A_b.c (= 1:2-3~)", "A_b.c (= 1:2-3~)"),
        ] {
            assert_eq!(Relation::parse(text).expect(text).to_string(), shown);
        }
    }

    #[test]
    fn bad_ones() {
        for text in [
            "",
            "-a",
            "a b",
            "a (>= 1",
            "a >= 1)",
            "a ()",
            "a (>=)",
            "a (>= 1 2)",
            "a (<> 1)",
            "a:",
            "a:any:any",
            "a [amd64]",
            "a <!nocheck>",
            "a (>= 1) [amd64]",
            "../a",
            "ä",
        ] {
            assert!(Relation::parse(text).is_err(), "{text:?}");
        }
        assert!(alternatives("a | | b").is_err());
    }

    #[test]
    fn groups_and_alternatives() {
        assert_eq!(groups("a, b | c (>= 1),\n d,").collect::<Vec<_>>(), ["a", "b | c (>= 1)", "d"]);
        let names: Vec<_> = alternatives("b | c (>= 1)").expect("it is valid").iter().map(|r| r.name).collect();
        assert_eq!(names, ["b", "c"]);
    }

    #[test]
    fn versions_match() {
        for (text, version, matches) in [
            ("a", Some("1"), true),
            ("a", None, true),
            ("a (>= 2)", None, false),
            ("a (>= 2)", Some("2"), true),
            ("a (>> 2)", Some("2"), false),
            ("a (<< 2)", Some("2~"), true),
            ("a (<= 2)", Some("2-1"), false),
            ("a (= 2)", Some("2-0"), true),
        ] {
            assert_eq!(Relation::parse(text).expect(text).version_matches(version), matches, "{text} {version:?}");
        }
    }
}
