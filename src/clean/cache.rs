//! Caches that are made again, or that nothing needs at run time.

use anyhow::Result;

use super::{Cleaner, Step};

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "cache/ldconfig",
        sentence: "The auxiliary cache that ldconfig keeps for itself, with inode numbers of the build's file system.",
        run: |c| c.remove_unowned("var/cache/ldconfig/aux-cache"),
    },
    Step {
        name: "cache/man",
        sentence: "The index of the manual pages.",
        run: |c| c.remove_unowned_content("var/cache/man"),
    },
    Step {
        name: "cache/fontconfig",
        sentence: "Lists of fonts, made again by the first program that looks for one.",
        run: fontconfig,
    },
    Step {
        name: "cache/icons",
        sentence: "Indexes of icon themes, without which programs read the theme itself.",
        run: icons,
    },
    Step {
        name: "cache/mime",
        sentence: "The packed table of file types, without which programs read the tables it is made of.",
        run: |c| c.remove_unowned("usr/share/mime/mime.cache"),
    },
];

fn fontconfig(cleaner: &mut Cleaner<'_>) -> Result<()> {
    cleaner.remove_unowned_content("var/cache/fontconfig")?;
    for home in cleaner.homes()? {
        cleaner.remove_unowned(home.join(".cache/fontconfig"))?;
    }
    Ok(())
}

fn icons(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for (theme, _) in cleaner.entries("usr/share/icons")? {
        cleaner.remove_unowned(theme.join("icon-theme.cache"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::STEPS;

    #[test]
    fn caches_go_and_their_folders_stay() {
        let cases = [
            ("cache/ldconfig", "var/cache/ldconfig", "aux-cache", 0o700),
            ("cache/man", "var/cache/man", "index.db", 0o2755),
            ("cache/fontconfig", "var/cache/fontconfig", "0123.cache-9", 0o755),
            ("cache/icons", "usr/share/icons/hicolor", "icon-theme.cache", 0o755),
            ("cache/mime", "usr/share/mime", "mime.cache", 0o755),
        ];
        for (step, folder, name, mode) in cases {
            let mut tree = Tree::new();
            let path = format!("{folder}/{name}");
            let owned = format!("{folder}/shipped");
            tree.file(&path, "x").file(&owned, "x").mode(folder, mode).owns(folder).owns(&owned);
            assert_eq!(tree.step(STEPS, step), [path]);
            assert_eq!(tree.mode_of(folder), mode);
            assert!(tree.has(&owned));
        }
    }
}
