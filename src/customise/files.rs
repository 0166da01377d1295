//! The recipe's files, put where it says.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::accounts::{Table, id_of, own};
use crate::error::usage;
use crate::plan::PlacedFile;
use crate::root::{Kind, Root, kind};

/// Places every file. What is at its path (a conffile of a package, a link) is replaced; a folder there is a usage
/// error. Missing parents are made, mode 0755, owned by root; a parent that is a link is followed inside the tree.
pub fn place(files: &[PlacedFile], root: &Root) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let users = Table::read(root, "etc/passwd")?;
    let groups = Table::read(root, "etc/group")?;
    for (number, file) in files.iter().enumerate() {
        let key = format!("file[{number}]");
        let uid = id_of(&users, &file.owner, &format!("{key}.owner"))?;
        let gid = id_of(&groups, &file.group, &format!("{key}.group"))?;
        let path = Path::new(&file.path);
        check_path(root, path, &key)?;
        let context = || format!("{key}.path: placing {}", file.path);
        if let Some(parent) = path.parent() {
            root.create_dir_all(parent, 0o755).with_context(context)?;
        }
        root.write(path, &file.data, file.mode).with_context(context)?;
        own(root, path, uid, gid).with_context(context)?;
        // A change of owner takes the set-id bits away, chown(2).
        root.chmod(path, file.mode).with_context(context)?;
    }
    Ok(())
}

/// Refuses what cannot be the path of a file.
fn check_path(root: &Root, path: &Path, key: &str) -> Result<()> {
    let shown = path.display();
    let dots = path.components().any(|c| c.as_os_str() == ".." || c.as_os_str() == ".");
    if !path.is_absolute() || dots {
        return Err(usage(format!("{key}.path: '{shown}' is not an absolute path without '..'")));
    }
    let ends_as_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if ends_as_folder || root.lstat(path)?.is_some_and(|s| kind(&s) == Kind::Dir) {
        return Err(usage(format!("{key}.path: {shown} is a folder; write the whole path of the file")));
    }
    for parent in path.ancestors().skip(1) {
        match root.stat(parent)? {
            Some(stat) if kind(&stat) == Kind::Dir => break,
            Some(_) => {
                return Err(usage(format!("{key}.path: {} is not a folder in the image", parent.display())));
            }
            None if root.lstat(parent)?.is_some() => {
                return Err(usage(format!("{key}.path: {} is a link that leads nowhere", parent.display())));
            }
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_code};

    fn tree() -> (tempfile::TempDir, Root, (u32, u32)) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = Root::open(dir.path()).expect("it opens");
        root.create_dir("etc", 0o755).expect("a folder");
        // An ordinary user can only give files to itself: let that be "root" then.
        let own = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        root.write("etc/passwd", format!("root:x:{}:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n", own.0), 0o644)
            .expect("a file");
        root.write("etc/group", format!("root:x:{}:\nwww-data:x:33:\n", own.1), 0o644).expect("a file");
        (dir, root, own)
    }

    fn file(path: &str, mode: u32, owner: &str) -> PlacedFile {
        PlacedFile { path: path.into(), data: b"content".to_vec(), mode, owner: owner.into(), group: owner.into() }
    }

    #[test]
    fn placed_with_mode_and_owner() {
        let (dir, root, own) = tree();
        root.create_dir("usr", 0o755).expect("a folder");
        root.create_dir("usr/bin", 0o755).expect("a folder");
        root.symlink("/usr/bin", "bin").expect("a link");
        root.write("etc/conffile", "as shipped", 0o600).expect("a file");
        root.symlink("/outside", "etc/link").expect("a link");
        let files = [
            file("/bin/tool", 0o4755, "root"),
            file("/opt/deep/er/file", 0o640, "root"),
            file("/etc/conffile", 0o644, "root"),
            file("/etc/link", 0o644, "root"),
        ];
        place(&files, &root).expect("placed");
        for (path, mode) in
            [("usr/bin/tool", 0o4755), ("opt/deep/er/file", 0o640), ("etc/conffile", 0o644), ("etc/link", 0o644)]
        {
            assert_eq!(root.read_text(path).expect(path), "content");
            let stat = root.lstat(path).expect("stat").expect(path);
            assert_eq!((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid), (mode, own.0, own.1), "{path}");
        }
        assert_eq!(root.lstat("opt/deep").expect("stat").expect("there").st_mode & 0o7777, 0o755);
        assert!(!dir.path().join("outside").exists());
        if own.0 == 0 {
            place(&[file("/opt/www", 0o6755, "www-data"), file("/opt/n", 0o644, "12345")], &root).expect("placed");
            let stat = root.lstat("opt/www").expect("stat").expect("there");
            assert_eq!((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid), (0o6755, 33, 33));
            assert_eq!(root.lstat("opt/n").expect("stat").expect("there").st_uid, 12345);
        } else {
            eprintln!("skipped: placed_with_mode_and_owner (other owners): needs root");
        }
    }

    #[test]
    fn mistakes_name_the_key() {
        let (_dir, root, _) = tree();
        root.symlink("nowhere", "dangling").expect("a link");
        for (path, owner, says) in [
            ("/etc", "root", "file[1].path: /etc is a folder"),
            ("/etc/new/", "root", "file[1].path: /etc/new/ is a folder"),
            ("etc/new", "root", "file[1].path: 'etc/new' is not an absolute path"),
            ("/etc/../x", "root", "file[1].path: '/etc/../x' is not an absolute path"),
            ("/etc/passwd/x", "root", "file[1].path: /etc/passwd is not a folder"),
            ("/dangling/x/y", "root", "file[1].path: /dangling is a link that leads nowhere"),
            ("/etc/x", "www-dta", "file[1].owner: no 'www-dta' in the image's /etc/passwd; did you mean 'www-data'?"),
        ] {
            let error = place(&[file("/etc/ok", 0o644, "root"), file(path, 0o644, owner)], &root).expect_err(path);
            assert_eq!(exit_code(&error), Exit::Usage, "{path}");
            assert!(format!("{error:#}").contains(says), "{path}: {error:#}");
        }
    }
}
