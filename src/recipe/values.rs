//! What single values must look like. Each says what is wrong with one in a few words, for a message that has
//! file, line and key already.

/// An address, taken apart as far as mkbase needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Without user name, password and, of a folder, closing slash.
    pub public: String,
    /// With all of it, but for that slash.
    pub full: String,
}

impl Address {
    /// Reads the address of a folder on a server or of this machine. What it says never shows the address, which
    /// may hold a password.
    pub fn parse(text: &str) -> Result<Address, String> {
        Address::read(text, true)
    }

    /// The same of a file, whose address may have a query.
    pub fn parse_file(text: &str) -> Result<Address, String> {
        Address::read(text, false)
    }

    fn read(text: &str, is_folder: bool) -> Result<Address, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("this is no address; one starts with http://, https:// or file:///".into());
        };
        if !["http", "https", "file"].contains(&scheme) {
            let hint = crate::error::did_you_mean(scheme, ["http", "https", "file"]);
            return Err(format!("{scheme}:// is not supported{hint} (there are http, https and file)"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['"', '<', '>', '\\', '`']) {
            return Err("an address has no spaces, quotes or characters outside ASCII; write those as %XX".into());
        }
        if is_folder && text.contains(['?', '#']) {
            return Err("the address of a folder has no '?' and no '#'".into());
        }
        if text.contains('#') {
            return Err("the address of a file has no '#'".into());
        }
        if text.contains('{') || text.contains('}') {
            return Err("an address has no braces but those of placeholders".into());
        }
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let (credentials, host) = match authority.rsplit_once('@') {
            Some((credentials, host)) => (Some(credentials), host),
            None => (None, authority),
        };
        match scheme {
            "file" if !authority.is_empty() => {
                return Err("the address of what is on this machine starts with file:///".into());
            }
            "file" => {}
            _ if host.is_empty() || host.starts_with(':') => return Err("the address has no host name".into()),
            _ => {}
        }
        let path = if is_folder { path.trim_end_matches('/') } else { path };
        let public = format!("{scheme}://{host}{path}");
        let full = credentials.map_or_else(|| public.clone(), |user| format!("{scheme}://{user}@{host}{path}"));
        Ok(Address { public, full })
    }

    /// With this `user:password` where it has none and goes over a network.
    pub fn with_credentials(self, credentials: &str) -> Address {
        match self.public.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) if !self.has_credentials() => {
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                let full = format!("{scheme}://{}:{}@{rest}", percent_encode(user), percent_encode(password));
                Address { full, ..self }
            }
            _ => self,
        }
    }

    /// Whether it holds a user name or password.
    pub fn has_credentials(&self) -> bool {
        self.public != self.full
    }
}

/// Text as it stands in an address (RFC 3986, section 2.1): all but unreserved characters encoded.
fn percent_encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A name that becomes part of file names: of an image or a repository.
pub fn name(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(good) && text.len() <= 100 {
        return Ok(());
    }
    Err(format!("'{text}' is no name: use letters, digits and . _ + -, with a letter or digit first"))
}

/// A word that stands alone on a line of a repository's configuration: a suite or a component.
pub fn word(text: &str) -> Result<(), String> {
    let bad = |c: char| !c.is_ascii_graphic() || "'\"\\{}".contains(c);
    if text.is_empty() || text.contains(bad) || text.starts_with(['-', '[', '#', '/']) || has_dots(text) {
        return Err(format!("'{text}' must be one word, without quotes and braces"));
    }
    Ok(())
}

fn has_dots(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// An absolute path in the image.
pub fn absolute(text: &str) -> Result<(), String> {
    let parts = text.strip_prefix('/').ok_or_else(|| format!("'{text}' must be absolute: start it with /"))?;
    if text == "/" {
        return Err("'/' is the root of the image: name something below it".into());
    }
    if parts.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(format!("'{text}' has an empty, '.' or '..' part: write the path out, without a closing slash"));
    }
    if text.contains(char::is_control) {
        return Err(format!("{text:?} holds a control character"));
    }
    Ok(())
}

/// The name of a user or group, as `adduser(8)` of Debian takes it.
pub fn account(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && text.chars().all(good) && text.len() <= 32 {
        return Ok(());
    }
    Err(format!("'{text}' is no account name: use at most 32 of a-z 0-9 _ -, with a letter or _ first"))
}

/// An owner: an account's name or its number.
pub fn owner(text: &str) -> Result<(), String> {
    match text.parse::<u32>() {
        Ok(id) if id < u32::MAX && !text.starts_with('+') => Ok(()),
        _ => account(text),
    }
}

/// Permission bits as an octal string, with set-id and sticky bits: `0644`.
pub fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 && !text.starts_with('+') => Ok(mode),
        _ => Err(format!("'{text}' is no mode: write it in octal, as in \"0644\"")),
    }
}

/// The name of an environment variable.
pub fn variable(text: &str) -> Result<(), String> {
    if text.is_empty() || text.contains(['=', '\n']) || text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("'{text}' is no name of an environment variable"));
    }
    Ok(())
}

/// The name of a package, with whatever the family lets one add: `=version`, `:arch`, `@group`.
pub fn package(text: &str) -> Result<(), String> {
    if text.is_empty()
        || text.starts_with('-')
        || text.contains(|c: char| !c.is_ascii_graphic() || ",'\"\\".contains(c))
    {
        return Err(format!("'{text}' is no package name"));
    }
    Ok(())
}

/// An IANA time zone, by its form; whether it exists, the image's own data tells.
pub fn timezone(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_+-/".contains(c);
    if text.is_empty() || !text.chars().all(good) || text.split('/').any(str::is_empty) {
        return Err(format!("'{text}' is no time zone: write it as in Europe/Paris or Etc/UTC"));
    }
    Ok(())
}

/// A locale, by its form: `C.UTF-8`, `sr_RS.UTF-8@latin`. Whether it exists, the image's own data tells.
pub fn locale(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-.@".contains(c);
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) || !text.chars().all(good) || text.contains("..") {
        return Err(format!("'{text}' is no locale: write it as in de_DE.UTF-8"));
    }
    Ok(())
}

/// `SOURCE_DATE_EPOCH`: seconds since 1970, up to the year 9999. Unset and empty are the same.
pub fn epoch(text: Option<&str>) -> Result<Option<i64>, String> {
    /// 9999-12-31T23:59:59Z, after which dates no longer fit where they are written.
    const LAST: i64 = 253_402_300_799;
    match text {
        None | Some("") => Ok(None),
        Some(text) => match text.parse::<i64>() {
            Ok(seconds) if text.bytes().all(|b| b.is_ascii_digit()) && seconds <= LAST => Ok(Some(seconds)),
            _ => Err(format!("SOURCE_DATE_EPOCH is '{text}': it must be a number of seconds since 1970, or unset")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, public, full) in [
            ("http://h/debian/", "http://h/debian", "http://h/debian"),
            ("https://h", "https://h", "https://h"),
            ("http://h:80/a%20b", "http://h:80/a%20b", "http://h:80/a%20b"),
            ("http://u:p@h/x", "http://h/x", "http://u:p@h/x"),
            ("http://u:p@x@h/x@y", "http://h/x@y", "http://u:p@x@h/x@y"),
            ("file:///srv/repo", "file:///srv/repo", "file:///srv/repo"),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!((address.public.as_str(), address.full.as_str()), (public, full));
            assert_eq!(address.has_credentials(), public != full);
        }
        for text in [
            "",
            "h/x",
            "ftp://h/x",
            "htps://h/x",
            "http://",
            "http:///x",
            "http://u:p@/x",
            "http://:80/",
            "http://h/a b",
            "http://h/\n",
            "http://h/ä",
            "http://h/?a",
            "http://h/{a}",
            "file://h/x",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
        for (text, public) in [
            ("https://h/list?repo=os-1&arch=x", "https://h/list?repo=os-1&arch=x"),
            ("http://u:p@h/list/", "http://h/list/"),
            ("http://u:p@h?a@b", "http://h?a@b"),
            ("file:///srv/list", "file:///srv/list"),
        ] {
            assert_eq!(Address::parse_file(text).expect(text).public, public);
        }
        for text in ["", "http://h/x#y", "ftp://h/x", "http://?x", "http://h/a b"] {
            assert!(Address::parse_file(text).is_err(), "{text:?}");
        }
        assert!(Address::parse("htps://h").expect_err("unknown").contains("did you mean 'https'?"));
        assert!(!Address::parse("ftp://u:secret@h").expect_err("unknown").contains("secret"));
        assert!(!Address::parse("http://u:secret@h/ x").expect_err("a space").contains("secret"));
    }

    #[test]
    fn credentials_join_an_address_that_has_none() {
        for (url, credentials, full) in [
            ("http://h/x", "al:p@s/s:%", "http://al:p%40s%2Fs%3A%25@h/x"),
            ("https://h", "token", "https://token:@h"),
            ("http://[::1]:80/x", "a:b", "http://a:b@[::1]:80/x"),
            ("http://u:p@h/x", "a:b", "http://u:p@h/x"),
            ("file:///srv", "a:b", "file:///srv"),
        ] {
            let address = Address::parse(url).expect(url).with_credentials(credentials);
            assert_eq!(address.full, full);
            assert!(!address.public.contains('@'), "{address:?}");
        }
    }

    type Check = fn(&str) -> Result<(), String>;

    #[test]
    fn words() {
        let cases: [(&str, Check, &[&str], &[&str]); 9] = [
            ("name", name, &["a", "corp-base", "1.0+x_y"], &["", "-a", ".a", "a/b", "a b", "ä", "a\n"]),
            (
                "word",
                word,
                &["main", "sid/updates", "./", "non-free-firmware"],
                &["", "a b", "a\n", "-a", "[a", "../x", "a/../b", "/x", "a'b", "{x}"],
            ),
            (
                "absolute",
                absolute,
                &["/a", "/a/b c", "/.a", "/..a"],
                &["", "a", "/", "/a/", "//a", "/a/../b", "/..", "/a/./b", "/a\nb"],
            ),
            ("account", account, &["app", "_apt", "www-data"], &["", "App", "0a", "-a", "a:b", "a b", &"a".repeat(33)]),
            ("owner", owner, &["root", "0", "1000"], &["", "-1", "+1", "4294967295", "a:b"]),
            ("variable", variable, &["A", "_a", "A.B"], &["", "A=B", "1A", "A\n"]),
            (
                "package",
                package,
                &["vim", "libc6:arm64", "bash=5.2-1~x", "@core"],
                &["", "-o", "a b", "a,b", "a\n", "a'"],
            ),
            (
                "timezone",
                timezone,
                &["UTC", "Etc/GMT+1", "America/Port-au-Prince", "America/Argentina/Ushuaia"],
                &["", "/etc", "../x", "a//b", "a b", "a/"],
            ),
            ("locale", locale, &["C.UTF-8", "zh_CN.UTF-8", "sr_RS.UTF-8@latin"], &["", "../x", "a b", "a/b", ".x"]),
        ];
        for (what, check, good, bad) in cases {
            for text in good {
                assert_eq!(check(text), Ok(()), "{what} {text:?}");
            }
            for text in bad {
                assert!(check(text).is_err(), "{what} {text:?}");
            }
        }
    }

    #[test]
    fn modes() {
        for (text, expected) in [("0644", 0o644), ("755", 0o755), ("4755", 0o4755), ("0", 0)] {
            assert_eq!(mode(text), Ok(expected));
        }
        for text in ["", "0o644", "644x", "888", "17777", "-1", "+644", "u=rw"] {
            assert!(mode(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn epochs() {
        assert_eq!(epoch(None), Ok(None));
        assert_eq!(epoch(Some("")), Ok(None));
        assert_eq!(epoch(Some("1700000000")), Ok(Some(1_700_000_000)));
        assert_eq!(epoch(Some("0")), Ok(Some(0)));
        for text in ["-1", "+1", " 1", "1.5", "now", "253402300800", "99999999999999999999"] {
            assert!(epoch(Some(text)).is_err(), "{text:?}");
        }
    }
}
