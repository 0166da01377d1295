//! New host keys where the ssh server starts, because the image has none.
//!
//! Debian makes them only while the package is set up. No conffile is changed for it: an upgrade would ask about it,
//! and `dpkg --verify` would name it. systemd gets a drop-in a unit. Without systemd (in most containers) the init
//! script sources `/lib/lsb/init-functions`, and that sources each file of `/lib/lsb/init-functions.d`, the place for
//! such additions. `sshd` started by hand runs neither: `ssh-keygen -A` before it does the same (and `mkdir -p /run/sshd`
//! before Debian 13, which declares that folder in tmpfiles.d).

use anyhow::Result;

use crate::clean::Cleaner;
use crate::family::host_keys::{MAKE, WHY, drop_in};

const SERVER: &str = "usr/sbin/sshd";
const UNITS: &str = "lib/systemd/system";
const INIT_SCRIPT: &str = "etc/init.d/ssh";
const INIT_FUNCTIONS: &str = "lib/lsb/init-functions";
/// A name that `run-parts --lsbsysinit` takes.
const HOOK: &str = "10-ssh-host-keys";

/// The clean step `ssh/new-keys`.
pub(super) fn new_keys(cleaner: &mut Cleaner<'_>) -> Result<()> {
    if !cleaner.root.exists(SERVER) {
        return Ok(());
    }
    // The service tests its settings before it starts, which fails without keys: the list begins anew, keys first.
    let service =
        format!("{WHY}\n[Service]\nExecStartPre=\nExecStartPre=/bin/sh -c '{MAKE}'\nExecStartPre=/usr/sbin/sshd -t\n");
    let connection = format!("{WHY}\n[Service]\nExecStartPre=/bin/sh -c '{MAKE}'\n");
    for (unit, text) in [("ssh.service", &service), ("ssh@.service", &connection), ("sshd@.service", &connection)] {
        let is_unit = cleaner.root.lstat(format!("{UNITS}/{unit}"))?.is_some();
        if is_unit {
            cleaner.write(drop_in(unit), text, 0o644)?;
        }
    }
    if cleaner.root.exists(INIT_SCRIPT) && cleaner.root.exists(INIT_FUNCTIONS) {
        let hook = format!(
            "{WHY}\n# Sourced by init scripts: $0 and $1 are theirs.\ncase \"${{0##*/}} ${{1:-}}\" in\n    \
             ssh\\ start | ssh\\ restart | ssh\\ force-reload | [SK][0-9][0-9]ssh\\ start)\n        {MAKE}\n        ;;\nesac\n"
        );
        cleaner.write(format!("{INIT_FUNCTIONS}.d/{HOOK}"), &hook, 0o644)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::testing::Tree;

    const HOOK_PATH: &str = "lib/lsb/init-functions.d/10-ssh-host-keys";

    #[test]
    fn nothing_without_a_server() {
        let mut tree = Tree::new();
        tree.file("lib/lsb/init-functions", "").file("etc/init.d/ssh", "");
        assert_eq!(tree.clean(new_keys), [""; 0]);
    }

    #[test]
    fn every_way_the_server_starts_gets_its_addition() {
        let mut tree = Tree::new();
        tree.file("usr/sbin/sshd", "").file("lib/systemd/system/ssh.service", "").file("etc/init.d/ssh", "");
        tree.file("lib/systemd/system/sshd@.service", "").file("lib/lsb/init-functions", "");
        let made = [
            "etc/systemd/system/ssh.service.d/10-host-keys.conf",
            "etc/systemd/system/sshd@.service.d/10-host-keys.conf",
            HOOK_PATH,
        ];
        assert_eq!(tree.clean(new_keys), made);
        let service = tree.text(made[0]);
        let place = |what: &str| service.find(what).expect(what);
        assert!(place("ExecStartPre=\n") < place("ssh-keygen -A") && place("ssh-keygen -A") < place("sshd -t"));
    }

    #[test]
    fn the_hook_makes_keys_for_the_right_script_only() {
        let mut tree = Tree::new();
        tree.file("usr/sbin/sshd", "").file("etc/init.d/ssh", "").file("lib/lsb/init-functions", "");
        tree.clean(new_keys);
        let hook = tree.root.path().join(HOOK_PATH);
        // Stands in for the real one and tells that it was called.
        tree.file("bin/ssh-keygen", "#!/bin/sh\necho \"$@\" >&2\n").mode("bin/ssh-keygen", 0o755);
        let path = format!("{}/bin:/usr/bin:/bin", tree.root.path().display());
        for (name, argument, makes) in [
            ("/etc/init.d/ssh", "start", true),
            ("/etc/rc2.d/S01ssh", "start", true),
            ("/etc/init.d/ssh", "status", false),
            ("/etc/init.d/cron", "start", false),
        ] {
            let script = format!("set -e; ls() {{ return 1; }}; . {}", hook.display());
            let mut shell = std::process::Command::new("/bin/sh");
            let output = shell.env("PATH", &path).args(["-c", &script, name, argument]).output().expect("sh runs");
            assert!(output.status.success(), "{output:?}");
            assert_eq!(output.stderr == b"-A\n", makes, "{name} {argument}");
        }
    }
}
