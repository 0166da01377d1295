//! What must differ from machine to machine, and what was the build host's own.

use std::path::Path;

use anyhow::Result;

use super::{Cleaner, Step};
use crate::root::{Kind, kind};

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "id/machine-id",
        sentence: "The machine id is emptied, so that every container or machine gets its own at its first start.",
        run: machine_id,
    },
    Step {
        name: "id/dbus",
        sentence: "The copy of the machine id that D-Bus keeps.",
        run: |c| remove_files(c, &["var/lib/dbus/machine-id"]),
    },
    Step {
        name: "id/random-seed",
        sentence: "Saved randomness, which must never be the same on two machines, and the secret of systemd's credentials.",
        run: |c| {
            remove_files(
                c,
                &[
                    "var/lib/systemd/random-seed",
                    "var/lib/systemd/credential.secret",
                    "var/lib/urandom/random-seed",
                    "var/lib/random-seed",
                    "var/lib/misc/random-seed",
                    "var/lib/seedrng/seed.credit",
                    "var/lib/seedrng/seed.no-credit",
                ],
            )
        },
    },
    Step {
        name: "id/hostname",
        sentence: "The host name of the machine the image was built on.",
        run: |c| remove_files(c, &["etc/hostname"]),
    },
    Step {
        name: "id/hosts",
        sentence: "The table of host names of the machine the image was built on; the container engine mounts its own.",
        run: |c| remove_files(c, &["etc/hosts"]),
    },
    Step {
        name: "id/resolver",
        sentence: "The name servers of the machine the image was built on; the container engine mounts its own.",
        run: |c| remove_files(c, &["etc/resolv.conf"]),
    },
    Step {
        name: "id/storage",
        sentence: "Ids and records of storage tools that name one host or its disks: NVMe, ZFS, LVM, multipath.",
        run: storage,
    },
    Step {
        name: "id/snakeoil",
        sentence: "The self-signed certificate and key that ssl-cert made while it was set up.",
        run: snakeoil,
    },
];

/// Removes regular files that no package owns. A link stays: it says where the running system keeps the file
/// (`/etc/resolv.conf` of systemd-resolved), not what was in the host's.
fn remove_files(cleaner: &mut Cleaner<'_>, paths: &[&str]) -> Result<()> {
    for path in paths {
        if cleaner.lstat(path)?.is_some_and(|s| kind(&s) == Kind::File) {
            cleaner.remove_unowned(path)?;
        }
    }
    Ok(())
}

/// Emptied, not removed: machine-id(5) asks for an empty file in images whose `/etc` may be read-only. Where there is
/// none it is not made.
fn machine_id(cleaner: &mut Cleaner<'_>) -> Result<()> {
    cleaner.truncate("etc/machine-id")
}

fn storage(cleaner: &mut Cleaner<'_>) -> Result<()> {
    remove_files(
        cleaner,
        &[
            "etc/nvme/hostnqn",
            "etc/nvme/hostid",
            "etc/hostid",
            "etc/zfs/zpool.cache",
            "etc/multipath/bindings",
            "etc/multipath/wwids",
            "etc/multipath/prkeys",
            "etc/lvm/devices/system.devices",
            "run/mount/utab",
        ],
    )?;
    cleaner.remove_unowned_content("etc/lvm/archive")?;
    cleaner.remove_unowned_content("etc/lvm/backup")
}

fn snakeoil(cleaner: &mut Cleaner<'_>) -> Result<()> {
    const CERTIFICATE: &str = "ssl-cert-snakeoil.pem";
    cleaner.remove_unowned("etc/ssl/private/ssl-cert-snakeoil.key")?;
    cleaner.remove_unowned(Path::new("etc/ssl/certs").join(CERTIFICATE))?;
    // The link that openssl(1) rehash makes beside it, named by the hash of the subject.
    for (path, stat) in cleaner.entries("etc/ssl/certs")? {
        if kind(&stat) == Kind::Link && cleaner.root.read_link(&path)?.ends_with(CERTIFICATE) {
            cleaner.remove_unowned(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::STEPS;

    #[test]
    fn machine_id_is_emptied_and_keeps_its_mode() {
        let mut tree = Tree::new();
        assert_eq!(tree.step(STEPS, "id/machine-id"), [""; 0]);
        assert!(!tree.has("etc/machine-id"));
        tree.file("etc/machine-id", "0123456789abcdef0123456789abcdef\n").mode("etc/machine-id", 0o644);
        assert_eq!(tree.step(STEPS, "id/machine-id"), ["etc/machine-id"]);
        assert_eq!((tree.text("etc/machine-id").as_str(), tree.mode_of("etc/machine-id")), ("", 0o644));
    }

    #[test]
    fn dbus_id_goes_but_not_a_link_to_the_machine_id() {
        let mut tree = Tree::new();
        tree.file("var/lib/dbus/machine-id", "0123\n");
        assert_eq!(tree.step(STEPS, "id/dbus"), ["var/lib/dbus/machine-id"]);
        tree.link("/etc/machine-id", "var/lib/dbus/machine-id");
        assert_eq!(tree.step(STEPS, "id/dbus"), [""; 0]);
    }

    #[test]
    fn files_of_the_host_go_unless_a_package_or_the_recipe_has_them() {
        let steps = ["id/hostname", "id/hosts", "id/resolver"];
        let files = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];
        for (step, file) in steps.into_iter().zip(files) {
            let mut tree = Tree::new();
            tree.file(file, "host").owns(file);
            assert_eq!(tree.step(STEPS, step), [""; 0]);
            tree.owners.paths.clear();
            tree.places(file);
            assert_eq!(tree.step(STEPS, step), [""; 0]);
            tree.placed.clear();
            assert_eq!(tree.step(STEPS, step), [file]);
            tree.link("../run/systemd/resolve/stub-resolv.conf", file);
            assert_eq!(tree.step(STEPS, step), [""; 0]);
        }
    }

    #[test]
    fn seeds_and_ids_of_storage_go() {
        let mut tree = Tree::new();
        tree.file("var/lib/systemd/random-seed", "x").file("etc/nvme/hostnqn", "nqn").file("etc/lvm/backup/vg0", "x");
        tree.file("etc/lvm/lvm.conf", "x").file("etc/nvme/discovery.conf", "x").owns("var/lib/systemd").owns("etc/lvm");
        assert_eq!(tree.step(STEPS, "id/random-seed"), ["var/lib/systemd/random-seed"]);
        assert_eq!(tree.step(STEPS, "id/storage"), ["etc/nvme/hostnqn", "etc/lvm/backup/vg0"]);
        assert!(tree.has("etc/lvm/lvm.conf") && tree.has("etc/nvme/discovery.conf") && tree.has("etc/lvm/backup"));
        assert!(tree.has("var/lib/systemd"));
    }

    #[test]
    fn snakeoil_goes_with_its_link() {
        let mut tree = Tree::new();
        tree.file("etc/ssl/private/ssl-cert-snakeoil.key", "k").file("etc/ssl/certs/ssl-cert-snakeoil.pem", "c");
        tree.link("ssl-cert-snakeoil.pem", "etc/ssl/certs/0a1b2c3d").link("ca.pem", "etc/ssl/certs/4e5f6a7b");
        assert_eq!(tree.step(STEPS, "id/snakeoil").len(), 3);
        assert!(tree.has("etc/ssl/certs/4e5f6a7b") && tree.has("etc/ssl/private"));
    }
}
