//! Host keys. Whoever has the image would have them, and every container would be the same host.

use anyhow::Result;

use super::{Cleaner, Step};

pub(super) const STEPS: &[Step] = &[Step {
    name: "ssh/host-keys",
    sentence: "The private and public keys that the ssh server's packages made for this host while they were set up.",
    run: host_keys,
}];

fn host_keys(cleaner: &mut Cleaner<'_>) -> Result<()> {
    let openssh = |name: &str| name.starts_with("ssh_host_") && !name.ends_with(".conf");
    let dropbear = |name: &str| name.starts_with("dropbear_") && name.ends_with("_host_key");
    let mut keys = cleaner.named("etc/ssh", openssh)?;
    keys.extend(cleaner.named("etc/dropbear", dropbear)?);
    keys.extend(cleaner.named("etc/dropbear/initramfs", dropbear)?);
    keys.into_iter().try_for_each(|key| cleaner.remove_unowned(key))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::STEPS;

    #[test]
    fn keys_go_and_settings_stay() {
        let mut tree = Tree::new();
        tree.file("etc/ssh/ssh_host_rsa_key", "k").file("etc/ssh/ssh_host_rsa_key.pub", "k");
        tree.file("etc/ssh/sshd_config", "")
            .file("etc/ssh/ssh_config", "")
            .file("etc/dropbear/dropbear_rsa_host_key", "");
        tree.owns("etc/ssh").owns("etc/ssh/sshd_config").mode("etc/ssh", 0o750);
        let gone = ["etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "etc/dropbear/dropbear_rsa_host_key"];
        assert_eq!(tree.step(STEPS, "ssh/host-keys"), gone);
        assert!(tree.has("etc/ssh/sshd_config") && tree.has("etc/ssh/ssh_config"));
        assert_eq!(tree.mode_of("etc/ssh"), 0o750);
    }
}
