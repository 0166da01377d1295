//! Languages other than the chosen one.

use std::path::Path;

use anyhow::Result;

use super::{Cleaner, Step};
use crate::root::{Kind, kind};

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "locale/messages",
        sentence: "Message catalogues of languages other than the chosen one.",
        run: messages,
    },
    Step {
        name: "locale/compiled",
        sentence: "Compiled locales other than C.UTF-8 and the chosen one, unless a package ships them.",
        run: compiled,
    },
    Step {
        name: "locale/sources",
        sentence: "Sources of locales that no package owns, left by making the chosen one.",
        run: |c| {
            c.remove_unowned_content("usr/share/i18n/locales")?;
            c.remove_unowned_content("usr/share/i18n/charmaps")
        },
    },
];

/// Where catalogues are; Ubuntu's language packs have the second.
const CATALOGUES: [&str; 2] = ["usr/share/locale", "usr/share/locale-langpack"];
const COMPILED: &str = "usr/lib/locale";

/// Whether a path below the root is a message catalogue of another language than the locale's.
pub fn is_foreign(path: &Path, locale: &str) -> bool {
    CATALOGUES.iter().any(|top| {
        let below = path.strip_prefix(top).ok();
        let language = below.and_then(|p| p.components().next()).and_then(|c| c.as_os_str().to_str());
        language.is_some_and(|name| is_language(name) && !serves(name, locale))
    })
}

/// Whether a folder is named like a language: two or three letters, then perhaps a country, a charset, a modifier.
fn is_language(name: &str) -> bool {
    let end = name.find(['_', '@', '.']).unwrap_or(name.len());
    (2..=3).contains(&end) && name[..end].bytes().all(|b| b.is_ascii_lowercase())
}

/// Whether messages for the locale are looked for in a folder of this name: with and without the country, the
/// charset and the modifier (GNU gettext manual, "Locale Names").
fn serves(name: &str, locale: &str) -> bool {
    let (name_base, _, name_modifier) = parts(name);
    let (base, _, modifier) = parts(locale);
    let language = base.split('_').next().unwrap_or(base);
    (name_base == base || name_base == language) && (name_modifier.is_empty() || name_modifier == modifier)
}

/// `language_COUNTRY`, charset and modifier of a locale name.
fn parts(locale: &str) -> (&str, &str, &str) {
    let (rest, modifier) = locale.split_once('@').unwrap_or((locale, ""));
    let (base, charset) = rest.split_once('.').unwrap_or((rest, ""));
    (base, charset, modifier)
}

fn messages(cleaner: &mut Cleaner<'_>) -> Result<()> {
    let locale = cleaner.system.locale.clone();
    for top in CATALOGUES {
        for (path, stat) in cleaner.entries(top)? {
            if kind(&stat) != Kind::File && is_foreign(&path, &locale) {
                cleaner.remove(path)?;
            }
        }
    }
    Ok(())
}

/// The name as the C library's folders have it: `de_DE.utf8@euro` for `de_DE.UTF-8@euro`.
fn normal(locale: &str) -> String {
    let (base, charset, modifier) = parts(locale);
    let charset = charset.replace('-', "").to_lowercase();
    format!("{base}.{charset}@{modifier}")
}

fn compiled(cleaner: &mut Cleaner<'_>) -> Result<()> {
    let chosen = normal(&cleaner.system.locale);
    let needs_none = matches!(parts(&cleaner.system.locale).0, "C" | "POSIX");
    for (path, stat) in cleaner.entries(COMPILED)? {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        // One file with every locale that was generated: which ones is the business of whoever made it.
        let is_archive = name == "locale-archive";
        let is_foreign = kind(&stat) == Kind::Dir && ![chosen.as_str(), "C.utf8@"].contains(&normal(name).as_str());
        if is_foreign || (is_archive && needs_none) {
            cleaner.remove_unowned(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::*;

    #[test]
    fn which_catalogues_serve_which_locale() {
        for (name, locale, foreign) in [
            ("de", "C.UTF-8", true),
            ("en@boldquot", "en_US.UTF-8", true),
            ("en", "en_US.UTF-8", false),
            ("en_GB", "en_US.UTF-8", true),
            ("zh", "zh_CN.UTF-8", false),
            ("zh_CN", "zh_CN.UTF-8", false),
            ("zh_CN.GB2312", "zh_CN.UTF-8", false),
            ("zh_TW", "zh_CN.UTF-8", true),
            ("sr@latin", "sr_RS.UTF-8@latin", false),
            ("sr@latin", "sr_RS.UTF-8", true),
            ("ast", "as_IN.UTF-8", true),
            ("locale.alias", "C.UTF-8", false),
            ("l10n", "C.UTF-8", false),
        ] {
            let path = Path::new("usr/share/locale").join(name).join("LC_MESSAGES/a.mo");
            assert_eq!(is_foreign(&path, locale), foreign, "{name} {locale}");
        }
    }

    #[test]
    fn other_languages_go_and_folders_of_packages_stay() {
        let mut tree = Tree::new();
        tree.system.locale = "zh_CN.UTF-8".into();
        for name in ["de", "zh_CN", "fr"] {
            tree.file(&format!("usr/share/locale/{name}/LC_MESSAGES/a.mo"), "x");
        }
        tree.file("usr/share/locale/locale.alias", "x")
            .owns("usr/share/locale/fr/LC_MESSAGES")
            .owns("usr/share/locale/fr");
        tree.step(STEPS, "locale/messages");
        assert!(!tree.has("usr/share/locale/de") && !tree.has("usr/share/locale/fr/LC_MESSAGES/a.mo"));
        for stays in ["fr/LC_MESSAGES", "zh_CN/LC_MESSAGES/a.mo", "locale.alias"] {
            assert!(tree.has(&format!("usr/share/locale/{stays}")), "{stays}");
        }
    }

    #[test]
    fn compiled_locales() {
        let mut tree = Tree::new();
        for name in ["C.utf8", "de_DE.utf8", "zh_CN.utf8", "fr_FR.utf8"] {
            tree.file(&format!("{COMPILED}/{name}/LC_CTYPE"), "x");
        }
        tree.file(&format!("{COMPILED}/locale-archive"), "x");
        tree.owns("usr/lib/locale/fr_FR.utf8").owns("usr/lib/locale/fr_FR.utf8/LC_CTYPE");
        tree.system.locale = "zh_CN.UTF-8".into();
        assert_eq!(tree.step(STEPS, "locale/compiled").len(), 2);
        assert!(!tree.has("usr/lib/locale/de_DE.utf8") && tree.has("usr/lib/locale/locale-archive"));
        tree.system.locale = "C.UTF-8".into();
        tree.step(STEPS, "locale/compiled");
        let left: Vec<_> = tree.root.read_dir(COMPILED).expect("names");
        assert_eq!(left, ["C.utf8", "fr_FR.utf8"]);
    }

    #[test]
    fn sources_of_the_build_go() {
        let mut tree = Tree::new();
        tree.file("usr/share/i18n/locales/de_DE", "x").file("usr/share/i18n/charmaps/UTF-8.gz", "x");
        tree.owns("usr/share/i18n/locales/de_DE").owns("usr/share/i18n/charmaps");
        assert_eq!(tree.step(STEPS, "locale/sources"), ["usr/share/i18n/charmaps/UTF-8.gz"]);
    }
}
