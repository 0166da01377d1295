//! Takes one folder out of a package file without installing it.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::super::archive::Deb;
use crate::family::members::Kind;

/// Writes the regular files and folders below `prefix` in `deb` to `to`, which must not exist. Links and devices are
/// left out, so that nothing written can lead elsewhere. A package without such a folder is an error.
pub fn extract_subtree(deb: &Path, prefix: &Path, to: &Path) -> Result<()> {
    make_dir(to)?;
    let mut found = false;
    Deb::open(deb)?.members(|member, content| {
        let Ok(below) = member.path.strip_prefix(prefix) else { return Ok(()) };
        let target = to.join(below);
        match member.kind {
            Kind::Dir => make_dir(&target),
            Kind::File => {
                found = true;
                if let Some(parent) = target.parent() {
                    make_dir(parent)?;
                }
                // create_new: a second member of the same name is not to be trusted.
                let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&target);
                let written = file.and_then(|mut file| io::copy(content, &mut file));
                written.with_context(|| format!("writing {}", target.display())).map(drop)
            }
            _ => Ok(()),
        }
    })?;
    if !found {
        bail!("{} has no /{}", deb.display(), prefix.display());
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.with_context(|| format!("making the folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::super::deb_maker::{Entry, deb};
    use super::*;

    fn extract(data: &[Entry]) -> (tempfile::TempDir, Result<()>) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = deb(dir.path(), "Package: locales\n", &[], data);
        let result = extract_subtree(&file, Path::new("usr/share/i18n"), &dir.path().join("out"));
        (dir, result)
    }

    #[test]
    fn only_the_folder_comes_out() {
        let (dir, result) = extract(&[
            Entry::dir("./usr/share/"),
            Entry::dir("./usr/share/i18n/"),
            Entry::file("./usr/share/i18n/SUPPORTED", "de_DE UTF-8"),
            Entry::file("usr/share/i18n/locales/de_DE", "source"),
            Entry::link("./usr/share/i18n/link", "/etc"),
            Entry::file("./usr/share/i18nx/file", "other"),
            Entry::file("./etc/locale.alias", "other"),
        ]);
        result.expect("it is there");
        let out = dir.path().join("out");
        assert_eq!(std::fs::read_to_string(out.join("SUPPORTED")).expect("there"), "de_DE UTF-8");
        assert_eq!(std::fs::read_to_string(out.join("locales/de_DE")).expect("there"), "source");
        assert!(out.join("link").symlink_metadata().is_err());
        assert_eq!(std::fs::read_dir(&out).expect("a folder").count(), 2);
    }

    #[test]
    fn hostile_packages_are_refused() {
        let (dir, result) = extract(&[Entry::file("./usr/share/i18n/../../../../escaped", "x")]);
        result.expect_err("a path out of it");
        assert!(!dir.path().join("escaped").exists());
        let twice = [Entry::file("usr/share/i18n/a", "x"), Entry::file("usr/share/i18n/a", "y")];
        extract(&twice).1.expect_err("a name twice");
        let (dir, result) = extract(&[Entry::link("usr/share/i18n/a", "/tmp"), Entry::file("usr/share/i18n/a/b", "y")]);
        result.expect("the link is left out");
        assert!(dir.path().join("out/a").is_dir() && !dir.path().join("out/a").is_symlink());
        let error = extract(&[Entry::file("usr/other", "x")]).1.expect_err("no such folder");
        assert!(error.to_string().contains("has no /usr/share/i18n"), "{error}");
        extract(&[Entry::file("usr/share/i18n/a", "x").says(5000)]).1.expect_err("cut off");
    }
}
