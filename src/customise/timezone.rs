//! The time zone: `/etc/localtime` is a link into the zone database, and `/etc/timezone` says the same where it is read.
//!
//! Debian's tzdata takes the zone from the link whenever it is configured again, so an upgrade in the image keeps
//! it and its debconf answers need no change here.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::error::{nearest, usage};
use crate::root::{Kind, Root};

/// The zone database, see `tzset(3)`.
const ZONEINFO: &str = "usr/share/zoneinfo";
/// The first bytes of every compiled zone, RFC 9636 section 3.1.
const MAGIC: &[u8; 4] = b"TZif";
/// The names of UTC in the database (its file `backward` links them).
const UTC: [&str; 8] = ["Etc/UTC", "UTC", "Etc/UCT", "UCT", "Etc/Universal", "Universal", "Etc/Zulu", "Zulu"];
/// Entries of the database that are no zones: `localtime` is a link back to `/etc/localtime`.
const NO_ZONES: [&str; 2] = ["localtime", "posixrules"];

/// Whether a zone is UTC by one of its names: it needs no database, for a system without `/etc/localtime` has it too
/// (`localtime(5)`).
pub fn is_utc(zone: &str) -> bool {
    UTC.contains(&zone)
}

/// Sets the zone, in `/etc/timezone` too if it is `named` there. A usage error names the nearest zone of the tree.
pub fn set(zone: &str, named: bool, root: &Root) -> Result<()> {
    if !well_formed(zone) {
        return Err(usage(format!(
            "system.timezone: '{zone}' is no name of a time zone; write one like Europe/Berlin or Etc/UTC"
        )));
    }
    if is_zone(root, zone) {
        root.create_dir_all("etc", 0o755)?;
        root.symlink(Path::new("/").join(ZONEINFO).join(zone), "etc/localtime")?;
        return if named { root.write("etc/timezone", format!("{zone}\n"), 0o644) } else { Ok(()) };
    }
    if is_utc(zone) {
        // Without a database there is nothing to link to. An absent /etc/localtime means UTC to every libc,
        // a dangling one is an error to some programs.
        root.remove_file("etc/localtime")?;
        root.remove_file("etc/timezone")?;
        return Ok(());
    }
    Err(unknown(zone, root)?)
}

/// Whether the name can be a zone at all, and stays inside the database.
fn well_formed(zone: &str) -> bool {
    let part = |p: &str| {
        p.starts_with(|c: char| c.is_ascii_alphabetic())
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-_".contains(&b))
    };
    !NO_ZONES.contains(&zone) && zone.split('/').all(part)
}

/// Whether the tree has a compiled zone of this name.
fn is_zone(root: &Root, zone: impl AsRef<Path>) -> bool {
    let mut magic = [0; MAGIC.len()];
    root.open_file(Path::new(ZONEINFO).join(zone)).is_ok_and(|mut f| f.read_exact(&mut magic).is_ok())
        && magic == *MAGIC
}

/// Every zone of the tree, without the copies with another idea of leap seconds (`posix/`, `right/`).
fn zones(root: &Root) -> Result<Vec<String>> {
    let mut zones = Vec::new();
    for entry in root.walk(ZONEINFO)? {
        let Some(name) = entry.path.strip_prefix(ZONEINFO).ok().and_then(|p| p.to_str()) else { continue };
        let copy = name.starts_with("posix/") || name.starts_with("right/");
        if entry.kind() != Kind::Dir && !copy && well_formed(name) && is_zone(root, name) {
            zones.push(name.to_string());
        }
    }
    Ok(zones)
}

/// Says why there is no such zone, and which one is likely meant.
fn unknown(zone: &str, root: &Root) -> Result<anyhow::Error> {
    let zones = zones(root)?;
    if zones.is_empty() {
        return Ok(usage(format!(
            "system.timezone: '{zone}' needs the time zone database, which is not in the image; \
             add tzdata to packages.include"
        )));
    }
    if let Some(today) = renamed(zone, root)? {
        return Ok(usage(format!(
            "system.timezone: '{zone}' is an old name of '{today}'; write that, or add the package with the old names \
             (Debian: tzdata-legacy) to packages.include"
        )));
    }
    let city = |z: &&String| z.rsplit('/').next().is_some_and(|c| c.eq_ignore_ascii_case(zone));
    let same = |z: &&String| z.eq_ignore_ascii_case(zone);
    let meant = zones.iter().find(same).or_else(|| zones.iter().find(city)).map(String::as_str);
    let hint = meant.or_else(|| nearest(zone, zones.iter().map(String::as_str)));
    let hint = hint.map_or_else(|| "; write one like Europe/Berlin".into(), |z| format!("; did you mean '{z}'?"));
    Ok(usage(format!("system.timezone: no time zone '{zone}' in the image{hint}")))
}

/// What an old name is called today, from the links that the database lists (`L TARGET NAME`, `zic(8)`) whether or
/// not they are installed.
fn renamed(zone: &str, root: &Root) -> Result<Option<String>> {
    let list = Path::new(ZONEINFO).join("tzdata.zi");
    let Some(text) = root.read_text_if_there(&list).context("reading the list of time zones")? else {
        return Ok(None);
    };
    Ok(text.lines().find_map(|line| match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
        ["L", target, name] if name == zone && is_zone(root, target) => Some(target.to_string()),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_code};

    fn tree(database: bool) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = Root::open(dir.path()).expect("it opens");
        root.create_dir("etc", 0o755).expect("a folder");
        if database {
            for folder in ["Asia", "Etc", "America", "right/Asia"] {
                root.create_dir_all(Path::new(ZONEINFO).join(folder), 0o755).expect("a folder");
            }
            for zone in ["Asia/Shanghai", "Etc/UTC", "America/New_York", "right/Asia/Shangha"] {
                root.write(Path::new(ZONEINFO).join(zone), "TZif2\0", 0o644).expect("a file");
            }
            root.write(Path::new(ZONEINFO).join("zone.tab"), "# text", 0o644).expect("a file");
            root.write(Path::new(ZONEINFO).join("Factory"), "no zone", 0o644).expect("a file");
            root.write(Path::new(ZONEINFO).join("tzdata.zi"), "L America/New_York US/Eastern\nR a b\n", 0o644)
                .expect("a file");
            root.symlink("/etc/localtime", Path::new(ZONEINFO).join("localtime")).expect("a link");
            root.symlink("Etc/UTC", Path::new(ZONEINFO).join("UTC")).expect("a link");
        }
        (dir, root)
    }

    #[test]
    fn link_and_file_agree() {
        let (_dir, root) = tree(true);
        root.symlink("/usr/share/zoneinfo/Etc/UTC", "etc/localtime").expect("a link");
        for zone in ["Asia/Shanghai", "Etc/UTC", "UTC"] {
            set(zone, true, &root).expect("it is there");
            let link = root.read_link("etc/localtime").expect("a link");
            assert_eq!(link, Path::new("/usr/share/zoneinfo").join(zone));
            assert_eq!(root.read_text("etc/timezone").expect("a file"), format!("{zone}\n"));
        }
    }

    #[test]
    fn the_name_is_written_only_where_it_is_read() {
        let (_dir, root) = tree(true);
        set("Asia/Shanghai", false, &root).expect("it is there");
        assert!(root.exists("etc/localtime") && root.lstat("etc/timezone").expect("stat").is_none());
    }

    #[test]
    fn utc_needs_no_database_and_nothing_dangles() {
        let (_dir, root) = tree(false);
        root.symlink("/usr/share/zoneinfo/Etc/UTC", "etc/localtime").expect("a link");
        root.write("etc/timezone", "Etc/UTC\n", 0o644).expect("a file");
        set("Etc/UTC", true, &root).expect("UTC is always there");
        assert!(root.lstat("etc/localtime").expect("stat").is_none());
        assert!(root.lstat("etc/timezone").expect("stat").is_none());
    }

    #[test]
    fn mistakes_are_usage_errors_that_help() {
        let (_dir, root) = tree(true);
        for (zone, says) in [
            ("Asia/Shangai", "did you mean 'Asia/Shanghai'?"),
            ("asia/shanghai", "did you mean 'Asia/Shanghai'?"),
            ("shanghai", "did you mean 'Asia/Shanghai'?"),
            ("US/Eastern", "an old name of 'America/New_York'"),
            ("Asia", "no time zone 'Asia'"),
            ("Factory", "no time zone"),
            ("../../etc/passwd", "no name"),
            ("/etc/passwd", "no name"),
            ("Etc//UTC", "no name"),
            ("Etc/../Etc/UTC", "no name"),
            ("localtime", "no name"),
            ("", "no name"),
        ] {
            let error = set(zone, true, &root).expect_err(zone);
            assert_eq!(exit_code(&error), Exit::Usage, "{zone}");
            let text = error.to_string();
            assert!(text.starts_with("system.timezone: ") && text.contains(says), "{zone}: {text}");
            assert!(root.lstat("etc/localtime").expect("stat").is_none(), "{zone}");
        }
        let (_dir, root) = tree(false);
        let error = set("Asia/Shanghai", true, &root).expect_err("no database");
        assert!(error.to_string().contains("add tzdata to packages.include"), "{error}");
        assert_eq!(exit_code(&error), Exit::Usage);
    }
}
