//! Which triggers run at the end, and with which folders: those of the installed packages that their patterns match.

use std::cmp::Reverse;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::package::Package;
use super::pool::bucket;
use super::tree::Tree;

/// The arguments of a package's trigger; `None` if nothing sets it off.
pub fn arguments(package: &Package, tree: &Tree<'_>) -> Option<Vec<String>> {
    if package.info.triggers.is_empty() || package.info.installed_size == 0 {
        return None;
    }
    // apk gives the folders in the order of its table.
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

/// Whether a path matches a pattern, as `fnmatch(3)` with `FNM_PATHNAME` has it: `*` stops at a slash.
fn matches(pattern: &str, path: impl AsRef<Path>) -> bool {
    let text = CString::new(path.as_ref().as_os_str().as_bytes());
    let (Ok(pattern), Ok(text)) = (CString::new(pattern), text) else { return false };
    // SAFETY: both are strings that end with a zero byte, and fnmatch only reads them.
    unsafe { libc::fnmatch(pattern.as_ptr(), text.as_ptr(), libc::FNM_PATHNAME) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

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
