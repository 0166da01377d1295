//! Extended attributes: which belong to an image, and what they hold whoever looks.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context as _, Result};
use xattr::FileExt;

const CAPABILITY: &[u8] = b"security.capability";

/// Whether an attribute belongs to the image. The others are the host's (`security.selinux`, `security.ima`) or are
/// seen by root alone (`trusted.*`), and would make the tree of one host differ from that of another.
pub fn belongs(name: &[u8]) -> bool {
    name == CAPABILITY
        || name.starts_with(b"user.")
        || matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

/// The attributes of an open file or folder that belong to the image, sorted by name.
pub fn read(file: &File) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match file.list_xattr() {
        Ok(names) => names,
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error).context("listing extended attributes"),
    };
    let mut found = Vec::new();
    for name in names {
        if !belongs(name.as_bytes()) {
            continue;
        }
        let value = file.get_xattr(&name).with_context(|| format!("reading the attribute {}", name.display()))?;
        if let Some(mut value) = value {
            if name.as_bytes() == CAPABILITY {
                normalise_capability(&mut value);
            }
            found.push((name.as_bytes().to_vec(), value));
        }
    }
    found.sort();
    Ok(found)
}

/// Capabilities set in a user namespace carry the id of its root (`struct vfs_ns_cap_data` of `linux/capability.h`,
/// revision 3). In the image they count for the container's root, which is what revision 2 says.
fn normalise_capability(value: &mut Vec<u8>) {
    const REVISION_2: u8 = 2;
    const REVISION_3: u8 = 3;
    const SIZE_2: usize = 20;
    const SIZE_3: usize = 24;
    // The revision is the top byte of a little-endian word.
    if value.len() == SIZE_3 && value[3] == REVISION_3 {
        value[3] = REVISION_2;
        value.truncate(SIZE_2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_images_own_attributes() {
        for name in ["security.capability", "user.x", "system.posix_acl_access", "system.posix_acl_default"] {
            assert!(belongs(name.as_bytes()), "{name}");
        }
        for name in ["security.selinux", "security.ima", "trusted.overlay.opaque", "system.nfs4_acl", "userx"] {
            assert!(!belongs(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn capability_loses_the_namespace() {
        let mut v2 = vec![1, 0, 0, 2];
        v2.extend([0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut v3 = v2.clone();
        v3[3] = 3;
        v3.extend(100_000u32.to_le_bytes());
        normalise_capability(&mut v3);
        assert_eq!(v3, v2);
        normalise_capability(&mut v3);
        assert_eq!(v3, v2);
    }
}
