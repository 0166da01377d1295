//! New host keys where an ssh server starts, because an image has none.

/// Makes them, in the shell. Keys that are there are the administrator's choice, and `/etc/ssh` may then be read-only.
pub const MAKE: &str = "ls /etc/ssh/ssh_host_*_key >/dev/null 2>&1 || ssh-keygen -A >/dev/null";

/// What an addition of this kind begins with.
pub const WHY: &str = "# The image has no host keys: every container and machine makes its own when its sshd starts.";

/// Where the addition to a unit of systemd is.
pub fn drop_in(unit: &str) -> String {
    format!("etc/systemd/system/{unit}.d/10-host-keys.conf")
}
