//! What dpkg, apt and debootstrap leave behind: the clean steps of Debian trees.

use std::path::Path;

use anyhow::Result;

use super::sshd;
use crate::clean::{Cleaner, Step};
use crate::root::{Kind, kind};

/// The clean steps of this family.
pub static STEPS: &[Step] = &[
    Step {
        name: "ssh/new-keys",
        sentence: "Where an ssh server is installed, additions to how it starts make the host keys that went.",
        run: sshd::new_keys,
    },
    Step {
        name: "id/iscsi",
        sentence: "The name of the iSCSI initiator, which open-iscsi then makes when it starts.",
        run: iscsi,
    },
    Step {
        name: "apt/lists",
        sentence: "Indexes of repositories: they are old on the day after, and `apt-get update` gets new ones.",
        run: |c| c.remove_unowned_content("var/lib/apt/lists"),
    },
    Step {
        name: "apt/archives",
        sentence: "Downloaded packages and their lock.",
        run: |c| c.remove_unowned_content("var/cache/apt/archives"),
    },
    Step {
        name: "apt/cache",
        sentence: "The binary caches pkgcache.bin and srcpkgcache.bin, which apt makes again.",
        run: apt_cache,
    },
    Step {
        name: "apt/state",
        sentence: "Stamps of periodic runs, states of front ends, and the list of kernels that autoremove spares.",
        run: apt_state,
    },
    Step {
        name: "dpkg/old",
        sentence: "The copies that dpkg and debconf keep of their databases before they change them, and daily backups.",
        run: dpkg_old,
    },
    Step {
        name: "dpkg/available",
        sentence: "The list of available packages and the access method of dselect, which nothing else reads.",
        run: |c| {
            c.remove_unowned("var/lib/dpkg/available")?;
            c.remove_unowned("var/lib/dpkg/cmethopt")
        },
    },
    Step { name: "dpkg/lock", sentence: "Lock files and working folders of dpkg.", run: dpkg_lock },
    Step {
        name: "dpkg/leftovers",
        sentence: "Files that dpkg and ucf put beside those they replaced: .dpkg-new, .dpkg-old, .ucf-dist and the like.",
        run: beside,
    },
    Step {
        name: "build/services",
        sentence: "What kept services from starting during the build: policy-rc.d, and programs diverted for stubs.",
        run: services,
    },
    Step {
        name: "build/apt",
        sentence: "Proxies and credentials of the build in the configuration of apt.",
        run: apt_configuration,
    },
    Step {
        name: "build/debootstrap",
        sentence: "The folder that debootstrap works in, and the fstab it writes, which says nothing.",
        run: debootstrap,
    },
];

/// The file must be there, or the daemon refuses to start; with this line it makes a name (open-iscsi's
/// `startup-checks.sh`).
fn iscsi(cleaner: &mut Cleaner<'_>) -> Result<()> {
    const PATH: &str = "etc/iscsi/initiatorname.iscsi";
    let is_named = |text: String| text.lines().any(|l| l.starts_with("InitiatorName="));
    if cleaner.root.read_text_if_there(PATH)?.is_some_and(is_named) {
        cleaner.write(PATH, "GenerateName=yes\n", 0o600)?;
    }
    Ok(())
}

fn apt_cache(cleaner: &mut Cleaner<'_>) -> Result<()> {
    // pkgcache.bin.XXXXXX: written by an apt that was killed.
    for path in cleaner.named("var/cache/apt", |n| n.starts_with("pkgcache.bin") || n.starts_with("srcpkgcache.bin"))? {
        cleaner.remove_unowned(path)?;
    }
    Ok(())
}

/// `extended_states` stays: it says which packages were asked for, and autoremove needs it.
fn apt_state(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for folder in ["var/lib/apt/periodic", "var/lib/apt/mirrors", "var/lib/apt/cdrom", "var/lib/aptitude"] {
        cleaner.remove_unowned_content(folder)?;
    }
    for path in cleaner.named("var/lib/apt", |n| n.starts_with("listchanges") || n == "daily_lock")? {
        cleaner.remove_unowned(path)?;
    }
    cleaner.remove_unowned("etc/apt/apt.conf.d/01autoremove-kernels")
}

fn dpkg_old(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for folder in ["var/lib/dpkg", "var/cache/debconf"] {
        for path in cleaner.named(folder, |name| name.ends_with("-old"))? {
            cleaner.remove_unowned(path)?;
        }
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let numbered = |name: &str| name.rsplit_once('.').is_some_and(|(_, end)| is_number(end));
    for path in cleaner.named("var/lib/ucf", numbered)? {
        cleaner.remove_unowned(path)?;
    }
    cleaner.remove_unowned_content("var/backups")
}

fn dpkg_lock(cleaner: &mut Cleaner<'_>) -> Result<()> {
    for path in ["lock", "lock-frontend", "triggers/Lock", "triggers/File.new", "tmp.ci", "reassemble.deb"] {
        cleaner.remove_unowned(Path::new("var/lib/dpkg").join(path))?;
    }
    for folder in ["var/lib/dpkg/updates", "var/lib/dpkg/parts", "var/cache/debconf/tmp.ci"] {
        cleaner.remove_unowned_content(folder)?;
    }
    Ok(())
}

fn beside(cleaner: &mut Cleaner<'_>) -> Result<()> {
    const ENDINGS: [&str; 11] = [
        ".dpkg-new",
        ".dpkg-old",
        ".dpkg-dist",
        ".dpkg-tmp",
        ".dpkg-bak",
        ".dpkg-backup",
        ".dpkg-remove",
        ".ucf-new",
        ".ucf-old",
        ".ucf-dist",
        ".ucftmp",
    ];
    for entry in cleaner.root.walk("")? {
        let name = entry.path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if entry.kind() != Kind::Dir && ENDINGS.iter().any(|end| name.len() > end.len() && name.ends_with(end)) {
            cleaner.remove_unowned(entry.path)?;
        }
    }
    Ok(())
}

/// The programs that builds divert to put a stub in their place.
const STUBBED: [&str; 6] = ["initctl", "invoke-rc.d", "start-stop-daemon", "systemctl", "ischroot", "update-initramfs"];
const DIVERSIONS: &str = "var/lib/dpkg/diversions";

fn services(cleaner: &mut Cleaner<'_>) -> Result<()> {
    const POLICY: &str = "usr/sbin/policy-rc.d";
    // A link leads to an alternative that a package provides.
    if cleaner.lstat(POLICY)?.is_some_and(|s| kind(&s) == Kind::File) {
        cleaner.remove_unowned(POLICY)?;
    }
    let Some(text) = cleaner.root.read_text_if_there(DIVERSIONS)? else { return Ok(()) };
    let lines: Vec<&str> = text.lines().collect();
    let mut kept = String::new();
    // Three lines each: the path, where it went, and the package; `:` is the administrator (dpkg-divert(1)).
    for diversion in lines.chunks(3) {
        match diversion {
            [path, to, ":"] if Path::new(path).file_name().is_some_and(|n| STUBBED.iter().any(|s| n == *s)) => {
                cleaner.rename(to.trim_start_matches('/'), path.trim_start_matches('/'))?;
            }
            _ => diversion.iter().for_each(|line| {
                kept.push_str(line);
                kept.push('\n');
            }),
        }
    }
    if kept == text { Ok(()) } else { cleaner.write(DIVERSIONS, &kept, 0o644) }
}

/// Whether a line of apt.conf(5) sets a proxy: `Acquire::http::Proxy "…";`, of one host too.
fn is_proxy(line: &str) -> bool {
    let name = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    name.starts_with("acquire::") && name.contains("::proxy")
}

fn apt_configuration(cleaner: &mut Cleaner<'_>) -> Result<()> {
    let mut files = cleaner.named("etc/apt/apt.conf.d", |_| true)?;
    files.push("etc/apt/apt.conf".into());
    for path in files {
        if cleaner.is_kept(&path) || cleaner.lstat(&path)?.is_none_or(|s| kind(&s) != Kind::File) {
            continue;
        }
        let text = cleaner.root.read_text(&path)?;
        let kept: String = text.split_inclusive('\n').filter(|line| !is_proxy(line)).collect();
        let says_nothing = kept.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with(['#', '/']));
        if kept == text {
            continue;
        }
        if says_nothing { cleaner.remove_unowned(path)? } else { cleaner.write(path, &kept, 0o644)? }
    }
    cleaner.remove_unowned("etc/apt/auth.conf")?;
    cleaner.remove_unowned_content("etc/apt/auth.conf.d")
}

fn debootstrap(cleaner: &mut Cleaner<'_>) -> Result<()> {
    const FSTAB: &str = "etc/fstab";
    cleaner.remove_unowned("debootstrap")?;
    if cleaner.root.read_text_if_there(FSTAB)?.is_some_and(|text| text.trim() == "# UNCONFIGURED FSTAB FOR BASE SYSTEM")
    {
        cleaner.remove_unowned(FSTAB)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::testing::{Tree, assert_well_formed};

    #[test]
    fn names_and_sentences() {
        assert_well_formed(STEPS.iter().map(|s| (s.name, s.sentence)));
        assert!(STEPS.iter().all(|s| crate::clean::GROUPS.contains(&s.group())));
    }

    #[test]
    fn contents_go_and_folders_of_packages_stay() {
        // Step, a file that goes, one beside it that stays.
        let cases = [
            ("apt/lists", "var/lib/apt/lists/example.org_InRelease", "var/lib/apt/lists/partial/."),
            ("apt/lists", "var/lib/apt/lists/auxfiles/x", "var/lib/apt/lists/partial/."),
            ("apt/archives", "var/cache/apt/archives/a_1_amd64.deb", "var/cache/apt/archives/partial/."),
            ("apt/cache", "var/cache/apt/pkgcache.bin", "var/cache/apt/archives/."),
            ("apt/state", "etc/apt/apt.conf.d/01autoremove-kernels", "etc/apt/apt.conf.d/01autoremove"),
            ("apt/state", "var/lib/apt/listchanges.db", "var/lib/apt/extended_states"),
            ("dpkg/old", "var/lib/dpkg/status-old", "var/lib/dpkg/status"),
            ("dpkg/old", "var/cache/debconf/templates.dat-old", "var/cache/debconf/templates.dat"),
            ("dpkg/old", "var/lib/ucf/registry.0", "var/lib/ucf/registry"),
            ("dpkg/old", "var/backups/dpkg.status.0", "var/backups/."),
            ("dpkg/available", "var/lib/dpkg/available", "var/lib/dpkg/status"),
            ("dpkg/available", "var/lib/dpkg/cmethopt", "var/lib/dpkg/status"),
            ("dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/dpkg/status"),
            ("dpkg/lock", "var/lib/dpkg/triggers/Lock", "var/lib/dpkg/triggers/File"),
            ("dpkg/leftovers", "etc/adduser.conf.dpkg-dist", "etc/adduser.conf"),
            ("dpkg/leftovers", "etc/x.ucf-old", "etc/.dpkg-old"),
            ("build/services", "usr/sbin/policy-rc.d", "usr/sbin/invoke-rc.d"),
            ("build/apt", "etc/apt/auth.conf.d/corp.conf", "etc/apt/auth.conf.d/."),
            ("build/debootstrap", "debootstrap/debootstrap.log", "usr/share/x"),
        ];
        for (step, goes, stays) in cases {
            let mut tree = Tree::new();
            let folder = stays.trim_end_matches("/.");
            if folder == stays {
                tree.file(stays, "x");
            } else {
                tree.folder(folder).mode(folder, 0o700).owns(folder);
            }
            tree.file(goes, "x");
            tree.step(STEPS, step);
            assert!(!tree.has(goes), "{step}: {goes}");
            assert!(tree.has(folder), "{step}: {folder}");
            if folder != stays {
                assert_eq!(tree.mode_of(folder), 0o700);
            }
            tree.file(goes, "x").owns(goes);
            tree.step(STEPS, step);
            assert!(tree.has(goes), "{step}: {goes} is a package's");
        }
    }

    #[test]
    fn initiator_gets_its_name_later() {
        const PATH: &str = "etc/iscsi/initiatorname.iscsi";
        let mut tree = Tree::new();
        assert_eq!(tree.step(STEPS, "id/iscsi"), [""; 0]);
        tree.file(PATH, "## note\nInitiatorName=iqn.1993-08.org.debian:01:abcd\n").mode(PATH, 0o600);
        tree.step(STEPS, "id/iscsi");
        assert_eq!((tree.text(PATH).as_str(), tree.mode_of(PATH)), ("GenerateName=yes\n", 0o600));
    }

    #[test]
    fn stubs_give_way_to_the_programs_they_stand_for() {
        let mut tree = Tree::new();
        tree.file("sbin/initctl", "stub").file("sbin/initctl.distrib", "real").file("usr/bin/own.distrib", "o");
        let others = "/lib64/a\n/lib64/a.real\nlibc6\n/usr/bin/own\n/usr/bin/own.distrib\n:\n";
        tree.file(DIVERSIONS, &format!("/sbin/initctl\n/sbin/initctl.distrib\n:\n{others}"));
        tree.step(STEPS, "build/services");
        assert_eq!(tree.text("sbin/initctl"), "real");
        assert!(!tree.has("sbin/initctl.distrib") && tree.has("usr/bin/own.distrib"));
        assert_eq!(tree.text(DIVERSIONS), others);
    }

    #[test]
    fn only_the_fstab_that_says_nothing_goes() {
        let mut tree = Tree::new();
        tree.file("etc/fstab", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\ntmpfs /tmp tmpfs\n");
        assert_eq!(tree.step(STEPS, "build/debootstrap"), [""; 0]);
        tree.file("etc/fstab", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n");
        assert_eq!(tree.step(STEPS, "build/debootstrap"), ["etc/fstab"]);
    }

    #[test]
    fn an_alternative_for_policy_rc_d_stays() {
        let mut tree = Tree::new();
        tree.link("/etc/alternatives/policy-rc.d", "usr/sbin/policy-rc.d");
        assert_eq!(tree.step(STEPS, "build/services"), [""; 0]);
    }

    #[test]
    fn proxies_go_from_apts_configuration() {
        let mut tree = Tree::new();
        let proxy = "Acquire::http::Proxy \"http://u:p@10.0.0.1:3142\";\n";
        tree.file(
            "etc/apt/apt.conf.d/01proxy",
            &format!("# build\n{proxy}acquire::https::proxy::example.org DIRECT;\n"),
        );
        tree.file("etc/apt/apt.conf.d/02mixed", &format!("{proxy}APT::Install-Suggests \"0\";\n"));
        tree.file("etc/apt/apt.conf.d/03mine", proxy).places("etc/apt/apt.conf.d/03mine");
        tree.file("etc/apt/apt.conf.d/04comment", "# nothing\n");
        tree.step(STEPS, "build/apt");
        assert!(!tree.has("etc/apt/apt.conf.d/01proxy") && tree.has("etc/apt/apt.conf.d/04comment"));
        assert_eq!(tree.text("etc/apt/apt.conf.d/02mixed"), "APT::Install-Suggests \"0\";\n");
        assert_eq!(tree.text("etc/apt/apt.conf.d/03mine"), proxy);
    }
}
