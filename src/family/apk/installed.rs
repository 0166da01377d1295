//! Reads apk's database back: what is installed, and whose every path is.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::database::INSTALLED;
use crate::clean::{real_path, real_target};
use crate::family::{Installed, Owners};
use crate::root::Root;

/// What [`Owners::conffiles`] are: apk asks nobody about files below it and never overwrites a changed one.
const CONFIGURATION: &str = "etc";

/// A line of the database: the letter of its field, and the rest.
pub type Field<'t> = (char, &'t str);

/// The paragraphs of the database, in its order.
pub fn paragraphs(text: &str) -> impl Iterator<Item = Vec<Field<'_>>> {
    let field = |line| {
        let (letter, value): (&str, &str) = str::split_once(line, ':')?;
        Some((letter.chars().next()?, value))
    };
    text.split("\n\n").map(move |block| block.lines().filter_map(field).collect::<Vec<_>>()).filter(|p| !p.is_empty())
}

/// A field of a paragraph; empty if it is not there.
pub fn value<'t>(paragraph: &[Field<'t>], letter: char) -> &'t str {
    paragraph.iter().find(|(l, _)| *l == letter).map_or("", |(_, value)| value)
}

/// The text of the database.
pub fn read(root: &Root) -> Result<String> {
    match root.read_text_if_there(INSTALLED)? {
        Some(text) => Ok(text),
        None => bail!("the image has no /{INSTALLED}: it is no Alpine system"),
    }
}

/// The packages that the image's database has, sorted.
pub fn installed(root: &Root) -> Result<Vec<Installed>> {
    let text = read(root)?;
    let mut packages = Vec::new();
    for paragraph in paragraphs(&text) {
        let get = |letter| value(&paragraph, letter);
        let source = if get('o').is_empty() { get('P') } else { get('o') };
        packages.push(Installed {
            name: get('P').to_owned(),
            version: get('V').to_owned(),
            arch: get('A').to_owned(),
            source: source.to_owned(),
            source_version: get('V').to_owned(),
            installed_size: get('I').parse().unwrap_or(0),
            licence_files: Vec::new(),
            licence: get('L').to_owned(),
        });
    }
    packages.sort();
    Ok(packages)
}

/// Which package owns which path: the first in the database, where several share a folder.
pub fn owners(root: &Root) -> Result<Owners> {
    let text = read(root)?;
    let mut owners = Owners::default();
    for paragraph in paragraphs(&text) {
        let package = value(&paragraph, 'P');
        let mut folder = PathBuf::new();
        for (letter, value) in &paragraph {
            let path = match letter {
                'F' => {
                    // The links in it are followed once; files of it are then where it is.
                    let literal = Path::new(value);
                    let at = || format!("looking at /{value}");
                    folder = real_target(root, literal).with_context(at)?.unwrap_or_else(|| literal.to_owned());
                    real_path(root, literal).with_context(at)?
                }
                'R' => folder.join(value),
                _ => continue,
            };
            if path.as_os_str().is_empty() {
                continue;
            }
            if *letter == 'R' && path.starts_with(CONFIGURATION) {
                owners.conffiles.insert(path.clone());
            }
            owners.paths.entry(path).or_insert_with(|| package.to_owned());
        }
    }
    Ok(owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_owners() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = Root::open(dir.path()).expect("it opens");
        root.create_dir_all("usr/bin", 0o755).expect("a folder");
        root.create_dir_all("lib/apk/db", 0o755).expect("a folder");
        root.symlink("usr/bin", "bin").expect("a link");
        let text = "C:Q1x\nP:b\nV:1-r0\nA:x86_64\nI:7\nL:MIT\no:src\nF:bin\nR:sh\na:0:0:777\nF:gone\nR:x\n\n\
                    C:Q1y\nP:a\nV:2\nA:x86_64\nF:\nR:top\nF:etc\nR:a.conf\nF:usr/bin\nR:sh\n\n";
        root.write(INSTALLED, text, 0o644).expect("a file");
        let packages = installed(&root).expect("it reads");
        let names: Vec<_> = packages.iter().map(|p| (p.name.as_str(), p.source.as_str(), p.installed_size)).collect();
        assert_eq!(names, [("a", "a", 0), ("b", "src", 7)]);
        let owners = owners(&root).expect("it reads");
        let paths: Vec<(&str, &str)> =
            owners.paths.iter().map(|(p, o)| (p.to_str().expect("text"), o.as_str())).collect();
        let expected = [("bin", "b"), ("etc", "a"), ("etc/a.conf", "a"), ("gone", "b"), ("gone/x", "b"), ("top", "a")];
        let expected = [&expected[..], &[("usr/bin", "a"), ("usr/bin/sh", "b")]].concat();
        assert_eq!(paths, expected);
        assert_eq!(owners.conffiles.iter().collect::<Vec<_>>(), [Path::new("etc/a.conf")]);
    }
}
