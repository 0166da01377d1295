//! The tree's account files: `passwd(5)`, `group(5)`, `shadow(5)`, `gshadow(5)`, `subuid(5)`.
//!
//! They are read and written as text, because a minimal tree has no `useradd`, and lines nobody asked to change stay
//! as they are, to the byte.

use anyhow::{Result, bail};

use crate::error::{did_you_mean, usage};
use crate::root::Root;

/// `(uid_t)-1` and its 16-bit form mean "no id" to the kernel and to old programs.
pub const NO_IDS: [u32; 2] = [u32::MAX, 65535];

/// One account file, a line an entry.
#[derive(Debug)]
pub struct Table {
    path: &'static str,
    lines: Vec<String>,
    there: bool,
    changed: bool,
}

impl Table {
    /// Reads `path`. An absent file is an empty table that stays absent.
    pub fn read(root: &Root, path: &'static str) -> Result<Table> {
        let text = root.read_text_if_there(path)?;
        let there = text.is_some();
        let lines = text.unwrap_or_default().lines().map(str::to_owned).collect();
        Ok(Table { path, lines, there, changed: false })
    }

    /// Whether the tree has the file.
    pub fn is_there(&self) -> bool {
        self.there
    }

    /// The names, without those of NIS (`+name`).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let named = |l: &&str| !l.is_empty() && !l.starts_with(['+', '-', '#']);
        self.lines.iter().map(|l| l.split(':').next().unwrap_or_default()).filter(named)
    }

    /// Field `index` of the entry `name`.
    pub fn field(&self, name: &str, index: usize) -> Option<&str> {
        self.lines.iter().find(|l| l.split(':').next() == Some(name)).and_then(|l| l.split(':').nth(index))
    }

    /// Numeric field `index` of every entry.
    pub fn numbers(&self, index: usize) -> impl Iterator<Item = u64> {
        self.lines.iter().filter_map(move |l| l.split(':').nth(index)?.parse().ok())
    }

    /// The name of the entry whose id (the third field of passwd and group) is `id`.
    pub fn name_of(&self, id: u32) -> Option<&str> {
        let has = |l: &&String| l.split(':').nth(2).and_then(|f| f.parse().ok()) == Some(id);
        self.lines.iter().find(has).and_then(|l| l.split(':').next())
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, line: String) {
        self.lines.push(line);
        self.changed = true;
    }

    /// Adds `member` to the comma-separated list that is the last field of group and gshadow, if the group is there.
    pub fn add_member(&mut self, group: &str, member: &str) {
        let Some(line) = self.lines.iter_mut().find(|l| l.split(':').next() == Some(group)) else { return };
        let members = line.rsplit(':').next().unwrap_or_default();
        if !members.split(',').any(|m| m == member) {
            let separator = if members.is_empty() { "" } else { "," };
            line.push_str(separator);
            line.push_str(member);
            self.changed = true;
        }
    }

    /// Writes the file back with the owner and mode it had.
    pub fn write(&self, root: &Root) -> Result<()> {
        if !self.there || !self.changed {
            return Ok(());
        }
        let Some(before) = root.stat(self.path)? else { bail!("/{} vanished", self.path) };
        let mut text = self.lines.join("\n");
        text.push('\n');
        root.write(self.path, text, before.st_mode & 0o7777)?;
        own(root, self.path, before.st_uid, before.st_gid)
    }
}

/// Gives the entry (not what it links to) to `uid` and `gid`, where it does not belong to them already: changing an
/// owner clears set-id bits and capabilities, and only root may do it.
pub fn own(root: &Root, path: impl AsRef<std::path::Path>, uid: u32, gid: u32) -> Result<()> {
    let path = path.as_ref();
    match root.lstat(path)? {
        Some(stat) if (stat.st_uid, stat.st_gid) == (uid, gid) => Ok(()),
        _ => root.chown(path, uid, gid),
    }
}

/// The id that `owner` (a name in `table`, or a number) stands for. `key` begins the usage error for an unknown one.
pub fn id_of(table: &Table, owner: &str, key: &str) -> Result<u32> {
    if let Some(id) = table.field(owner, 2).and_then(|f| f.parse().ok()) {
        return Ok(id);
    }
    match owner.parse::<u32>() {
        Ok(id) if owner.bytes().all(|b| b.is_ascii_digit()) && !NO_IDS.contains(&id) => Ok(id),
        _ => Err(usage(format!(
            "{key}: no '{owner}' in the image's /{}{}",
            table.path,
            did_you_mean(owner, table.names())
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_nobody_changed_stay() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = Root::open(dir.path()).expect("it opens");
        root.create_dir("etc", 0o755).expect("a folder");
        let text = "root:x:0:\nadm:x:4:syslog\n# odd line\nusers:x:100:\n+nis\n";
        root.write("etc/group", text, 0o640).expect("a file");
        let mut table = Table::read(&root, "etc/group").expect("it reads");
        assert_eq!(table.names().collect::<Vec<_>>(), ["root", "adm", "users"]);
        assert_eq!(table.name_of(4), Some("adm"));
        table.write(&root).expect("written");
        assert_eq!(root.read_text("etc/group").expect("there"), text);
        for group in ["adm", "users", "adm", "none"] {
            table.add_member(group, "app");
        }
        table.push("app:x:1000:".into());
        table.write(&root).expect("written");
        let now = "root:x:0:\nadm:x:4:syslog,app\n# odd line\nusers:x:100:app\n+nis\napp:x:1000:\n";
        assert_eq!(root.read_text("etc/group").expect("there"), now);
        assert_eq!(root.stat("etc/group").expect("stat").expect("there").st_mode & 0o7777, 0o640);
    }

    #[test]
    fn owners_by_name_and_number() {
        let lines = vec!["www-data:x:33:33::/:/bin/sh".into(), "4711:x:5:5::/:/bin/sh".into()];
        let table = Table { path: "etc/passwd", lines, there: true, changed: false };
        for (owner, id) in [("www-data", 33), ("0", 0), ("1234", 1234), ("4711", 5)] {
            assert_eq!(id_of(&table, owner, "file[0].owner").expect(owner), id);
        }
        for owner in ["www-dat", "", "-1", "+5", "4294967295", "65535", "99999999999"] {
            id_of(&table, owner, "file[0].owner").expect_err(owner);
        }
        let error = id_of(&table, "www-dat", "file[0].owner").expect_err("unknown").to_string();
        assert!(error.starts_with("file[0].owner: ") && error.ends_with("did you mean 'www-data'?"), "{error}");
    }
}
