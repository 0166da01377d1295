//! The locale: its name is read here, how it comes about is the family's business.

use anyhow::Result;

use crate::context::Context;
use crate::error::usage;
use crate::family::{Family, Fetched};
use crate::plan::Plan;
use crate::root::Root;

/// Where login shells read `LANG` on systems whose other programs have no place for it. It comes before the file of
/// Alpine that sets `C.UTF-8` where nothing is set (`20locale.sh`).
pub const PROFILE: &str = "etc/profile.d/10lang.sh";

/// A locale name in its parts: `LANGUAGE[_TERRITORY][.CODESET][@MODIFIER]`, see `setlocale(3)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocaleName {
    /// Language and territory: `zh_CN`.
    pub base: String,
    /// Codeset as written: `UTF-8`; empty when there is none.
    pub codeset: String,
    /// Modifier without the `@`; empty when there is none.
    pub modifier: String,
}

impl LocaleName {
    /// Reads a name. Anything that could not be one (a path, an option, two words) is a usage error.
    pub fn parse(name: &str) -> Result<LocaleName> {
        let (rest, modifier) = name.split_once('@').map_or((name, None), |(r, m)| (r, Some(m)));
        let (base, codeset) = rest.split_once('.').map_or((rest, None), |(b, c)| (b, Some(c)));
        let word = |s: &str, also: &[u8]| {
            s.starts_with(|c: char| c.is_ascii_alphanumeric())
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || also.contains(&b))
        };
        if !word(base, b"_") || !codeset.is_none_or(|c| word(c, b"-_")) || !modifier.is_none_or(|m| word(m, b"")) {
            return Err(usage(format!(
                "system.locale: '{name}' is no name of a locale; write one like de_DE.UTF-8 or C.UTF-8"
            )));
        }
        Ok(LocaleName {
            base: base.to_string(),
            codeset: codeset.unwrap_or_default().to_string(),
            modifier: modifier.unwrap_or_default().to_string(),
        })
    }

    /// The codeset as glibc compares it: letters in lower case and digits, nothing else (`utf8`).
    pub fn normal_codeset(&self) -> String {
        normal_codeset(&self.codeset)
    }

    /// Whether every system has it: `C`, `POSIX`, and C.UTF-8 in any spelling.
    pub fn is_built_in(&self) -> bool {
        let codeset = self.normal_codeset();
        match self.base.as_str() {
            "C" => self.modifier.is_empty() && (codeset.is_empty() || codeset == "utf8"),
            "POSIX" => self.modifier.is_empty() && codeset.is_empty(),
            _ => false,
        }
    }

    /// The folder below `/usr/lib/locale` in which glibc finds it: `zh_CN.utf8`, `sr_RS.utf8@latin`.
    pub fn folder(&self) -> String {
        let mut folder = self.base.clone();
        if !self.codeset.is_empty() {
            folder.push('.');
            folder.push_str(&self.normal_codeset());
        }
        if !self.modifier.is_empty() {
            folder.push('@');
            folder.push_str(&self.modifier);
        }
        folder
    }

    /// The name of its source, which is written once for all codesets: `zh_CN`, `sr_RS@latin`.
    pub fn source(&self) -> String {
        LocaleName { codeset: String::new(), ..self.clone() }.folder()
    }
}

/// See [`LocaleName::normal_codeset`].
pub fn normal_codeset(codeset: &str) -> String {
    codeset.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Makes the plan's locale the tree's.
pub fn set(context: &Context, plan: &Plan, family: &dyn Family, packages: &[Fetched], root: &Root) -> Result<()> {
    LocaleName::parse(&plan.system.locale)?;
    family.make_locale(context, plan, packages, root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_code};

    #[test]
    fn names_in_parts() {
        for (name, folder, source, built_in) in [
            ("C.UTF-8", "C.utf8", "C", true),
            ("C.utf8", "C.utf8", "C", true),
            ("C", "C", "C", true),
            ("POSIX", "POSIX", "POSIX", true),
            ("C.ISO-8859-1", "C.iso88591", "C", false),
            ("zh_CN.UTF-8", "zh_CN.utf8", "zh_CN", false),
            ("sr_RS.UTF-8@latin", "sr_RS.utf8@latin", "sr_RS@latin", false),
            ("vi_VN", "vi_VN", "vi_VN", false),
            ("eo", "eo", "eo", false),
        ] {
            let parsed = LocaleName::parse(name).expect(name);
            assert_eq!((parsed.folder(), parsed.source()), (folder.into(), source.into()), "{name}");
            assert_eq!(parsed.is_built_in(), built_in, "{name}");
        }
        for name in ["", ".UTF-8", "../x", "a/b", "-f", "de DE", "de_DE.", "de_DE@", "de_DE.UTF-8\nX=1", "de.a.b"] {
            let error = LocaleName::parse(name).expect_err(name);
            assert_eq!(exit_code(&error), Exit::Usage, "{name}");
        }
    }
}
