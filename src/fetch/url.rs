//! Addresses: what may be shown of them, the credentials in them, and where a redirect leads (RFC 3986).

use anyhow::{Result, bail};
use ureq::http::Uri;

/// An address as it may be shown: without user name and password.
pub fn public_url(url: &str) -> String {
    let (scheme, rest) = match url.find("://") {
        Some(i) => url.split_at(i + 3),
        None => ("", url),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = match rest[..end].rfind('@') {
        Some(at) => &rest[at + 1..],
        // `user:pass/word@host`: an unescaped slash in a password makes the address invalid, but it gets here, and
        // the message that says so must not show it.
        None if !port_is_sound(&rest[..end]) => rest.rfind('@').map_or("(invalid)", |at| &rest[at + 1..]),
        None => rest,
    };
    format!("{scheme}{host}")
}

/// The address of a file by its path from that of a folder (RFC 3986, section 5.2), below the folder as a rule.
///
/// Where the folder is on a server the path may lead out of it, with `..`, but not off the server and not above its
/// root. On this machine it may not: an index, which anybody may have written, has no business with other files of it.
fn relative(folder: &str, path: &str) -> Result<String> {
    let folder = folder.trim_end_matches('/');
    if !path.split('/').any(|part| part == "..") {
        return Ok(format!("{folder}/{path}"));
    }
    let shown = public_url(folder);
    let Some((scheme @ ("http" | "https"), rest)) = folder.split_once("://") else {
        bail!("{shown}: the path {path:?} leads out of it, which it may on a server only");
    };
    let (authority, below) = rest.split_once('/').unwrap_or((rest, ""));
    let mut parts: Vec<&str> = Vec::new();
    for part in below.split('/').filter(|_| !below.is_empty()).chain(path.split('/')) {
        match part {
            "." => {}
            ".." if parts.pop().is_none() => bail!("{shown}: the path {path:?} leads above the root of the server"),
            ".." => {}
            part => parts.push(part),
        }
    }
    Ok(format!("{scheme}://{authority}/{}", parts.join("/")))
}

/// The addresses of a file at several mirrors, which are folders. One where it cannot be is left out, unless that is all
/// of them.
pub fn relative_to_each(folders: &[String], path: &str) -> Result<Vec<String>> {
    let mut urls = Vec::new();
    let mut reason = None;
    for folder in folders {
        match relative(folder, path) {
            Ok(url) => urls.push(url),
            Err(error) => reason = Some(error),
        }
    }
    match reason {
        Some(error) if urls.is_empty() => Err(error),
        _ => Ok(urls),
    }
}

/// As [`public_url`], and without the query, where stores put signatures that give access.
pub(super) fn redirect_target(url: &str) -> String {
    let shown = public_url(url);
    match shown.find('?') {
        Some(i) => format!("{}?…", &shown[..i]),
        None => shown,
    }
}

fn port_is_sound(authority: &str) -> bool {
    // Past the closing bracket of an IPv6 address.
    let after = authority.rfind(']').map_or(authority, |i| &authority[i + 1..]);
    after.split_once(':').is_none_or(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
}

/// An address split into what is requested and what is only told to its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The address without credentials: safe to show.
    pub uri: Uri,
    /// The value of the `Authorization` header, if the address had credentials.
    pub authorization: Option<String>,
}

impl Target {
    /// Reads an `http:` or `https:` address.
    pub fn parse(url: &str) -> Result<Target> {
        let shown = public_url(url);
        let Some((scheme, rest)) = url.split_once("://") else {
            bail!("{shown}: not an address; it must begin with http://, https:// or file://");
        };
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            bail!("{shown}: '{scheme}' addresses are not supported; use http:// or https://");
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authorization = rest[..end].rfind('@').map(|at| basic(&rest[..at])).transpose();
        let authorization = match authorization {
            Ok(value) => value,
            Err(reason) => bail!("{shown}: {reason} in the user name or password of this address"),
        };
        let bare = shown.split('#').next().unwrap_or_default();
        match escape(bare).parse::<Uri>() {
            Ok(uri) if uri.host().is_some_and(|h| !h.is_empty()) => Ok(Target { uri, authorization }),
            Ok(_) => bail!("{shown}: the address names no host"),
            Err(e) => bail!("{shown}: not a valid address: {e}"),
        }
    }

    /// Where a `Location` header leads from here. Credentials stay only on the same host and port.
    pub fn join(&self, location: &str) -> Result<Target> {
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let authority = self.uri.authority().map_or("", |a| a.as_str());
        let path = self.uri.path();
        let url = if has_scheme(location) {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else if location.starts_with('?') {
            format!("{scheme}://{authority}{path}{location}")
        } else {
            let folder = path.rfind('/').map_or("/", |i| &path[..=i]);
            format!("{scheme}://{authority}{folder}{location}")
        };
        let mut target = Target::parse(&url)?;
        if target.authorization.is_none()
            && target.uri.scheme() == self.uri.scheme()
            && target.uri.authority() == self.uri.authority()
        {
            target.authorization.clone_from(&self.authorization);
        }
        Ok(target)
    }

    /// Whether it is fetched over TLS.
    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }
}

fn has_scheme(location: &str) -> bool {
    location.split_once(':').is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// `Basic` credentials (RFC 7617) of the `user:password` part of an address.
pub(super) fn basic(userinfo: &str) -> Result<String, &'static str> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    Ok(basic_plain(&percent_decode(user)?, &percent_decode(password)?))
}

/// The same of a user name and a password as they are.
pub(super) fn basic_plain(user: &[u8], password: &[u8]) -> String {
    format!("Basic {}", crate::hash::base64(&[user, b":", password].concat()))
}

/// Undoes percent-encoding.
pub(super) fn percent_decode(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err("'%' without two hexadecimal digits (write %25 for a percent sign)"),
        }
    }
    Ok(out)
}

/// Percent-encodes what no address may hold as it is. What is encoded already stays.
fn escape(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    for byte in url.bytes() {
        match byte {
            0..=b' ' | 0x7f.. | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                out.push_str(&format!("%{byte:02X}"));
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_without_credentials() {
        for (url, shown) in [
            ("http://example.org/a", "http://example.org/a"),
            ("http://user:secret@example.org:8080/a", "http://example.org:8080/a"),
            ("https://us@er:sec@ret@example.org", "https://example.org"),
            ("http://token@example.org/a@b", "http://example.org/a@b"),
            ("http://example.org/@scope/a", "http://example.org/@scope/a"),
            ("http://user:sec/ret@example.org/a", "http://example.org/a"),
            ("http://user:secret/", "http://(invalid)"),
            ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
            ("http://u:p@[::1]/a", "http://[::1]/a"),
            ("user:secret@example.org/a", "example.org/a"),
            ("file:///srv/a@b", "file:///srv/a@b"),
            ("", ""),
        ] {
            assert_eq!(public_url(url), shown, "{url}");
        }
        assert_eq!(redirect_target("https://a:b@h/x?sig=secret"), "https://h/x?…");
    }

    #[test]
    fn paths_lead_to_addresses_on_the_same_server() {
        for (folder, path, url) in [
            ("http://h/a", "b/c.rpm", "http://h/a/b/c.rpm"),
            ("http://h/a/", "b.rpm", "http://h/a/b.rpm"),
            ("http://h/a/../b", "c.rpm", "http://h/a/../b/c.rpm"),
            ("http://h/a/../b", "../c.rpm", "http://h/c.rpm"),
            ("https://u:p@h:1/a/b/c/d", "../../../../e/f.rpm", "https://u:p@h:1/e/f.rpm"),
            ("http://h/a/b/", "../c.rpm", "http://h/a/c.rpm"),
            ("http://h/a//b", "../../c.rpm", "http://h/a/c.rpm"),
            ("http://h/a", "x/../y.rpm", "http://h/a/y.rpm"),
            ("http://h", "b.rpm", "http://h/b.rpm"),
            ("file:///srv/a", "b/c.rpm", "file:///srv/a/b/c.rpm"),
        ] {
            assert_eq!(relative(folder, path).expect(path), url, "{folder} {path}");
        }
        for (folder, path, reason) in [
            ("http://u:p@h/a", "../../b.rpm", "http://h/a: the path \"../../b.rpm\" leads above the root"),
            ("http://h", "../b.rpm", "above the root"),
            ("http://h/a", "x/../../../b.rpm", "above the root"),
            ("file:///srv/a", "../b.rpm", "file:///srv/a: the path \"../b.rpm\" leads out of it"),
            ("file:///srv/a", "b/../c.rpm", "leads out of it"),
            ("ftp://h/a/b", "../b.rpm", "on a server only"),
        ] {
            let error = relative(folder, path).expect_err(path).to_string();
            assert!(error.contains(reason), "{error}");
        }
        let mirrors = ["file:///srv/a".into(), "http://h/a".into()];
        assert_eq!(relative_to_each(&mirrors, "../b.rpm").expect("the second has it"), ["http://h/b.rpm"]);
        assert!(relative_to_each(&mirrors, "../../b.rpm").is_err());
        assert!(relative_to_each(&[], "../b.rpm").expect("nobody is asked").is_empty());
    }

    #[test]
    fn credentials_become_a_header() {
        let target = Target::parse("http://al:p%40ss%3A@example.org/x").expect("a valid address");
        assert_eq!(target.uri.to_string(), "http://example.org/x");
        // printf 'al:p@ss:' | base64
        assert_eq!(target.authorization.as_deref(), Some("Basic YWw6cEBzczo="));
        assert_eq!(Target::parse("http://example.org/x").expect("valid").authorization, None);
    }

    #[test]
    fn bad_addresses_say_why_and_hide_the_password() {
        for url in [
            "example.org/a",
            "ftp://u:secret@example.org/a",
            "http://u:secret@/a",
            "http://u:sec/ret@example.org/a:secret-not",
            "http://u:secret%zz@example.org/",
            "http://u:secret@exa mple.org:port/",
        ] {
            match Target::parse(url) {
                Ok(t) => assert!(!t.uri.to_string().contains("secret@"), "{t:?}"),
                Err(e) => {
                    assert!(!format!("{e:#}").contains("secret@") && !format!("{e:#}").contains("u:sec"), "{e:#}")
                }
            }
        }
        assert!(Target::parse("ftp://example.org/").is_err());
        assert!(Target::parse("http:///a").is_err());
    }

    #[test]
    fn redirects_resolve_against_the_address() {
        let base = Target::parse("http://u:p@example.org/a/b?q=1").expect("valid");
        for (location, uri, keeps) in [
            ("http://other.example/x", "http://other.example/x", false),
            ("//other.example/x", "http://other.example/x", false),
            ("/x", "http://example.org/x", true),
            ("x", "http://example.org/a/x", true),
            ("?y", "http://example.org/a/b?y", true),
            ("/x y#part", "http://example.org/x%20y", true),
            ("http://example.org:81/x", "http://example.org:81/x", false),
            ("https://example.org/x", "https://example.org/x", false),
        ] {
            let target = base.join(location).expect(location);
            assert_eq!((target.uri.to_string().as_str(), target.authorization.is_some()), (uri, keeps), "{location}");
        }
        assert!(base.join("ftp://example.org/").is_err());
        assert!(base.join("file:///etc/shadow").is_err());
    }
}
