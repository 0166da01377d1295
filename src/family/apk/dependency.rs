//! Relations between packages: `depends`, `provides`, `install_if`, `replaces` and the lines of `world`
//! (`apk-package(5)`, `apk-world(5)`).

use std::cmp::Ordering;
use std::fmt;

use anyhow::{Result, bail};

use super::version;

/// How a version must stand to the one in the relation: a set of outcomes of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Comparison {
    equal: bool,
    less: bool,
    greater: bool,
    /// Only the beginning of a version counts for being equal.
    prefix: bool,
}

impl Comparison {
    /// Every version will do.
    pub const ANY: Comparison = Comparison { equal: true, less: true, greater: true, prefix: false };
    /// `><`: what follows is no version but the checksum of a package.
    pub const CHECKSUM: Comparison = Comparison { equal: false, less: true, greater: true, prefix: false };

    fn parse(text: &str) -> Comparison {
        let has = |sign| text.contains(sign);
        Comparison { equal: has('=') || has('~'), less: has('<'), greater: has('>'), prefix: has('~') }
    }

    fn as_str(self) -> &'static str {
        match (self.less, self.greater, self.equal, self.prefix) {
            (true, true, true, _) => "",
            (true, true, false, _) => "><",
            (true, false, true, true) => "<~",
            (false, true, true, true) => ">~",
            (true, false, true, false) => "<=",
            (false, true, true, false) => ">=",
            (true, false, false, _) => "<",
            (false, true, false, _) => ">",
            (false, false, _, true) => "~",
            (false, false, _, false) => "=",
        }
    }

    /// Whether `version` stands so to `wanted`. A version that is not given (empty) is earlier than every other one.
    pub fn holds(self, version: &str, wanted: &str) -> bool {
        if self == Comparison::ANY {
            return true;
        }
        let order = if self.prefix { version::compare_prefix } else { version::compare };
        match order(version, wanted) {
            Ordering::Less => self.less,
            Ordering::Equal => self.equal,
            Ordering::Greater => self.greater,
        }
    }
}

/// One relation: `[!]name[@tag][comparison version]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dependency<'a> {
    /// It must not be there.
    pub conflict: bool,
    /// Name of a package, or of what packages provide.
    pub name: &'a str,
    /// A tag of repositories; only in `world`.
    pub tag: Option<&'a str>,
    /// How a version must stand to `version`.
    pub comparison: Comparison,
    /// A version, or the checksum of a package; empty where there is none.
    pub version: &'a str,
}

const SIGNS: [char; 4] = ['<', '>', '=', '~'];

impl<'a> Dependency<'a> {
    /// Reads one relation of a package. That its version is none is not looked at, see [`Dependency::is_broken`].
    pub fn parse(text: &'a str) -> Result<Dependency<'a>> {
        let dependency = Dependency::parse_tagged(text)?;
        if dependency.tag.is_some() {
            bail!("the relation {text:?} has a tag, and only what is asked for may have one");
        }
        Ok(dependency)
    }

    /// Reads one line of `world`, which may have a tag.
    pub fn parse_tagged(text: &'a str) -> Result<Dependency<'a>> {
        let (conflict, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let (name, comparison, version) = match rest.find(SIGNS) {
            None => (rest, Comparison::ANY, ""),
            Some(at) => {
                let (name, rest) = rest.split_at(at);
                let version = rest.trim_start_matches(SIGNS);
                (name, Comparison::parse(&rest[..rest.len() - version.len()]), version)
            }
        };
        let (name, tag) = name.split_once('@').map_or((name, None), |(name, tag)| (name, Some(tag)));
        let has_version = comparison != Comparison::ANY || rest.contains(SIGNS);
        if name.is_empty() || tag == Some("") || (has_version && version.is_empty()) {
            bail!("{text:?} is not a relation between packages; one is written as name, name>=version or !name");
        }
        if let Some(odd) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
            bail!("the relation {text:?} has the character {odd:?} in it");
        }
        Ok(Dependency { conflict, name, tag, comparison, version })
    }

    /// Whether a package provides what is asked for by having this name (its own or a provided one) in this version
    /// (empty: none). A conflict is met by what it does not mean.
    pub fn is_met_by(&self, version: &str, checksum: &str) -> bool {
        let means = if self.comparison == Comparison::CHECKSUM {
            self.version == checksum
        } else {
            self.comparison.holds(version, self.version)
        };
        means != self.conflict
    }

    /// Whether it has a version that is none.
    pub fn is_broken(&self) -> bool {
        !self.version.is_empty() && self.comparison != Comparison::CHECKSUM && !version::is_valid(self.version)
    }
}

impl fmt::Display for Dependency<'_> {
    /// As apk writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.conflict { "!" } else { "" })?;
        f.write_str(self.name)?;
        if let Some(tag) = self.tag {
            write!(f, "@{tag}")?;
        }
        if !self.version.is_empty() {
            write!(f, "{}{}", self.comparison.as_str(), self.version)?;
        }
        Ok(())
    }
}

/// A list of relations, separated by spaces; each is known to be well-formed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependencies(String);

impl Dependencies {
    /// Adds the relations of another list.
    pub fn extend(&mut self, text: &str) -> Result<()> {
        for word in words(text) {
            Dependency::parse(word)?;
            if !self.0.is_empty() {
                self.0.push(' ');
            }
            self.0.push_str(word);
        }
        Ok(())
    }

    /// The relations, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Dependency<'_>> {
        words(&self.0).filter_map(|word| Dependency::parse(word).ok())
    }
}

impl fmt::Display for Dependencies {
    /// As apk writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, dependency) in self.iter().enumerate() {
            write!(f, "{}{dependency}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\n']).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_as_apk_does() {
        for (text, written) in [
            ("busybox", "busybox"),
            ("!busybox", "!busybox"),
            ("so:libc.musl-x86_64.so.1", "so:libc.musl-x86_64.so.1"),
            ("so:libz.so.1=1.3.1", "so:libz.so.1=1.3.1"),
            ("/bin/sh", "/bin/sh"),
            ("a>=1.0", "a>=1.0"),
            ("a=>1.0", "a>=1.0"),
            ("a<1", "a<1"),
            ("a>1", "a>1"),
            ("a<=1", "a<=1"),
            ("a~1", "a~1"),
            ("a~=1", "a~1"),
            ("a=~1", "a~1"),
            ("a>~1", "a>~1"),
            ("a<~1", "a<~1"),
            ("!a~1.2-r0", "!a~1.2-r0"),
            ("a><Q1abc=", "a><Q1abc="),
        ] {
            assert_eq!(Dependency::parse(text).expect(text).to_string(), written);
        }
        let tagged = Dependency::parse_tagged("nginx@edge>1").expect("it may have a tag");
        assert_eq!((tagged.name, tagged.tag, tagged.version), ("nginx", Some("edge"), "1"));
        assert_eq!(tagged.to_string(), "nginx@edge>1");
        let mut list = Dependencies::default();
        list.extend("a  b>=1\nc~=2").expect("it is a list");
        assert_eq!(list.to_string(), "a b>=1 c~2");
        assert_eq!(list.iter().count(), 3);
    }

    #[test]
    fn what_is_no_relation() {
        for bad in ["", "!", "=1", "a=", "a>=", "!=1", "a@edge", "a\tb", "a\u{0}"] {
            assert!(Dependency::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["@edge", "a@", "a@=1", "a b"] {
            assert!(Dependency::parse_tagged(bad).is_err(), "{bad:?}");
        }
        assert!(Dependency::parse("a=x").expect("it has the form").is_broken());
        assert!(!Dependency::parse("a><Q1x").expect("it has the form").is_broken());
    }

    #[test]
    fn what_meets_a_relation() {
        for (text, version, met) in [
            ("a", "1", true),
            ("a", "", true),
            ("a=1.0", "1.0", true),
            ("a=1.0", "1.0-r0", false),
            ("a~1.0", "1.0-r0", true),
            ("a~1.0", "1.0.3-r0", true),
            ("a~1.0", "1.1", false),
            ("a>1.0", "1.0-r1", true),
            ("a>~1.0", "1.0_rc1", true),
            ("a<~1.0", "1.1", false),
            ("a>=1.0", "1.0_rc1", false),
            ("a<1.0", "1.0_rc1", true),
            ("a>=1.0", "", false),
            ("a<1.0", "", true),
            ("!a~1.0", "", true),
            ("!a", "1", false),
            ("!a>2", "1", true),
            ("!a>2", "3", false),
            ("a><Q1x", "1", true),
            ("a><Q1y", "1", false),
        ] {
            assert_eq!(Dependency::parse(text).expect(text).is_met_by(version, "Q1x"), met, "{text} {version}");
        }
    }
}
