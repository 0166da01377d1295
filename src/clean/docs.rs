//! Documentation, unless the recipe keeps it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::cleaner::resolve;
use super::{Cleaner, Step};
use crate::root::{Kind, Root};

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "docs/doc",
        sentence: "Documentation in /usr/share/doc; copyright files stay, as licences ask.",
        run: |c| if c.system.docs { Ok(()) } else { doc(c) },
    },
    Step {
        name: "docs/man",
        sentence: "Manual pages; the man[0-9] folders stay, because packages fail to install without them.",
        run: |c| if c.system.docs { Ok(()) } else { c.remove_content_but(MAN, &is_section) },
    },
    Step {
        name: "docs/info",
        sentence: "Info pages and their directory.",
        run: |c| if c.system.docs { Ok(()) } else { c.remove_content(INFO) },
    },
    Step {
        name: "docs/help",
        sentence: "Help pages of desktops, and what package checkers may overlook.",
        run: |c| if c.system.docs { Ok(()) } else { HELP.iter().try_for_each(|path| c.remove_content(path)) },
    },
];

const DOC: &str = "usr/share/doc";
const MAN: &str = "usr/share/man";
const INFO: &str = "usr/share/info";
const HELP: [&str; 6] = [
    "usr/share/help",
    "usr/share/gnome/help",
    "usr/share/omf",
    "usr/share/gtk-doc",
    "usr/share/linda",
    "usr/share/lintian/overrides",
];

/// Whether a path below the root is documentation that an image without `system.docs` does not have.
pub fn is_documentation(path: &Path) -> bool {
    (path.starts_with(DOC) && !is_copyright(path))
        || [MAN, INFO].iter().chain(&HELP).any(|folder| path.starts_with(folder))
}

fn is_section(path: &Path) -> bool {
    let section = path.strip_prefix(MAN).ok().and_then(Path::to_str).and_then(|name| name.strip_prefix("man"));
    section.is_some_and(|digit| digit.len() == 1 && digit.bytes().all(|b| b.is_ascii_digit()))
}

fn is_copyright(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|name| name.starts_with("copyright"))
}

fn doc(cleaner: &mut Cleaner<'_>) -> Result<()> {
    let keep = licences(cleaner.root)?;
    cleaner.remove_content_but(DOC, &|path| keep.contains(path))
}

/// The copyright files, what they link to, and the links by which a package shares the folder of another.
fn licences(root: &Root) -> Result<BTreeSet<PathBuf>> {
    let mut keep = BTreeSet::new();
    for entry in root.walk(DOC)? {
        let is_package = entry.path.parent() == Some(Path::new(DOC));
        let target = if entry.kind() == Kind::Link { resolve(root, &entry.path)? } else { None };
        let leads_to_folder = match &target {
            Some(target) => root.stat(target)?.is_some_and(|s| crate::root::kind(&s) == Kind::Dir),
            None => false,
        };
        if is_copyright(&entry.path) && entry.kind() != Kind::Dir {
            keep.extend(target);
            keep.insert(entry.path);
        } else if is_package && leads_to_folder {
            keep.insert(entry.path);
        }
    }
    Ok(keep)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::*;

    #[test]
    fn documentation_goes_and_licences_stay() {
        let mut tree = Tree::new();
        tree.file("usr/share/doc/a/copyright", "c").file("usr/share/doc/a/changelog.gz", "x").owns("usr/share/doc/a");
        tree.file("usr/share/doc/a/examples/x", "x")
            .link("a", "usr/share/doc/b")
            .link("README", "usr/share/doc/a/link");
        tree.link("../a/LICENCE", "usr/share/doc/c/copyright").file("usr/share/doc/a/LICENCE", "l");
        tree.file("usr/share/doc/local/README", "x").link("nowhere", "usr/share/doc/d");
        tree.step(STEPS, "docs/doc");
        let left: Vec<String> =
            tree.root.walk(DOC).expect("a walk").iter().map(|e| e.path.display().to_string()).collect();
        let names = ["a", "a/LICENCE", "a/copyright", "b", "c", "c/copyright"];
        assert_eq!(left, names.map(|n| format!("{DOC}/{n}")));
    }

    #[test]
    fn manual_pages_go_and_sections_stay() {
        let mut tree = Tree::new();
        tree.file("usr/share/man/man1/a.1.gz", "x").file("usr/share/man/de/man1/a.1.gz", "x");
        tree.file("usr/share/man/fr/man1/a.1.gz", "x").owns("usr/share/man/fr").mode("usr/share/man/man1", 0o755);
        tree.step(STEPS, "docs/man");
        assert!(!tree.has("usr/share/man/man1/a.1.gz") && !tree.has("usr/share/man/de"));
        assert!(tree.has("usr/share/man/fr") && tree.mode_of("usr/share/man/man1") == 0o755);
    }

    #[test]
    fn info_and_help_go() {
        for (step, path) in [("docs/info", "usr/share/info/dir"), ("docs/help", "usr/share/omf/a/a.omf")] {
            let mut tree = Tree::new();
            tree.file(path, "x");
            assert!(!tree.step(STEPS, step).is_empty());
            assert!(!tree.has(path) && tree.has("usr/share"));
        }
    }

    #[test]
    fn all_of_it_stays_when_the_recipe_says_so() {
        let mut tree = Tree::new();
        tree.system.docs = true;
        tree.file("usr/share/doc/a/README", "x").file("usr/share/man/man1/a.1", "x").file("usr/share/info/dir", "x");
        tree.file("usr/share/omf/a", "x");
        for step in STEPS {
            assert_eq!(tree.step(STEPS, step.name), [""; 0], "{}", step.name);
        }
    }

    #[test]
    fn paths_of_documentation() {
        for (path, answer) in [
            ("usr/share/doc/a/README", true),
            ("usr/share/doc/a/copyright", false),
            ("usr/share/man/man1/a.1.gz", true),
            ("usr/share/lintian/overrides/a", true),
            ("usr/share/documents/a", false),
        ] {
            assert_eq!(is_documentation(Path::new(path)), answer, "{path}");
        }
    }
}
