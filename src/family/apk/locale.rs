//! The locale of a system with musl: it knows UTF-8 and nothing else, and takes every name for a locale of that.
//!
//! What a locale then changes is the language of messages, where a program has them (packages `*-lang`,
//! `musl-locales`). So there is nothing to make: the name is written to where login shells read it.

use anyhow::Result;

use crate::customise::locale::{LocaleName, PROFILE};
use crate::error::usage;
use crate::root::Root;

/// Makes the plan's locale the default one.
pub fn set(locale: &str, root: &Root) -> Result<()> {
    let name = LocaleName::parse(locale)?;
    if !name.codeset.is_empty() && name.normal_codeset() != "utf8" {
        return Err(usage(format!(
            "system.locale: '{locale}' is of the charset {}, and musl, the C library of the image, has UTF-8 only; \
             write {}.UTF-8",
            name.codeset, name.base
        )));
    }
    if name.is_built_in() {
        return root.remove_file(PROFILE).map(|_| ());
    }
    root.create_dir_all("etc/profile.d", 0o755)?;
    root.write(PROFILE, format!("export LANG={locale}\n"), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_language_is_written() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = Root::open(dir.path()).expect("it opens");
        for (locale, text) in [
            ("de_DE.UTF-8", Some("export LANG=de_DE.UTF-8\n")),
            ("C.UTF-8", None),
            ("sr_RS@latin", Some("export LANG=sr_RS@latin\n")),
        ] {
            set(locale, &root).expect(locale);
            assert_eq!(root.read_text_if_there(PROFILE).expect("it reads").as_deref(), text, "{locale}");
        }
        let error = set("de_DE.ISO-8859-1", &root).expect_err("musl has no such charset").to_string();
        assert!(error.contains("write de_DE.UTF-8"), "{error}");
    }
}
