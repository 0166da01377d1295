//! Files that describe repositories, `*.repo` of dnf.conf(5): read, and changed a line at a time, so that whatever else
//! a package has written into its file stays.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::plan::Plan;
use crate::root::{Kind, Root, kind};

/// Where dnf and yum look for them (`reposdir`), besides the folders of dnf 5 that only packages write to.
const FOLDERS: [&str; 3] = ["etc/yum.repos.d", "etc/yum/repos.d", "etc/distro.repos.d"];
/// Where variables are (`varsdir`): a file each.
const VARIABLES: [&str; 2] = ["etc/yum/vars", "etc/dnf/vars"];

/// The lines of such a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoFile {
    lines: Vec<String>,
}

/// The files of a tree, by their path below the root.
pub fn read_all(root: &Root) -> Result<BTreeMap<PathBuf, RepoFile>> {
    let mut files = BTreeMap::new();
    for folder in FOLDERS {
        if root.lstat(folder)?.is_none_or(|stat| kind(&stat) != Kind::Dir) {
            continue;
        }
        for name in root.read_dir(folder)? {
            let path = Path::new(folder).join(name);
            let is_file = root.stat(&path)?.is_some_and(|stat| kind(&stat) == Kind::File);
            if is_file && path.extension().is_some_and(|end| end == "repo") {
                files.insert(path.clone(), RepoFile::parse(&root.read_text(&path)?));
            }
        }
    }
    Ok(files)
}

/// The variables that a tree sets, and these besides.
pub fn variables(root: &Root, more: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for folder in VARIABLES {
        if root.stat(folder)?.is_none_or(|stat| kind(&stat) != Kind::Dir) {
            continue;
        }
        for name in root.read_dir(folder)? {
            let path = Path::new(folder).join(&name);
            let is_file = root.stat(&path)?.is_some_and(|stat| kind(&stat) == Kind::File);
            if let (true, Some(name)) = (is_file, name.to_str()) {
                let text = root.read_text(&path)?;
                variables.insert(name.to_owned(), text.lines().next().unwrap_or_default().trim().to_owned());
            }
        }
    }
    variables.extend(more);
    Ok(variables)
}

/// The variables whose values a build knows before there is a tree.
pub fn known_variables(plan: &Plan) -> BTreeMap<String, String> {
    let known = [
        ("releasever", plan.rpm.releasever.as_str()),
        ("basearch", plan.arch.rpm),
        ("arch", plan.arch.rpm_packages[0]),
    ];
    known.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Fills in `$name` and `${name}`. Those that are not known stay as they are.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        out.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        let braced = after.strip_prefix('{');
        let word = braced.unwrap_or(after);
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
        let closed = braced.is_none() || word[end..].starts_with('}');
        match variables.get(&word[..end]).filter(|_| closed) {
            Some(value) => {
                out.push_str(value);
                rest = &word[end + usize::from(braced.is_some())..];
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out + rest
}

impl RepoFile {
    /// Any text is one: what is no section and no setting is left alone.
    pub fn parse(text: &str) -> RepoFile {
        RepoFile { lines: text.lines().map(str::to_owned).collect() }
    }

    /// The file's text.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The ids of the repositories, in order.
    pub fn ids(&self) -> Vec<String> {
        self.lines.iter().filter_map(|line| header(line)).filter(|id| *id != "main").map(str::to_owned).collect()
    }

    /// A setting of a repository; one of several lines with a space between them.
    pub fn get(&self, id: &str, key: &str) -> Option<String> {
        let lines = &self.lines[self.setting(id, key)?];
        let (_, first) = lines.first()?.split_once('=')?;
        let rest = lines[1..].iter().map(|line| line.trim());
        Some(std::iter::once(first.trim()).chain(rest).collect::<Vec<_>>().join(" ").trim().to_owned())
    }

    /// Whether dnf uses the repository unasked.
    pub fn is_enabled(&self, id: &str) -> bool {
        let no = |value: String| ["0", "no", "false", "off"].contains(&value.to_ascii_lowercase().as_str());
        !self.get(id, "enabled").is_some_and(no)
    }

    /// Gives a repository that is there a setting.
    pub fn set(&mut self, id: &str, key: &str, value: &str) {
        let line = format!("{key}={value}");
        if let Some(lines) = self.setting(id, key) {
            self.lines.splice(lines, [line]);
        } else if let Some(section) = self.section(id) {
            let last = section.clone().rev().find(|i| !self.lines[*i].trim().is_empty()).unwrap_or(section.start);
            self.lines.insert(last + 1, line);
        }
    }

    /// Turns a setting into a comment.
    pub fn comment_out(&mut self, id: &str, key: &str) {
        let lines = self.setting(id, key);
        lines.into_iter().flatten().for_each(|i| self.lines[i].insert(0, '#'));
    }

    /// The lines of a section, its header among them.
    fn section(&self, id: &str) -> Option<Range<usize>> {
        let start = self.lines.iter().position(|line| header(line) == Some(id))?;
        let length = self.lines[start + 1..].iter().position(|line| header(line).is_some());
        Some(start..length.map_or(self.lines.len(), |length| start + 1 + length))
    }

    /// The lines of a setting: its own, and those after it that go on with it, which begin with white space.
    fn setting(&self, id: &str, key: &str) -> Option<Range<usize>> {
        let mut section = self.section(id)?;
        let is_it = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.trim_end() == key);
        let start = section.find(|i| is_it(&self.lines[*i]))?;
        let goes_on = |line: &String| line.starts_with([' ', '\t']) && !line.trim().is_empty();
        Some(start..start + 1 + self.lines[start + 1..].iter().take_while(|line| goes_on(line)).count())
    }
}

fn header(line: &str) -> Option<&str> {
    line.trim_end().strip_prefix('[')?.strip_suffix(']').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment\n[main]\ncachedir=/x\n[a]\nname=A $releasever\n#baseurl=http://old\nmirrorlist = \
                        http://list?a=b\ngpgkey=file:///a\n  file:///b\n\n\n[b]\nenabled=0\n";

    #[test]
    fn settings_are_read() {
        let file = RepoFile::parse(TEXT);
        assert_eq!(file.text(), TEXT);
        assert_eq!(file.ids(), ["a", "b"]);
        assert_eq!(file.get("a", "mirrorlist").as_deref(), Some("http://list?a=b"));
        assert_eq!(file.get("a", "gpgkey").as_deref(), Some("file:///a file:///b"));
        assert_eq!((file.get("a", "baseurl"), file.get("a", "enabled"), file.get("c", "x")), (None, None, None));
        assert!(file.is_enabled("a") && !file.is_enabled("b"));
    }

    #[test]
    fn changes_leave_the_rest() {
        let mut file = RepoFile::parse(TEXT);
        file.set("a", "baseurl", "http://new");
        file.set("a", "gpgkey", "file:///c");
        file.set("b", "enabled", "1");
        file.set("c", "enabled", "1");
        file.comment_out("a", "mirrorlist");
        file.comment_out("a", "metalink");
        let expected = "# a comment\n[main]\ncachedir=/x\n[a]\nname=A $releasever\n#baseurl=http://old\n#mirrorlist = \
                        http://list?a=b\ngpgkey=file:///c\nbaseurl=http://new\n\n\n[b]\nenabled=1\n";
        assert_eq!(file.text(), expected);
        let mut file = RepoFile::parse(TEXT);
        file.comment_out("a", "gpgkey");
        assert!(file.text().contains("\n#gpgkey=file:///a\n#  file:///b\n"));
    }

    #[test]
    fn variables_are_filled_in() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::open(dir.path()).expect("it opens");
        root.create_dir_all("etc/dnf/vars", 0o755).expect("a folder");
        root.create_dir_all("etc/yum", 0o755).expect("a folder");
        root.symlink("../dnf/vars", "etc/yum/vars").expect("a link");
        root.write("etc/dnf/vars/contentdir", "pub/rocky\n", 0o644).expect("a file");
        let variables = variables(&root, BTreeMap::from([("releasever".into(), "10".into())])).expect("they are read");
        for (text, expected) in [
            ("http://x/$contentdir/${releasever}/os", "http://x/pub/rocky/10/os"),
            ("$releasever$other/${other}/${releasever", "10$other/${other}/${releasever"),
            ("$", "$"),
            ("plain", "plain"),
        ] {
            assert_eq!(expand(text, &variables), expected);
        }
    }

    #[test]
    fn files_of_a_tree() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::open(dir.path()).expect("it opens");
        assert!(read_all(&root).expect("none").is_empty());
        root.create_dir_all("etc/yum.repos.d/x.repo", 0o755).expect("a folder");
        for name in ["b.repo", "a.repo", "a.repo.rpmnew"] {
            root.write(format!("etc/yum.repos.d/{name}"), "[a]\n", 0o644).expect("a file");
        }
        let found: Vec<PathBuf> = read_all(&root).expect("they are read").into_keys().collect();
        assert_eq!(found, [Path::new("etc/yum.repos.d/a.repo"), Path::new("etc/yum.repos.d/b.repo")]);
    }
}
