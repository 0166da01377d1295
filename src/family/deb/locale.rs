//! Makes a locale with the tree's own `localedef(1)`, from the sources in Debian's package `locales`.
//!
//! The result is a folder below `/usr/lib/locale`, not `locale-archive`: each file holds one category, is the same at
//! every build, and does not change when another locale comes along. `locale-gen(8)` in the image still works; glibc
//! prefers what it puts into the archive.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::context::Context;
use crate::customise::locale::{LocaleName, normal_codeset};
use crate::error::{nearest, usage};
use crate::family::Fetched;
use crate::plan::Plan;
use crate::root::{Kind, Root, kind};
use crate::sandbox::Sandbox;

mod extract;

/// The package with the sources of locales, in every descendant of Debian.
const PACKAGE: &str = "locales";
/// Where that package has them.
const I18N: &str = "usr/share/i18n";
/// Where they appear in the sandbox when the package is not installed.
const BOUND: &str = "/run/i18n";
/// Compiled locales of the tree.
const COMPILED: &str = "usr/lib/locale";
/// A folder nothing else uses, so that `localedef` finds no neighbours to make hard links to.
const STAGING: &str = "usr/lib/locale/.mkbase";

/// Makes the locale of the plan and leaves it the only one besides those of packages (C.UTF-8 is glibc's own). The
/// sources come from the package `locales`: the tree's where it is installed, else the one among `packages`.
pub fn make_locale(context: &Context, plan: &Plan, packages: &[Fetched], root: &Root) -> Result<()> {
    let locale = plan.system.locale.as_str();
    let name = LocaleName::parse(locale)?;
    if !name.is_built_in() {
        generate(locale, &name, packages, context.work.path(), root)?;
    }
    prune(&name, root)?;
    write_default(locale, root)
}

/// An entry of the list of supported locales: what `localedef` is to make.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Supported {
    listed: String,
    name: LocaleName,
    charset: String,
}

fn generate(locale: &str, name: &LocaleName, packages: &[Fetched], work: &Path, root: &Root) -> Result<()> {
    let installed = root.exists(Path::new(I18N).join("SUPPORTED"));
    let unpacked = work.join("i18n");
    let list = if installed {
        root.read_text(Path::new(I18N).join("SUPPORTED"))?
    } else {
        let Some(package) = packages.iter().find(|p| p.package.name == PACKAGE) else {
            bail!(
                "the locale {locale} needs the package {PACKAGE}, which is neither in the image nor in the lock; \
                 make the lock anew"
            );
        };
        let context = || format!("unpacking the package {PACKAGE} for the sources of locales");
        extract::extract_subtree(&package.file, Path::new(I18N), &unpacked).with_context(context)?;
        std::fs::read_to_string(unpacked.join("SUPPORTED")).context("reading its list of supported locales")?
    };
    let entry = find(locale, name, &list)?;
    let folder = format!("{COMPILED}/{}", name.folder());
    if root.exists(&folder) && owned(&folder, root)? {
        return verify(locale, &entry, root);
    }
    root.create_dir_all(STAGING, 0o755)?;
    let staged = format!("{STAGING}/{}", name.folder());
    let mut localedef = Sandbox::new(root, "localedef")
        // As locale-gen(8) calls it: -c makes a locale whose sources have warnings.
        .args(["-c", "-i", &entry.name.source(), "-f", &entry.charset])
        .arg(format!("/{staged}"));
    if !installed {
        localedef = localedef.env("I18NPATH", BOUND).bind(&unpacked, BOUND);
    }
    let output = localedef.output()?;
    // 1 means "made, with warnings"; whether it works is seen below.
    if !matches!(output.code, 0 | 1) || !root.exists(&staged) {
        bail!(
            "making the locale {locale}: localedef ended with exit code {}: {}",
            output.code,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    root.remove_all(&folder)?;
    root.rename(&staged, &folder)?;
    root.remove_all(STAGING)?;
    if installed {
        write_list(&entry, root)?;
    }
    verify(locale, &entry, root)
}

/// The supported locale that `locale` means. The list has one `NAME CHARSET` a line; names leave the codeset out where
/// a language has only one (`vi_VN UTF-8`), which people write anyway.
fn find(locale: &str, name: &LocaleName, list: &str) -> Result<Supported> {
    let entries: Vec<Supported> = list.lines().filter_map(supported).collect();
    let exact = |s: &&Supported| s.name.folder() == name.folder();
    let implied = |s: &&Supported| {
        let same = (&s.name.base, &s.name.modifier) == (&name.base, &name.modifier);
        same && s.name.codeset.is_empty() && normal_codeset(&s.charset) == name.normal_codeset()
    };
    if let Some(found) = entries.iter().find(exact).or_else(|| entries.iter().find(implied)) {
        return Ok(found.clone());
    }
    // With the codeset spelled out, as people write it.
    let full = |s: &Supported| {
        let codeset = if s.name.codeset.is_empty() { &s.charset } else { &s.name.codeset };
        let modifier = if s.name.modifier.is_empty() { String::new() } else { format!("@{}", s.name.modifier) };
        format!("{}.{codeset}{modifier}", s.name.base)
    };
    let known: Vec<String> = entries.iter().map(full).collect();
    let same = known.iter().find(|k| k.eq_ignore_ascii_case(locale)).map(String::as_str);
    let hint = same.or_else(|| nearest(locale, known.iter().map(String::as_str)));
    let hint = hint.map(|k| format!("; did you mean '{k}'?")).unwrap_or_default();
    Err(usage(format!("system.locale: the package {PACKAGE} knows no '{locale}'{hint}")))
}

/// A line of the list. What is no name of a locale or charset (it might be taken for an option) is passed over.
fn supported(line: &str) -> Option<Supported> {
    let (listed, charset) = line.trim().split_once(' ')?;
    let charset = charset.trim();
    let word = charset.starts_with(|c: char| c.is_ascii_alphanumeric())
        && charset.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let name = LocaleName::parse(listed).ok()?;
    word.then(|| Supported { listed: listed.to_owned(), name, charset: charset.to_owned() })
}

/// Whether a package owns `path`, from dpkg's lists.
fn owned(path: &str, root: &Root) -> Result<bool> {
    const INFO: &str = "var/lib/dpkg/info";
    let line = format!("/{path}");
    for name in root.read_dir(INFO)? {
        let file = Path::new(INFO).join(name);
        if file.extension().is_some_and(|e| e == "list") && root.read_text(&file)?.lines().any(|l| l == line) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes compiled locales that neither a package owns nor the recipe wants.
fn prune(wanted: &LocaleName, root: &Root) -> Result<()> {
    let wanted = wanted.folder();
    for name in root.read_dir(COMPILED)? {
        let Some(name) = name.to_str().filter(|n| *n != wanted) else { continue };
        let path = format!("{COMPILED}/{name}");
        if !owned(&path, root)? {
            root.remove_all(&path)?;
        }
    }
    Ok(())
}

/// The system's locale for logins: `/etc/default/locale`, which the newer `locales` makes a link to
/// `/etc/locale.conf`.
fn write_default(locale: &str, root: &Root) -> Result<()> {
    const DEFAULT: &str = "etc/default/locale";
    const CONF: &str = "etc/locale.conf";
    root.create_dir_all("etc/default", 0o755)?;
    let linked = root.lstat(DEFAULT)?.is_some_and(|s| kind(&s) == Kind::Link)
        && root.read_link(DEFAULT)?.file_name() == Path::new(CONF).file_name();
    root.write(if linked { CONF } else { DEFAULT }, format!("LANG={locale}\n"), 0o644)
}

/// `/etc/locale.gen` with this locale as the only one, so that an upgrade of `locales` in the image makes it again.
fn write_list(entry: &Supported, root: &Root) -> Result<()> {
    const LIST: &str = "etc/locale.gen";
    let wanted = format!("{} {}", entry.listed, entry.charset);
    let mut text = String::new();
    let mut found = false;
    for line in root.read_text_if_there(LIST)?.unwrap_or_default().lines() {
        if !found && line.trim_start_matches(['#', ' ']).trim_end() == wanted {
            text.push_str(&wanted);
            found = true;
        } else if line.trim().is_empty() || line.starts_with('#') {
            text.push_str(line);
        } else {
            text.push_str("# ");
            text.push_str(line);
        }
        text.push('\n');
    }
    if !found {
        text.push_str(&wanted);
        text.push('\n');
    }
    root.write(LIST, text, 0o644)
}

/// Asks the tree's C library whether the locale works.
fn verify(locale: &str, entry: &Supported, root: &Root) -> Result<()> {
    let said = Sandbox::new(root, "locale").arg("charmap").env("LC_ALL", locale).run()?;
    let charmap = String::from_utf8_lossy(&said);
    if normal_codeset(charmap.trim()) != normal_codeset(&entry.charset) {
        bail!(
            "the locale {locale} was made but does not work: its charset is {}, not {}",
            charmap.trim(),
            entry.charset
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_code};

    const LIST: &str = "# comment\naa_DJ.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\nde_DE ISO-8859-1\nde_DE@euro ISO-8859-15\n\
                        sr_RS@latin UTF-8\nvi_VN UTF-8\nzh_CN.UTF-8 UTF-8 \nzh_CN GB2312\n-x UTF-8\nxx --help\n";

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = Root::open(dir.path()).expect("it opens");
        root.create_dir("etc", 0o755).expect("a folder");
        root.create_dir_all("var/lib/dpkg/info", 0o755).expect("folders");
        root.write("var/lib/dpkg/info/libc-bin.list", "/usr/lib/locale\n/usr/lib/locale/C.utf8\n", 0o644)
            .expect("a file");
        for folder in ["C.utf8", "de_DE.utf8", "fr_FR.utf8/LC_MESSAGES"] {
            root.create_dir_all(Path::new(COMPILED).join(folder), 0o755).expect("folders");
        }
        root.write("usr/lib/locale/locale-archive", "", 0o644).expect("a file");
        (dir, root)
    }

    #[test]
    fn names_are_found_as_people_write_them() {
        for (locale, listed, source, charset) in [
            ("zh_CN.UTF-8", "zh_CN.UTF-8", "zh_CN", "UTF-8"),
            ("zh_CN.utf8", "zh_CN.UTF-8", "zh_CN", "UTF-8"),
            ("zh_CN", "zh_CN", "zh_CN", "GB2312"),
            ("vi_VN", "vi_VN", "vi_VN", "UTF-8"),
            ("vi_VN.UTF-8", "vi_VN", "vi_VN", "UTF-8"),
            ("sr_RS.UTF-8@latin", "sr_RS@latin", "sr_RS@latin", "UTF-8"),
            ("de_DE@euro", "de_DE@euro", "de_DE@euro", "ISO-8859-15"),
            ("de_DE.ISO-8859-1", "de_DE", "de_DE", "ISO-8859-1"),
        ] {
            let name = LocaleName::parse(locale).expect(locale);
            let found = find(locale, &name, LIST).expect(locale);
            assert_eq!((found.listed.as_str(), found.charset.as_str()), (listed, charset), "{locale}");
            assert_eq!(found.name.source(), source);
        }
        for (locale, hint) in [
            ("zh_cn.utf-8", "; did you mean 'zh_CN.UTF-8'?"),
            ("dd_DE.UTF-8", "; did you mean 'de_DE.UTF-8'?"),
            ("vi_VM.UTF-8", "; did you mean 'vi_VN.UTF-8'?"),
            ("klingon", ""),
            ("xx", ""),
        ] {
            let name = LocaleName::parse(locale).expect(locale);
            let error = find(locale, &name, LIST).expect_err(locale);
            assert_eq!(exit_code(&error), Exit::Usage);
            assert_eq!(error.to_string(), format!("system.locale: the package locales knows no '{locale}'{hint}"));
        }
    }

    #[test]
    fn only_the_wanted_one_and_those_of_packages_stay() {
        let (_dir, root) = tree();
        prune(&LocaleName::parse("de_DE.UTF-8").expect("a name"), &root).expect("pruned");
        assert_eq!(root.read_dir(COMPILED).expect("a folder"), ["C.utf8", "de_DE.utf8"]);
        prune(&LocaleName::parse("C.UTF-8").expect("a name"), &root).expect("pruned");
        assert_eq!(root.read_dir(COMPILED).expect("a folder"), ["C.utf8"]);
    }

    #[test]
    fn the_default_is_where_logins_look() {
        let (_dir, root) = tree();
        write_default("de_DE.UTF-8", &root).expect("written");
        assert_eq!(root.read_text("etc/default/locale").expect("there"), "LANG=de_DE.UTF-8\n");
        assert!(!root.exists("etc/locale.conf"));
        root.symlink("../locale.conf", "etc/default/locale").expect("a link");
        write_default("C.UTF-8", &root).expect("written");
        assert_eq!(root.read_text("etc/locale.conf").expect("there"), "LANG=C.UTF-8\n");
        assert_eq!(root.read_link("etc/default/locale").expect("a link"), Path::new("../locale.conf"));
    }

    #[test]
    fn one_line_of_the_list_is_active() {
        let (_dir, root) = tree();
        let entry = supported("de_DE.UTF-8 UTF-8").expect("an entry");
        write_list(&entry, &root).expect("written");
        assert_eq!(root.read_text("etc/locale.gen").expect("there"), "de_DE.UTF-8 UTF-8\n");
        let before = "# This file\n\n# de_DE ISO-8859-1\n# de_DE.UTF-8 UTF-8  \nfr_FR.UTF-8 UTF-8\n";
        root.write("etc/locale.gen", before, 0o644).expect("a file");
        write_list(&entry, &root).expect("written");
        let after = "# This file\n\n# de_DE ISO-8859-1\nde_DE.UTF-8 UTF-8\n# fr_FR.UTF-8 UTF-8\n";
        assert_eq!(root.read_text("etc/locale.gen").expect("there"), after);
    }

    #[test]
    fn without_the_package_the_error_says_so() {
        let (dir, root) = tree();
        let name = LocaleName::parse("de_DE.UTF-8").expect("a name");
        let error = generate("de_DE.UTF-8", &name, &[], dir.path(), &root).expect_err("no package");
        assert!(error.to_string().contains("needs the package locales"), "{error}");
    }
}
