//! New host keys where the ssh server starts.
//!
//! Since EL 7 and in all of Fedora its unit calls for one that makes them (`sshd-keygen@.service`), and on EL 6 the init
//! script does, so that there is nothing to add; only a unit that does not gets an addition. `sshd` started by hand, as
//! in a container without an init system, runs neither: `ssh-keygen -A` before it does the same.

use anyhow::Result;

use crate::clean::Cleaner;
use crate::family::host_keys::{MAKE, WHY, drop_in};

const SERVER: &str = "usr/sbin/sshd";
const UNITS: &str = "usr/lib/systemd/system";

/// The clean step `ssh/new-keys`.
pub(super) fn new_keys(cleaner: &mut Cleaner<'_>) -> Result<()> {
    if !cleaner.root.exists(SERVER) {
        return Ok(());
    }
    for unit in ["sshd.service", "sshd@.service"] {
        let Some(text) = cleaner.root.read_text_if_there(format!("{UNITS}/{unit}"))? else { continue };
        if !text.contains("keygen") {
            cleaner.write(drop_in(unit), format!("{WHY}\n[Service]\nExecStartPre=/bin/sh -c '{MAKE}'\n"), 0o644)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::testing::Tree;

    #[test]
    fn only_a_unit_that_makes_no_keys_gets_an_addition() {
        let mut tree = Tree::new();
        tree.file("usr/lib/systemd/system/sshd.service", "[Unit]\nWants=sshd-keygen.target\n");
        tree.file("usr/lib/systemd/system/sshd@.service", "[Service]\nExecStart=-/usr/sbin/sshd -i\n");
        assert_eq!(tree.clean(new_keys), [""; 0], "no server");
        tree.file(SERVER, "");
        let path = "etc/systemd/system/sshd@.service.d/10-host-keys.conf";
        assert_eq!(tree.clean(new_keys), [path]);
        assert!(tree.text(path).contains("\n[Service]\nExecStartPre=/bin/sh -c 'ls /etc/ssh/"));
    }
}
