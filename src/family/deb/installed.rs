//! Reads dpkg's database back: what is installed, and whose every path is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::control::Paragraph;
use super::database::ADMIN;
use crate::family::links::Links;
use crate::family::{Installed, Owners};
use crate::root::Root;

/// The packages that the image's database has, sorted. Removed ones of which only configuration is left do not count.
pub fn installed(root: &Root) -> Result<Vec<Installed>> {
    let mut packages = Vec::new();
    for paragraph in status(root)? {
        let get = |name: &str| paragraph.get(name).unwrap_or_default();
        let name = get("Package");
        let version = get("Version");
        // `Source: NAME (VERSION)`, where they are not the package's own, deb-control(5).
        let (source, source_version) = match get("Source") {
            "" => (name, version),
            source => match source.split_once('(') {
                Some((source, version)) => (source.trim(), version.trim_end_matches(')').trim()),
                None => (source, version),
            },
        };
        let copyright = format!("/usr/share/doc/{name}/copyright");
        packages.push(Installed {
            name: name.to_string(),
            version: version.to_string(),
            arch: get("Architecture").to_string(),
            source: source.to_string(),
            source_version: source_version.to_string(),
            installed_size: get("Installed-Size").parse::<u64>().unwrap_or(0).saturating_mul(1024),
            licence_files: if root.exists(&copyright) { vec![copyright] } else { Vec::new() },
            licence: String::new(),
        });
    }
    packages.sort();
    Ok(packages)
}

/// Which package owns which path: the first by name, where several share a folder.
pub fn owners(root: &Root) -> Result<Owners> {
    let mut owners = Owners::default();
    let mut links = Links::new(root);
    let diversions = diversions(root)?;
    let mut conffiles: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for paragraph in status(root)? {
        let of = conffiles.entry(paragraph.get("Package").unwrap_or_default().to_string()).or_default();
        for line in paragraph.get("Conffiles").unwrap_or_default().lines().filter(|l| !l.trim().is_empty()) {
            // ` PATH HASH [obsolete] [remove-on-upgrade]`: the path may hold blanks, the hash does not.
            let words: Vec<&str> = line.trim().split(' ').collect();
            let flags = words.iter().rev().take_while(|w| ["obsolete", "remove-on-upgrade"].contains(w)).count();
            if flags == 0 && words.len() >= 2 {
                of.insert(words[..words.len() - 1].join(" "));
            }
        }
    }
    for file in root.read_dir(format!("{ADMIN}/info"))? {
        let Some(package) = file.to_str().and_then(|f| f.strip_suffix(".list")) else { continue };
        let package = package.split(':').next().unwrap_or(package);
        let list = root.read(format!("{ADMIN}/info/{}", file.to_string_lossy()))?;
        for line in list.split(|b| *b == b'\n').filter(|l| !l.is_empty() && *l != b"/.") {
            let literal = Path::new(OsStr::from_bytes(line));
            let actual = match diversions.get(literal) {
                Some((to, by)) if by != package => to.as_path(),
                _ => literal,
            };
            let path = links.follow_parents(actual)?;
            if literal.to_str().is_some_and(|l| conffiles.get(package).is_some_and(|c| c.contains(l))) {
                owners.conffiles.insert(path.clone());
            }
            owners.paths.entry(path).or_insert_with(|| package.to_string());
        }
    }
    Ok(owners)
}

/// The paragraphs of `status` of packages that have files in the image.
fn status(root: &Root) -> Result<Vec<Paragraph>> {
    let path = format!("{ADMIN}/status");
    let Some(text) = root.read_text_if_there(&path)? else {
        bail!("the image has no /{path}: it is no Debian system");
    };
    let mut paragraphs = Paragraph::parse_all(&text).with_context(|| format!("reading /{path}"))?;
    // `Status: WANT FLAG STATE`, dpkg(1), "PACKAGE STATES".
    paragraphs.retain(|p| {
        let state = p.get("Status").and_then(|s| s.split(' ').nth(2));
        !matches!(state, Some("not-installed" | "config-files") | None)
    });
    Ok(paragraphs)
}

/// Diverted paths: where to, and by which package, to which it does not apply. Three lines each.
fn diversions(root: &Root) -> Result<HashMap<PathBuf, (PathBuf, String)>> {
    let text = root.read_text_if_there(format!("{ADMIN}/diversions"))?.unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines.chunks_exact(3).map(|d| (d[0].into(), (d[1].into(), d[2].to_string()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = Root::open(dir.path()).expect("it opens");
        for folder in ["var/lib/dpkg/info", "usr/bin", "usr/share/doc/dash", "run", "etc"] {
            root.create_dir_all(folder, 0o755).expect("a folder");
        }
        root.symlink("usr/bin", "bin").expect("a link");
        root.symlink("/run", "var/run").expect("a link");
        root.symlink("loop", "loop").expect("a link");
        root.write("usr/share/doc/dash/copyright", "free\n", 0o644).expect("a file");
        let status = "Package: dash\nStatus: install ok installed\nVersion: 1:2\nArchitecture: amd64\nInstalled-Size: \
                      3\nSource: dash-src (1:1)\nConffiles:\n /etc/dash.conf 0123\n /etc/old 4567 obsolete\n\nPackage: \
                      gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: broken\nStatus: install ok \
                      unpacked\nVersion: 2\nArchitecture: all\n";
        root.write("var/lib/dpkg/status", status, 0o644).expect("a file");
        let list =
            "/.\n/bin\n/bin/sh\n/var\n/var/run\n/var/run/dash\n/etc/dash.conf\n/etc/old\n/bin/diverted\n/loop/x\n";
        root.write("var/lib/dpkg/info/dash:amd64.list", list, 0o644).expect("a file");
        root.write("var/lib/dpkg/info/other.list", "/.\n/var\n/bin/diverted\n", 0o644).expect("a file");
        root.write("var/lib/dpkg/diversions", "/bin/diverted\n/bin/diverted.real\nother\n", 0o644).expect("a file");
        (dir, root)
    }

    #[test]
    fn what_is_installed() {
        let (_dir, root) = tree();
        let packages = installed(&root).expect("it reads");
        assert_eq!(packages.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["broken", "dash"]);
        let dash = &packages[1];
        assert_eq!((dash.source.as_str(), dash.source_version.as_str()), ("dash-src", "1:1"));
        assert_eq!(dash.installed_size, 3072);
        assert_eq!(dash.licence_files, ["/usr/share/doc/dash/copyright"]);
        assert_eq!((packages[0].source.as_str(), packages[0].source_version.as_str()), ("broken", "2"));
        root.remove_file("var/lib/dpkg/status").expect("removed");
        assert!(installed(&root).is_err());
    }

    #[test]
    fn whose_every_path_is() {
        let (_dir, root) = tree();
        let owners = owners(&root).expect("it reads");
        let owner = |path: &str| owners.paths.get(Path::new(path)).map(String::as_str);
        assert_eq!(owner("usr/bin/sh"), Some("dash"));
        assert_eq!(owner("bin/sh"), None);
        assert_eq!(owner("bin"), Some("dash"));
        assert_eq!(owner("run/dash"), Some("dash"));
        assert_eq!(owner("var"), Some("dash"));
        assert_eq!(owner("usr/bin/diverted"), Some("other"));
        assert_eq!(owner("usr/bin/diverted.real"), Some("dash"));
        assert!(!owners.paths.contains_key(Path::new("")));
        let conffiles: Vec<&str> = owners.conffiles.iter().filter_map(|p| p.to_str()).collect();
        assert_eq!(conffiles, ["etc/dash.conf"]);
    }
}
