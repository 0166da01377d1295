//! User names and passwords of servers from a netrc file, as curl(1) reads it: the file that `NETRC` names, else
//! `~/.netrc`. It is read when the first request needs it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, bail};

use super::url::basic_plain;

/// Bytes of the file at most.
const LIMIT: u64 = 1 << 20;

/// The file and, once it was read, what is in it.
pub(super) struct Netrc {
    path: Option<PathBuf>,
    /// It was named, so it must be there.
    named: bool,
    entries: OnceLock<Result<Vec<Entry>, String>>,
}

/// What to tell one server, or with no host every other one.
#[derive(PartialEq, Eq, Clone, Default)]
struct Entry {
    host: Option<String>,
    user: String,
    password: String,
}

impl fmt::Debug for Netrc {
    /// Without the entries, which hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netrc").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Netrc {
    /// Finds out which file it is. `env` gives the value of a variable.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Netrc {
        let value = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let named = value("NETRC");
        Netrc {
            named: named.is_some(),
            path: named.or_else(|| Some(value("HOME")?.join(".netrc"))),
            entries: OnceLock::new(),
        }
    }

    /// The value of the `Authorization` header for a host, if the file has one.
    pub fn authorization(&self, host: &str) -> Result<Option<String>> {
        let Some(path) = &self.path else { return Ok(None) };
        let entries = self.entries.get_or_init(|| {
            let result = self.read(path).with_context(|| format!("reading the user names in {}", path.display()));
            result.map_err(|error| format!("{error:#}"))
        });
        let entries = entries.as_ref().map_err(|error| anyhow!(error.clone()))?;
        let host = host.trim_matches(['[', ']']);
        let entry = entries.iter().find(|e| e.host.as_ref().is_none_or(|known| known.eq_ignore_ascii_case(host)));
        Ok(entry.map(|e| basic_plain(e.user.as_bytes(), e.password.as_bytes())))
    }

    fn read(&self, path: &Path) -> Result<Vec<Entry>> {
        let mut text = String::new();
        let file = match File::open(path) {
            // A home folder that is not to be looked into has no such file either.
            Err(e) if !self.named && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                return Ok(Vec::new());
            }
            file => file?,
        };
        file.take(LIMIT + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LIMIT {
            bail!("it is longer than {LIMIT} bytes");
        }
        parse(&text)
    }
}

/// Reads the entries. Errors name the line and nothing of what is on it.
fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut lines = (1..).zip(text.lines());
    // The word whose value comes next, perhaps on the next line.
    let mut open: Option<String> = None;
    while let Some((number, line)) = lines.next() {
        if line.trim_start().starts_with('#') && open.is_none() {
            continue;
        }
        for word in words(line).with_context(|| format!("line {number}"))? {
            let Some(key) = open.take() else {
                match word.as_str() {
                    "default" => entries.push(Entry::default()),
                    "machine" | "login" | "user" | "password" | "passwd" | "account" | "macdef" => open = Some(word),
                    _ => bail!("line {number}: it is not made of machine, default, login and password"),
                }
                continue;
            };
            match (key.as_str(), entries.last_mut()) {
                ("machine", _) => entries.push(Entry { host: Some(word), ..Entry::default() }),
                ("macdef", _) => {
                    // A macro of ftp goes to the next empty line.
                    lines.by_ref().find(|(_, line)| line.trim().is_empty());
                    break;
                }
                (_, None) => bail!("line {number}: '{key}' without a machine before it"),
                ("login" | "user", Some(entry)) => entry.user = word,
                ("password" | "passwd", Some(entry)) => entry.password = word,
                _ => {}
            }
        }
    }
    if let Some(key) = open {
        bail!("it ends after '{key}', which needs a value");
    }
    entries.retain(|entry| !entry.user.is_empty() || !entry.password.is_empty());
    Ok(entries)
}

/// The words of a line. One in quotes may hold blanks, and with a backslash quotes.
fn words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = line.trim_start().chars().peekable();
    while let Some(&first) = chars.peek() {
        let mut word = String::new();
        if first == '"' {
            chars.next();
            loop {
                match chars.next().context("the closing quote is missing")? {
                    '"' => break,
                    '\\' => word.push(match chars.next().context("the closing quote is missing")? {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        other => other,
                    }),
                    other => word.push(other),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                word.push(c);
            }
        }
        words.push(word);
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let entries = parse(text).expect(text);
        entries.iter().map(|e| format!("{}|{}|{}", e.host.as_deref().unwrap_or("*"), e.user, e.password)).collect()
    }

    #[test]
    fn entries() {
        for (text, entries) in [
            ("", &[][..]),
            ("machine a login u password p", &["a|u|p"]),
            ("machine a\n\tlogin u\n\tpassword p\nmachine b login v passwd q\n", &["a|u|p", "b|v|q"]),
            ("# a comment\nmachine a login u password #p\ndefault login d password e", &["a|u|#p", "*|d|e"]),
            ("machine a login \"u \\\"x\" password \"p q\"", &["a|u \"x|p q"]),
            ("machine a login u account x password p", &["a|u|p"]),
            ("macdef init\ncd /pub\nmachine no\n\nmachine a password p", &["a||p"]),
            ("machine nothing\nmachine a login u", &["a|u|"]),
        ] {
            assert_eq!(shown(text), entries, "{text}");
        }
    }

    #[test]
    fn mistakes_name_the_line_and_no_secret() {
        for (text, part) in [
            ("machine a login u password", "ends after 'password'"),
            ("\nlogin secret", "line 2: 'login' without a machine"),
            ("machine a\nsecret", "line 2"),
            ("machine a login u password \"secret", "line 1: the closing quote"),
        ] {
            let error = format!("{:#}", parse(text).map(|_| ()).expect_err(text));
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_file_and_who_is_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".netrc");
        std::fs::write(&path, "machine Example.org login u password p\nmachine ::1 login v password p\n")
            .expect("a file");
        let home = folder.path().to_str().expect("a path in UTF-8").to_owned();
        let netrc = |name: &'static str, value: String| Netrc::from_env(move |n| (n == name).then(|| value.clone()));
        let found = netrc("HOME", home.clone());
        // printf 'u:p' | base64, and of v
        assert_eq!(found.authorization("example.ORG").expect("it is valid").as_deref(), Some("Basic dTpw"));
        assert_eq!(found.authorization("[::1]").expect("it is valid").as_deref(), Some("Basic djpw"));
        assert_eq!(found.authorization("a.example.org").expect("it is valid"), None);
        assert!(!format!("{found:?}").contains("Example.org"));
        assert_eq!(netrc("HOME", format!("{home}/none")).authorization("x").expect("none is no fault"), None);
        let error = netrc("NETRC", format!("{home}/none")).authorization("x").expect_err("it was named");
        assert!(format!("{error:#}").contains("/none"), "{error:#}");
    }
}
