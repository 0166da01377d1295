//! Which triggers run at the end, and with which folders: those of the installed packages that their patterns match.

use std::cmp::Reverse;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::package::Package;
use super::tree::Tree;

/// apk gives the folders in the order of its hash table, which has as many buckets (that of names too).
const BUCKETS: u32 = 20_000;
const SEED: u32 = 5381;

/// The arguments of a package's trigger; `None` if nothing sets it off.
pub fn arguments(package: &Package, tree: &Tree<'_>) -> Option<Vec<String>> {
    if package.info.triggers.is_empty() || package.info.installed_size == 0 {
        return None;
    }
    let mut dirs: Vec<_> = tree.dirs.iter().collect();
    dirs.sort_by_key(|(path, dir)| (bucket(path.as_os_str().as_bytes()), Reverse(dir.order)));
    let mut arguments = None;
    for (path, dir) in dirs {
        let path = format!("/{}", path.display());
        // The first pattern that matches decides.
        let matching = package.info.triggers.iter().find(|pattern| {
            let pattern = pattern.strip_prefix('+').unwrap_or(pattern);
            pattern.starts_with('/') && matches(pattern, &path)
        });
        let Some(pattern) = matching else { continue };
        let list: &mut Vec<String> = arguments.get_or_insert_default();
        if !pattern.starts_with('+') || dir.modified {
            list.push(path);
        }
    }
    arguments
}

/// The place of a name in apk's hash tables.
pub fn bucket(name: &[u8]) -> u32 {
    murmur3(name, SEED) % BUCKETS
}

/// Whether a path matches a pattern, as `fnmatch(3)` with `FNM_PATHNAME` has it: `*` stops at a slash.
fn matches(pattern: &str, path: impl AsRef<Path>) -> bool {
    let text = CString::new(path.as_ref().as_os_str().as_bytes());
    let (Ok(pattern), Ok(text)) = (CString::new(pattern), text) else { return false };
    // SAFETY: both are strings that end with a zero byte, and fnmatch only reads them.
    unsafe { libc::fnmatch(pattern.as_ptr(), text.as_ptr(), libc::FNM_PATHNAME) == 0 }
}

/// MurmurHash3 of 32 bits, as Austin Appleby published it.
fn murmur3(data: &[u8], seed: u32) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mix = |block: u32| block.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let (blocks, rest) = data.as_chunks::<4>();
    let mut hash = blocks.iter().fold(seed, |hash, block| {
        (hash ^ mix(u32::from_le_bytes(*block))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    hash ^= mix(rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)));
    hash ^= u32::try_from(data.len()).unwrap_or(u32::MAX);
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur3_is_the_published_one() {
        // From the collection of test vectors in the article on MurmurHash of Wikipedia.
        for (data, seed, hash) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("test", 0, 0xba6b_d213),
            ("test", 0x9747_b28c, 0x704b_81dc),
            ("Hello, world!", 0, 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x9747_b28c, 0x2fa8_26cd),
        ] {
            assert_eq!(murmur3(data.as_bytes(), seed), hash, "{data:?}");
        }
    }

    #[test]
    fn patterns_stop_at_slashes() {
        for (pattern, path, is) in [
            ("/bin", "/bin", true),
            ("/bin", "/usr/bin", false),
            ("/lib/modules/*", "/lib/modules/6.1", true),
            ("/lib/modules/*", "/lib/modules/6.1/kernel", false),
            ("/usr/share/icons/*", "/usr/share/icons", false),
            ("/", "/", true),
        ] {
            assert_eq!(matches(pattern, path), is, "{pattern} {path}");
        }
    }
}
