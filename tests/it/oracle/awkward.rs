//! What is installed besides the base: packages of every kind that is hard to install.

use std::path::Path;

/// Packages that are awkward to install. [`COVERED`] says what for.
pub const AWKWARD: &[&str] = &[
    "ca-certificates",
    "cron",
    "dbus",
    "exim4-daemon-light",
    "fping",
    "iputils-ping",
    "locales",
    "man-db",
    "mksh",
    "molly-guard",
    "nagios-nrpe-server",
    "openssh-server",
    "python3-minimal",
    "sudo",
    "systemd-sysv",
    "tzdata",
    "vim-tiny",
    "xml-core",
];

/// A way of being awkward, and how a tree shows it.
pub struct Covered {
    pub what: &'static str,
    pub shown: fn(&Path) -> bool,
}

#[rustfmt::skip]
pub const COVERED: &[Covered] = &[
    Covered { what: "configuration files", shown: |tree| has_line(tree, STATUS, "Conffiles:") },
    Covered { what: "configuration files that scripts make", shown: |tree| tree.join("etc/ssh/sshd_config").exists() },
    Covered { what: "a diversion", shown: |tree| has_line(tree, "var/lib/dpkg/diversions", "molly-guard") },
    Covered { what: "an alternative", shown: |tree| leads(tree, "etc/alternatives/vi", "vim.tiny") },
    Covered { what: "a file trigger that is awaited", shown: |tree| has_line(tree, "var/lib/dpkg/triggers/File", "/etc/sgml sgml-base") },
    Covered { what: "a file trigger that is not awaited", shown: |tree| has_line(tree, "var/lib/dpkg/triggers/File", "/usr/lib/systemd/catalog systemd/noawait") },
    Covered { what: "a named trigger that is awaited", shown: |tree| has_line(tree, "var/lib/dpkg/info/xml-core.triggers", "activate-await update-sgmlcatalog") },
    Covered { what: "a named trigger that is not awaited", shown: |tree| has_line(tree, "var/lib/dpkg/info/libdbus-1-3:amd64.triggers", "activate-noawait ldconfig") },
    Covered { what: "a trigger of the base", shown: |tree| has_line(tree, "etc/shells", "/bin/mksh") },
    Covered { what: "a debconf question", shown: |tree| has_line(tree, "var/cache/debconf/config.dat", "Owners: locales") },
    Covered { what: "a statoverride", shown: |tree| has_line(tree, "var/lib/dpkg/statoverride", "root ") },
    Covered { what: "a file capability", shown: |tree| matches!(xattr::get(tree.join("usr/bin/fping"), "security.capability"), Ok(Some(_))) },
    Covered { what: "a systemd unit", shown: |tree| leads(tree, "etc/systemd/system/multi-user.target.wants/cron.service", "cron.service") },
    Covered { what: "update-rc.d", shown: |tree| leads(tree, "etc/rc2.d/S01cron", "../init.d/cron") },
    Covered { what: "an account of a preinst", shown: |tree| has_line(tree, "etc/passwd", "nagios:") },
    Covered { what: "an account of a postinst", shown: |tree| has_line(tree, "etc/passwd", "sshd:") },
    Covered { what: "a chain of Pre-Depends", shown: |tree| has_line(tree, STATUS, "Pre-Depends: systemd") && has_line(tree, STATUS, "Pre-Depends: libblkid1") },
    Covered { what: "Conflicts", shown: |tree| has_line(tree, STATUS, "Conflicts: mail-transport-agent") },
    Covered { what: "Replaces", shown: |tree| has_line(tree, STATUS, "Replaces: ") },
    Covered { what: "Breaks", shown: |tree| has_line(tree, STATUS, "Breaks: ") },
    Covered { what: "Multi-Arch: same", shown: |tree| has_line(tree, STATUS, "Multi-Arch: same") },
    Covered { what: "Multi-Arch: foreign", shown: |tree| has_line(tree, STATUS, "Multi-Arch: foreign") },
];

const STATUS: &str = "var/lib/dpkg/status";

/// A file of the tree has a line that begins so.
fn has_line(tree: &Path, path: &str, start: &str) -> bool {
    std::fs::read_to_string(tree.join(path)).is_ok_and(|text| text.lines().any(|line| line.starts_with(start)))
}

/// A link of the tree has a target that ends so.
fn leads(tree: &Path, path: &str, end: &str) -> bool {
    std::fs::read_link(tree.join(path)).is_ok_and(|target| target.ends_with(end))
}
