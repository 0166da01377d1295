//! How apt and dpkg behave in a container image: `apt.conf(5)`, `dpkg.cfg(5)`.
//!
//! What other images have and this one has not: the `docker-clean` hook, which empties apt's archive folder after
//! every command. It defeats cache mounts (`RUN --mount=type=cache,target=/var/cache/apt`), and whoever wants an
//! empty folder can say `apt-get clean`. `policy-rc.d` is left out too: it is a tool of the build, not a setting.

use anyhow::Result;

use crate::customise::locale::LocaleName;
use crate::plan::Plan;
use crate::root::Root;

/// Read after the files that packages ship, so that it wins.
const APT: &str = "etc/apt/apt.conf.d/90container";
const DPKG: &str = "etc/dpkg/dpkg.cfg.d/container";
/// What packages installed later leave out; says the same as the clean groups `docs` and `locale`.
const EXCLUDES: &str = "etc/dpkg/dpkg.cfg.d/excludes";

const APT_SETTINGS: &str = "\
// An index of translated descriptions is a download of its own for every repository.
Acquire::Languages \"none\";

// apt reads compressed indexes, which take a quarter of the space in a layer.
Acquire::GzipIndexes \"true\";

// What is only suggested by another package goes with autoremove.
APT::AutoRemove::SuggestsImportant \"false\";
";

const DPKG_SETTINGS: &str = "\
# A layer is complete or it is thrown away: syncing every file to the disk only costs time.
force-unsafe-io
";

/// Documentation. The folders `man[0-9]` stay: maintainer scripts put links into them and fail without (a Java
/// runtime does). They are spared by patterns that do not match them, not by a `path-include`, which would bring back
/// the links in them too (dpkg keeps every link below an include). Copyright files stay: licences ask for it.
const DOCS: &str = "\
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright*
path-exclude=/usr/share/man/*/*
path-exclude=/usr/share/man/[!m]*
path-exclude=/usr/share/man/m[!a]*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/overrides/*
path-exclude=/usr/share/linda/*
path-exclude=/usr/share/help/*
path-exclude=/usr/share/gnome/help/*
path-exclude=/usr/share/omf/*
path-exclude=/usr/share/gtk-doc/*
";

/// Message catalogues, those of Ubuntu's language packs too. `locale.alias` is no catalogue.
const CATALOGUES: &str = "\
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-exclude=/usr/share/locale-langpack/*
";

/// Writes the settings; those of apt only where apt is installed.
pub fn configure(plan: &Plan, has_apt: bool, root: &Root) -> Result<()> {
    if has_apt {
        root.create_dir_all("etc/apt/apt.conf.d", 0o755)?;
        root.write(APT, APT_SETTINGS, 0o644)?;
    }
    root.create_dir_all("etc/dpkg/dpkg.cfg.d", 0o755)?;
    root.write(DPKG, DPKG_SETTINGS, 0o644)?;
    match excludes(plan)? {
        text if text.is_empty() => root.remove_file(EXCLUDES).map(|_| ()),
        text => root.write(EXCLUDES, text, 0o644),
    }
}

/// The excludes for what the clean stage removes as well; a recipe that skips a clean group or a step of it wants
/// the files, now and later.
fn excludes(plan: &Plan) -> Result<String> {
    let cleaned = |group: &str| !plan.clean_skip.iter().any(|s| s.split('/').next() == Some(group));
    let mut text = String::new();
    if !plan.system.docs && cleaned("docs") {
        text.push_str(
            "# No documentation, as in the rest of the image. To have that of one package: remove this file and\n",
        );
        text.push_str("# install the package again.\n");
        text.push_str(DOCS);
    }
    if cleaned("locale") {
        text.push_str("# No message catalogues but those of the image's locale.\n");
        text.push_str(CATALOGUES);
        for catalogue in catalogues(&LocaleName::parse(&plan.system.locale)?) {
            for folder in ["locale", "locale-langpack"] {
                text.push_str(&format!("path-include=/usr/share/{folder}/{catalogue}/*\n"));
            }
        }
    }
    Ok(text)
}

/// The folders in which gettext looks for the messages of a locale: `sr_RS@latin`, `sr@latin`, `sr_RS`, `sr`.
fn catalogues(locale: &LocaleName) -> Vec<String> {
    if locale.base == "C" || locale.base == "POSIX" {
        return Vec::new();
    }
    let language = locale.base.split('_').next().unwrap_or_default();
    let mut folders = Vec::new();
    for base in [locale.base.as_str(), language] {
        if !locale.modifier.is_empty() {
            folders.push(format!("{base}@{}", locale.modifier));
        }
        folders.push(base.to_owned());
    }
    folders.sort();
    folders.dedup();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::deb::sources::tests::plan;

    #[test]
    fn excludes_follow_the_recipe() {
        let mut plan = plan(Vec::new());
        let text = excludes(&plan).expect("a locale");
        assert!(
            text.contains("path-exclude=/usr/share/doc/*\n") && text.contains("path-exclude=/usr/share/locale/*\n")
        );
        assert!(!text.contains("path-include=/usr/share/locale/C"));
        plan.system.locale = "sr_RS.UTF-8@latin".into();
        let text = excludes(&plan).expect("a locale");
        let kept: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("path-include=/usr/share/locale/")).collect();
        assert_eq!(kept, ["locale.alias", "sr/*", "sr@latin/*", "sr_RS/*", "sr_RS@latin/*"]);
        plan.system.docs = true;
        assert!(!excludes(&plan).expect("a locale").contains("/usr/share/doc"));
        plan.clean_skip = vec!["locale/messages".into()];
        assert_eq!(excludes(&plan).expect("a locale"), "");
        plan.system.docs = false;
        plan.clean_skip = vec!["docs".into(), "locale".into()];
        assert_eq!(excludes(&plan).expect("a locale"), "");
    }

    #[test]
    fn apt_is_configured_only_where_it_is() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = Root::open(dir.path()).expect("it opens");
        let plan = plan(Vec::new());
        configure(&plan, false, &root).expect("configured");
        assert!(!root.exists("etc/apt"));
        assert!(root.read_text(DPKG).expect("there").contains("\nforce-unsafe-io\n"));
        assert!(root.exists(EXCLUDES));
        configure(&plan, true, &root).expect("configured");
        let apt = root.read_text(APT).expect("there");
        assert!(apt.contains("Acquire::Languages \"none\";\n") && !apt.contains("DPkg::Post-Invoke"));
    }
}
