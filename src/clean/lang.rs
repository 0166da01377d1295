//! Download caches and by-products of language package managers, for every home folder and the system.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Cleaner, Step};
use crate::root::Kind;

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "lang/pip",
        sentence: "What pip, pipx, uv and poetry downloaded or built.",
        run: |c| caches(c, &[".cache/pip", ".cache/pipx", ".cache/uv", ".cache/pypoetry"], &["var/cache/pip"]),
    },
    Step {
        name: "lang/npm",
        sentence: "What npm, yarn, pnpm and node-gyp downloaded or logged.",
        run: |c| {
            let home = [
                ".npm",
                ".node-gyp",
                ".cache/node-gyp",
                ".cache/node",
                ".cache/yarn",
                ".cache/pnpm",
                ".yarn/berry/cache",
                "node_modules/.cache",
            ];
            caches(c, &home, &["usr/local/share/.cache/yarn"])
        },
    },
    Step {
        name: "lang/gem",
        sentence: "Packed gems and indexes that RubyGems and Bundler keep beside what they installed.",
        run: gem,
    },
    Step {
        name: "lang/cpan",
        sentence: "What cpan, cpanminus and cpanplus downloaded or built.",
        run: |c| caches(c, &[".cpan/build", ".cpan/sources", ".cpan/Metadata", ".cpanm", ".cpanplus/authors"], &[]),
    },
    Step {
        name: "lang/rvm",
        sentence: "Archives, sources and logs of rvm.",
        run: |c| {
            let home = [".rvm/archives", ".rvm/log", ".rvm/src", ".rvm/tmp"];
            let system = ["usr/local/rvm/archives", "usr/local/rvm/log", "usr/local/rvm/src", "usr/local/rvm/tmp"];
            caches(c, &home, &system)
        },
    },
    Step {
        name: "lang/composer",
        sentence: "What composer downloaded.",
        run: |c| caches(c, &[".composer/cache", ".cache/composer"], &[]),
    },
    Step {
        name: "lang/go",
        sentence: "What go compiled and the modules it downloaded.",
        run: |c| caches(c, &[".cache/go-build", "go/pkg/mod", "go/pkg/sumdb"], &[]),
    },
    Step {
        name: "lang/cargo",
        sentence: "Registries and sources that cargo downloaded; installed programs stay.",
        run: |c| {
            let home = [".cargo/registry", ".cargo/git", ".cargo/.package-cache"];
            let system = ["usr/local/cargo/registry", "usr/local/cargo/git", "usr/local/cargo/.package-cache"];
            caches(c, &home, &system)
        },
    },
    Step {
        name: "lang/pycache",
        sentence: "Compiled Python that no package owns: it holds times of the build, and python makes it again.",
        run: pycache,
    },
];

/// Removes what is below each home folder and below the root, and the folders that hold nothing else.
fn caches(cleaner: &mut Cleaner<'_>, home: &[&str], system: &[&str]) -> Result<()> {
    for folder in cleaner.homes()? {
        for path in home {
            let path = folder.join(path);
            if cleaner.lstat(&path)?.is_none() {
                continue;
            }
            cleaner.remove_unowned(&path)?;
            let above = path.ancestors().skip(1).take_while(|p| *p != folder);
            above.map(Path::to_path_buf).collect::<Vec<_>>().iter().try_for_each(|p| cleaner.remove_if_empty(p))?;
        }
    }
    system.iter().try_for_each(|path| cleaner.remove_unowned(path))
}

fn gem(cleaner: &mut Cleaner<'_>) -> Result<()> {
    caches(cleaner, &[".gem/specs", ".local/share/gem/specs", ".bundle/cache", ".cache/gem"], &[])?;
    // GEM_HOME is one folder an ABI version: /var/lib/gems/3.3.0/cache/NAME.gem.
    let mut tops = vec![PathBuf::from("var/lib/gems"), "usr/local/lib/ruby/gems".into()];
    for home in cleaner.homes()? {
        tops.extend([home.join(".gem/ruby"), home.join(".local/share/gem/ruby")]);
    }
    let mut caches = vec![PathBuf::from("usr/local/bundle/cache")];
    for top in tops {
        caches.extend(cleaner.entries(&top)?.into_iter().map(|(version, _)| version.join("cache")));
    }
    for cache in caches {
        for gem in cleaner.named(cache, |name| name.ends_with(".gem"))? {
            cleaner.remove_unowned(gem)?;
        }
    }
    Ok(())
}

fn pycache(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for entry in cleaner.root.walk("")? {
        if entry.kind() == Kind::Dir && entry.path.ends_with("__pycache__") {
            cleaner.remove_unowned(entry.path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::STEPS;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        tree.file("etc/passwd", "root:x:0:0::/root:\napp:x:1000:1000::/home/app:\n");
        tree.folder("root").folder("home/app");
        tree
    }

    #[test]
    fn caches_of_every_home_go_and_the_rest_stays() {
        let cases = [
            ("lang/pip", ".cache/pip/http/x", ".local/bin/tool"),
            ("lang/npm", ".npm/_cacache/x", ".npmrc"),
            ("lang/gem", ".gem/specs/x", ".gem/credentials"),
            ("lang/cpan", ".cpan/build/x", ".cpan/CPAN/MyConfig.pm"),
            ("lang/rvm", ".rvm/archives/x", ".rvm/rubies/x"),
            ("lang/composer", ".composer/cache/x", ".composer/auth.json"),
            ("lang/go", "go/pkg/mod/x", "go/bin/tool"),
            ("lang/cargo", ".cargo/registry/x", ".cargo/bin/tool"),
        ];
        for (step, gone, stays) in cases {
            let mut tree = tree();
            for home in ["root", "home/app"] {
                tree.file(&format!("{home}/{gone}"), "x").file(&format!("{home}/{stays}"), "x");
            }
            assert!(!tree.step(STEPS, step).is_empty());
            for home in ["root", "home/app"] {
                assert!(!tree.has(&format!("{home}/{gone}")), "{step}");
                assert!(tree.has(&format!("{home}/{stays}")), "{step}");
            }
        }
    }

    #[test]
    fn an_empty_folder_above_goes_too() {
        let mut tree = tree();
        tree.file("root/.cache/pip/x", "x").file("home/app/.cache/pip/x", "x").file("home/app/.cache/mine", "x");
        tree.step(STEPS, "lang/pip");
        assert!(tree.has("root") && !tree.has("root/.cache") && tree.has("home/app/.cache/mine"));
    }

    #[test]
    fn packed_gems_go_and_installed_ones_stay() {
        let mut tree = tree();
        tree.file("var/lib/gems/3.3.0/cache/a-1.gem", "x").file("var/lib/gems/3.3.0/gems/a-1/a.rb", "x");
        tree.file("root/.local/share/gem/ruby/3.3.0/cache/a-1.gem", "x");
        assert_eq!(tree.step(STEPS, "lang/gem").len(), 2);
        assert!(tree.has("var/lib/gems/3.3.0/gems/a-1/a.rb") && tree.has("var/lib/gems/3.3.0/cache"));
    }

    #[test]
    fn compiled_python_goes_unless_a_package_ships_it() {
        let mut tree = tree();
        tree.file("usr/lib/python3/a.py", "").file("usr/lib/python3/__pycache__/a.cpython-313.pyc", "x");
        tree.file("opt/x/__pycache__/b.pyc", "x").owns("opt/x/__pycache__/b.pyc").owns("opt/x/__pycache__");
        let gone = ["usr/lib/python3/__pycache__/a.cpython-313.pyc", "usr/lib/python3/__pycache__"];
        assert_eq!(tree.step(STEPS, "lang/pycache"), gone);
        assert!(tree.has("opt/x/__pycache__/b.pyc") && tree.has("usr/lib/python3/a.py"));
    }
}
