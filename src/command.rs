//! Programs of the host, for the few things that mkbase leaves to them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

/// Where programs of the system are, besides `PATH`: an ordinary user's often lacks the `sbin` folders.
const SYSTEM: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Finds a program. `install` tells how to get it: `apt-get install debootstrap`.
pub fn find(program: &str, install: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM.iter().map(PathBuf::from));
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
        .ok_or_else(|| anyhow!("{program} is not installed on this machine; install it ({install})"))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_says_how_to_get_it() {
        assert!(find("sh", "apt-get install dash").is_ok());
        let error = find("mkbase-no-such-program", "apt-get install it").expect_err("not there").to_string();
        assert!(error.contains("mkbase-no-such-program") && error.contains("apt-get install it"), "{error}");
    }
}
