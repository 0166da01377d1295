//! What is said about a package, in its `.PKGINFO` and in the index (`apk-package(5)`, `apk-v2(5)`).

use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, bail};

use super::dependency::Dependencies;
use super::version;

/// Everything said about a package. Texts that are not given are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture, or `noarch`.
    pub arch: String,
    /// Size of the package file in bytes; only an index says it.
    pub size: u64,
    /// Size of its files in bytes.
    pub installed_size: u64,
    /// One line about it.
    pub description: String,
    /// Its home page.
    pub url: String,
    /// Its licence, an SPDX expression as a rule.
    pub license: String,
    /// Name of the source package.
    pub origin: String,
    /// Name and address of its maintainer.
    pub maintainer: String,
    /// When it was built, in seconds since 1970; 0 where it is not said.
    pub build_time: u64,
    /// The commit of the package's recipe.
    pub commit: String,
    /// What it needs and what it must not meet.
    pub depends: Dependencies,
    /// What else it goes by.
    pub provides: Dependencies,
    /// Which package goes first among those that provide a name without a version; 0: it is not chosen for that alone.
    pub provider_priority: u16,
    /// It comes by itself when all of these are there.
    pub install_if: Dependencies,
    /// Packages whose files it may replace; only the package itself says it.
    pub replaces: Dependencies,
    /// Which file stays where two packages replace each other's; only the package itself says it.
    pub replaces_priority: u16,
    /// Folders (patterns of them) whose changes run its trigger; only the package itself says it.
    pub triggers: Vec<String>,
    /// SHA-256 of the data member in hexadecimal; only the package itself says it.
    pub datahash: String,
    /// `Q1` and the SHA-1 of the control member in base64; only an index says it.
    pub checksum: String,
    /// Why it cannot be installed, where the text shows that it needs what is not known here.
    pub unusable: Option<String>,
}

impl Info {
    /// Reads a `.PKGINFO`.
    pub fn from_pkginfo(text: &str) -> Result<Info> {
        let mut info = Info::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((key, value)) = line.split_once(" = ") else { continue };
            info.set_pkginfo(key, value).with_context(|| format!("the line {key} of .PKGINFO"))?;
        }
        info.require()?;
        match info.unusable {
            Some(reason) => bail!("{}: {reason}", info.name),
            None => Ok(info),
        }
    }

    fn set_pkginfo(&mut self, key: &str, value: &str) -> Result<()> {
        let letter = match key {
            "pkgname" => 'P',
            "pkgver" => 'V',
            "pkgdesc" => 'T',
            "url" => 'U',
            "size" => 'I',
            "license" => 'L',
            "arch" => 'A',
            "depend" => 'D',
            "install_if" => 'i',
            "provides" => 'p',
            "origin" => 'o',
            "maintainer" => 'm',
            "builddate" => 't',
            "commit" => 'c',
            "provider_priority" => 'k',
            "replaces" => return self.replaces.extend(value),
            "replaces_priority" => return number(value).map(|number| self.replaces_priority = number),
            "triggers" => {
                self.triggers.extend(value.split(' ').filter(|word| !word.is_empty()).map(str::to_owned));
                return Ok(());
            }
            "datahash" => {
                self.datahash = value.to_owned();
                return Ok(());
            }
            // Keys that are only for the tools that build packages.
            _ => return Ok(()),
        };
        self.set(letter, value)
    }

    /// Reads a paragraph of an index.
    pub fn from_index(paragraph: &str) -> Result<Info> {
        let mut info = Info::default();
        for line in paragraph.lines() {
            let mut chars = line.chars();
            let (Some(letter), Some(':')) = (chars.next(), chars.next()) else {
                bail!("the line {line:?} has no field")
            };
            info.set(letter, chars.as_str()).with_context(|| format!("the field {letter}"))?;
        }
        info.require()?;
        if info.checksum.is_empty() {
            bail!("the package {} has no checksum (C)", info.name);
        }
        Ok(info)
    }

    /// Sets a field by its letter in an index and in the database of installed packages.
    fn set(&mut self, letter: char, value: &str) -> Result<()> {
        let text = || value.to_owned();
        match letter {
            'P' => self.name = text(),
            'V' => self.version = text(),
            'T' => self.description = text(),
            'U' => self.url = text(),
            'L' => self.license = text(),
            'A' => self.arch = text(),
            'C' => self.checksum = text(),
            'o' => self.origin = text(),
            'm' => self.maintainer = text(),
            'c' => self.commit = text(),
            'S' => self.size = number(value)?,
            'I' => self.installed_size = number(value)?,
            't' => self.build_time = number(value)?,
            'k' => self.provider_priority = number(value)?,
            'D' => {
                if let Err(error) = self.depends.extend(value).and_then(|()| sound(&self.depends)) {
                    self.unusable.get_or_insert_with(|| error.to_string());
                }
            }
            'p' => self.provides.extend(value)?,
            'i' => {
                self.install_if.extend(value)?;
                // A rule of which a part is not understood must not fire.
                if sound(&self.install_if).is_err() {
                    self.install_if = Dependencies::default();
                }
            }
            // Small letters say what can be passed over, capital ones what cannot.
            'a'..='z' => {}
            _ => {
                self.unusable.get_or_insert_with(|| format!("it has the field {letter}, which is not known here"));
            }
        }
        Ok(())
    }

    fn require(&self) -> Result<()> {
        if !is_package_name(&self.name) {
            bail!("{:?} is not the name of a package", self.name);
        }
        if !version::is_valid(&self.version) {
            bail!("the package {} has the version {:?}, which is none", self.name, self.version);
        }
        if let Some(odd) = self.arch.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '_') {
            bail!("the package {} has {odd:?} in its architecture", self.name);
        }
        Ok(())
    }
}

/// Whether it can be the name of a package, and with that a part of a file name.
pub fn is_package_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
}

fn sound(dependencies: &Dependencies) -> Result<()> {
    match dependencies.iter().find(|dependency| dependency.is_broken()) {
        Some(broken) => Err(anyhow!("the version of the relation '{broken}' is none")),
        None => Ok(()),
    }
}

fn number<N: FromStr>(text: &str) -> Result<N> {
    text.parse().ok().with_context(|| format!("{text:?} is not a number, or too large a one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pkginfo_is_read() {
        let text = "# made by hand\npkgname = busybox\npkgver = 1.37.0-r30\npkgdesc = a = b\narch = x86_64\n\
                    size = 1000\ndepend = so:libc.musl-x86_64.so.1\ndepend = musl>=1.2\nprovides = /bin/sh cmd:sh=1\n\
                    replaces = busybox-initscripts\nreplaces_priority = 3\ntriggers = /bin /usr/bin\n\
                    builddate = 1700000000\npackager = nobody\nprovider_priority = 100\ndatahash = 00ff\n";
        let info = Info::from_pkginfo(text).expect("it is valid");
        assert_eq!((info.name.as_str(), info.version.as_str()), ("busybox", "1.37.0-r30"));
        assert_eq!(info.description, "a = b");
        assert_eq!(info.depends.to_string(), "so:libc.musl-x86_64.so.1 musl>=1.2");
        assert_eq!(info.provides.to_string(), "/bin/sh cmd:sh=1");
        assert_eq!((info.provider_priority, info.replaces_priority), (100, 3));
        assert_eq!(info.triggers, ["/bin", "/usr/bin"]);
        assert_eq!((info.build_time, info.installed_size, info.datahash.as_str()), (1_700_000_000, 1000, "00ff"));
    }

    #[test]
    fn a_paragraph_of_an_index_is_read() {
        let text = "C:Q1abc=\nP:a\nV:1-r0\nA:noarch\nS:5\nI:6\nT:x\nD:b>=1 !c\np:d=2\ni:e=1 f\nk:7\nt:8\nc:9\nz:new";
        let info = Info::from_index(text).expect("it is valid");
        assert_eq!((info.checksum.as_str(), info.size, info.installed_size), ("Q1abc=", 5, 6));
        assert_eq!(info.depends.to_string(), "b>=1 !c");
        assert_eq!(info.install_if.to_string(), "e=1 f");
        assert_eq!((info.provider_priority, info.build_time, info.commit.as_str()), (7, 8, "9"));
        assert_eq!(info.unusable, None);
    }

    #[test]
    fn what_is_not_understood_is_not_installed() {
        let with = |line: &str| Info::from_index(&format!("C:Q1abc=\nP:a\nV:1\n{line}"));
        for line in ["D:b=x", "D:=", "X:new"] {
            assert!(with(line).expect("the index stays readable").unusable.is_some(), "{line}");
        }
        assert!(with("i:b=x c").expect("the index stays readable").install_if.iter().next().is_none());
        for line in ["P:a/b", "P:../a", "P:.a", "V:1/2", "V:", "A:../x", "S:x", "S:-1", "k:65536", "nothing", "C:"] {
            assert!(with(line).is_err(), "{line}");
        }
        assert!(Info::from_index("C:Q1abc=\nP:a").is_err(), "it has no version");
        assert!(Info::from_pkginfo("pkgname = a\npkgver = 1\ndepend = b=x\n").is_err());
    }
}
