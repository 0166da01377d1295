//! apk's database, `apk-installed(5)`: written byte for byte as apk does, so that apk inside goes on from it.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};

use super::instances::Instances;
use super::package::{Package, checksum};
use super::solve::display_order;
use super::stage::Acl;
use super::tree::Tree;
use super::version;
use crate::hash::hex;
use crate::lock::LockedPackage;
use crate::root::Root;

/// The folder of the database.
pub const FOLDER: &str = "lib/apk/db";
/// The installed packages, with their files.
pub const INSTALLED: &str = "lib/apk/db/installed";
/// What was asked for.
pub const WORLD: &str = "etc/apk/world";
const ARCH: &str = "etc/apk/arch";
const TRIGGERS: &str = "lib/apk/db/triggers";
/// apk 3 compresses the scripts.
const SCRIPTS: &str = "lib/apk/db/scripts.tar.gz";
/// apk 2 does not; apk 3 reads both, and keeps to what is there.
const SCRIPTS_2: &str = "lib/apk/db/scripts.tar";

/// An installed package.
#[derive(Debug)]
pub struct Record<'a> {
    /// The package file.
    pub package: &'a Package,
    /// Its line of the lock: what the index said of it.
    pub locked: &'a LockedPackage,
    /// The tag of its repository; empty as a rule.
    pub tag: String,
    /// Its place in the order of installation.
    pub index: usize,
}

/// Writes the whole database. `world` is what was asked for, sorted.
pub fn write(root: &Root, arch: &str, world: &[String], mut records: Vec<Record<'_>>, tree: &Tree<'_>) -> Result<()> {
    records.sort_by(|a, b| {
        let (a, b) = (&a.package.info, &b.package.info);
        display_order(&a.name, &b.name).then_with(|| version::compare(&a.version, &b.version))
    });
    let (mut installed, mut triggers, mut scripts) = (Vec::new(), Vec::new(), Vec::new());
    for record in &records {
        stanza(&mut installed, record, tree)?;
        let package = record.package;
        // Of a package without files apk reads neither.
        if package.info.installed_size == 0 {
            continue;
        }
        if !package.info.triggers.is_empty() {
            writeln!(triggers, "{} {}", package.info.checksum, package.info.triggers.join(" "))?;
        }
        for (name, text) in &package.scripts {
            let info = &package.info;
            let name = format!("{}-{}.X1{}.{name}", info.name, info.version, hex(&package.identity));
            tar_entry(&mut scripts, &name, info.build_time, text);
        }
    }
    scripts.extend_from_slice(&[0; 1024]);

    root.create_dir_all(FOLDER, 0o755)?;
    root.create_dir_all("etc/apk", 0o755)?;
    root.write(INSTALLED, installed, 0o644)?;
    root.write(TRIGGERS, triggers, 0o644)?;
    let tools = records.iter().find(|r| r.package.info.name == "apk-tools");
    if tools.is_some_and(|r| version::compare(&r.package.info.version, "3").is_lt()) {
        root.write(SCRIPTS_2, scripts, 0o644)?;
    } else {
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        gzip.write_all(&scripts).and_then(|()| gzip.try_finish()).context("compressing the scripts")?;
        root.write(SCRIPTS, gzip.finish().context("compressing the scripts")?, 0o644)?;
    }
    root.write(WORLD, world.iter().map(|line| format!("{line}\n")).collect::<String>(), 0o644)?;
    root.write(ARCH, format!("{arch}\n"), 0o644)
}

/// One package's paragraph in `installed`.
fn stanza(out: &mut Vec<u8>, record: &Record<'_>, tree: &Tree<'_>) -> Result<()> {
    let (package, locked) = (record.package, record.locked);
    let info = &package.info;
    writeln!(out, "C:{}\nP:{}\nV:{}", package.info.checksum, info.name, info.version)?;
    let optional = |out: &mut Vec<u8>, letter: char, text: &str| -> Result<()> {
        if !text.is_empty() {
            writeln!(out, "{letter}:{text}")?;
        }
        Ok(())
    };
    let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    // The index may say the architecture of the repository where the package says noarch.
    optional(out, 'A', &locked.arch)?;
    writeln!(out, "S:{}\nI:{}\nT:{}", locked.size, info.installed_size, info.description)?;
    writeln!(out, "U:{}\nL:{}", info.url, info.license)?;
    optional(out, 'o', &info.origin)?;
    optional(out, 'm', &info.maintainer)?;
    optional(out, 't', &number(info.build_time))?;
    optional(out, 'c', &info.commit)?;
    optional(out, 'k', &number(info.provider_priority.into()))?;
    optional(out, 'D', &info.depends.to_string())?;
    optional(out, 'p', &info.provides.to_string())?;
    optional(out, 'i', &info.install_if.to_string())?;
    if info.installed_size != 0 {
        optional(out, 'r', &info.replaces.to_string())?;
        optional(out, 'q', &number(info.replaces_priority.into()))?;
    }
    optional(out, 's', &record.tag)?;
    if let Some(instances) = tree.records.get(&record.index) {
        files(out, record.index, instances, tree)?;
    }
    out.push(b'\n');
    Ok(())
}

fn files(out: &mut Vec<u8>, index: usize, instances: &Instances, tree: &Tree<'_>) -> Result<()> {
    for instance in instances.iter() {
        line(out, 'F', instance.path.as_os_str().as_bytes());
        if instance.acl != Acl::DIR {
            acl(out, 'M', &instance.acl)?;
        }
        for file in &instance.files {
            if tree.is_lost(index, &instance.path.join(&file.name)) {
                continue;
            }
            line(out, 'R', file.name.as_bytes());
            if file.acl != Acl::FILE {
                acl(out, 'a', &file.acl)?;
            }
            if let Some(sha1) = &file.sha1 {
                line(out, 'Z', checksum(sha1).as_bytes());
            }
        }
    }
    Ok(())
}

fn line(out: &mut Vec<u8>, letter: char, text: &[u8]) {
    out.extend_from_slice(&[letter as u8, b':']);
    out.extend_from_slice(text);
    out.push(b'\n');
}

fn acl(out: &mut Vec<u8>, letter: char, acl: &Acl) -> Result<()> {
    write!(out, "{letter}:{}:{}:{:o}", acl.uid, acl.gid, acl.mode)?;
    if let Some(sha1) = &acl.xattrs {
        write!(out, ":{}", checksum(sha1))?;
    }
    out.push(b'\n');
    Ok(())
}

/// A file of the archive of scripts: an old GNU header as apk writes it, with numbers that fill their fields.
fn tar_entry(out: &mut Vec<u8>, name: &str, mtime: u64, data: &[u8]) {
    const NAME: usize = 100;
    if name.len() >= NAME {
        out.extend_from_slice(&tar_header(b'L', "././@LongLink", mtime, name.len()));
        let mut long = name.as_bytes().to_vec();
        long.push(0);
        padded(out, &long);
    }
    // A name that is too long is cut here.
    out.extend_from_slice(&tar_header(b'0', &name[..name.len().min(NAME - 1)], mtime, data.len()));
    padded(out, data);
}

fn padded(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
}

fn tar_header(kind: u8, name: &str, mtime: u64, size: usize) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000755");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:012o}"));
    put(136, &format!("{mtime:012o}"));
    put(148, "        ");
    put(257, "ustar  ");
    put(265, "root");
    put(297, "root");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}
