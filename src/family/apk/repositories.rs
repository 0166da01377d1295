//! What the image's apk reads from: `/etc/apk/repositories`, `apk-repositories(5)`, and the keys it trusts.

use anyhow::{Result, bail};

use crate::plan::Key;
use crate::root::Root;

const REPOSITORIES: &str = "etc/apk/repositories";
const KEYS: &str = "etc/apk/keys";

/// Writes the repositories, one a line as apk reads them, and those of their keys that no package has brought.
pub fn configure(lines: &[String], keys: &[&Key], root: &Root) -> Result<()> {
    root.create_dir_all(KEYS, 0o755)?;
    for key in keys {
        if key.name.is_empty() || key.name.contains('/') || key.name.starts_with('.') {
            bail!("the key '{}' cannot be written into the image: that is no name of a file", key.name);
        }
        let path = format!("{KEYS}/{}", key.name);
        if root.lstat(&path)?.is_none() {
            root.write(&path, &key.data, 0o644)?;
        } else if root.read_text(&path)?.trim() != String::from_utf8_lossy(&key.data).trim() {
            bail!(
                "a package has another key of the name {}; give the key of the recipe the name that its signatures have",
                key.name
            );
        }
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    root.write(REPOSITORIES, text, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_packages_stay() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = Root::open(dir.path()).expect("it opens");
        root.create_dir_all(KEYS, 0o755).expect("a folder");
        root.write("etc/apk/keys/a.pub", "A\n", 0o644).expect("a file");
        let key = |name: &str, data: &str| Key { name: name.into(), data: data.into() };
        let (a, b, other) = (key("a.pub", "A"), key("b.pub", "B"), key("a.pub", "C"));
        let lines = ["https://example.org/main".to_owned(), "@edge https://example.org/edge".to_owned()];
        configure(&lines, &[&a, &b], &root).expect("written");
        assert_eq!(root.read_text("etc/apk/keys/a.pub").expect("there"), "A\n");
        assert_eq!(root.read_text("etc/apk/keys/b.pub").expect("there"), "B");
        let text = root.read_text(REPOSITORIES).expect("there");
        assert_eq!(text, "https://example.org/main\n@edge https://example.org/edge\n");
        for bad in [other, key("../x", ""), key(".x", ""), key("", "")] {
            assert!(configure(&lines, &[&bad], &root).is_err(), "{}", bad.name);
        }
    }
}
