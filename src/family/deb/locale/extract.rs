//! Takes one folder out of a package file, `deb(5)`, without installing it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The sources of all locales are 17 MB, compressed charmaps included.
const LIMIT: u64 = 512 << 20;
/// What an `ar` file begins with.
const MAGIC: &[u8] = b"!<arch>\n";
/// Length of the header of each member: name 16, time 12, owner 6, group 6, mode 8, size 10, end 2.
const HEADER: usize = 60;

/// Writes the regular files and folders below `prefix` in `deb` to `to`, which must not exist. Links and devices are
/// left out, so that nothing written can lead elsewhere. More than 512 MB of data, or no such folder, is an error.
pub fn extract_subtree(deb: &Path, prefix: &Path, to: &Path) -> Result<()> {
    extract_limited(deb, prefix, to, LIMIT)
}

fn extract_limited(deb: &Path, prefix: &Path, to: &Path, limit: u64) -> Result<()> {
    let file = File::open(deb).with_context(|| format!("opening {}", deb.display()))?;
    let data = data_member(BufReader::new(file))?.take(limit);
    make_dir(to)?;
    let mut found = false;
    let mut archive = tar::Archive::new(data);
    for entry in archive.entries().context("reading its data")? {
        let mut entry = entry.context("reading its data")?;
        let path = entry.path().context("reading a path")?.into_owned();
        let Some(below) = below(&path, prefix)? else { continue };
        let target = to.join(&below);
        let context = || format!("writing {}", target.display());
        let entry_type = entry.header().entry_type();
        if entry_type.is_file() {
            found = true;
            if let Some(parent) = target.parent() {
                make_dir(parent)?;
            }
            // create_new: a second entry of the same name is not to be trusted.
            let mut out =
                OpenOptions::new().write(true).create_new(true).mode(0o644).open(&target).with_context(context)?;
            let size = entry.size();
            if io::copy(&mut entry, &mut out).with_context(context)? != size {
                bail!("its data ends within {}, or is larger than {limit} bytes", path.display());
            }
        } else if entry_type.is_dir() {
            make_dir(&target)?;
        }
    }
    if !found {
        bail!("it has no /{}", prefix.display());
    }
    Ok(())
}

/// `path` relative to `prefix`, or `None` when it is not below it. One with `..` in it is an error.
fn below(path: &Path, prefix: &Path) -> Result<Option<PathBuf>> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => bail!("the path {} leads out of it", path.display()),
        }
    }
    Ok(clean.strip_prefix(prefix).ok().map(Path::to_owned))
}

fn make_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.with_context(|| format!("making the folder {}", path.display()))
}

/// The decompressed `data.tar` of a package.
fn data_member<R: Read + Seek + 'static>(mut deb: R) -> Result<Box<dyn Read>> {
    let mut magic = [0; MAGIC.len()];
    deb.read_exact(&mut magic).context("reading its head")?;
    if magic != MAGIC {
        bail!("it is not a Debian package");
    }
    loop {
        let mut header = [0; HEADER];
        deb.read_exact(&mut header).context("looking for data.tar in it")?;
        let text = String::from_utf8_lossy(&header);
        let name = text.get(..16).unwrap_or_default().trim_end().trim_end_matches('/').to_owned();
        let size = text.get(48..58).and_then(|s| s.trim_end().parse::<u64>().ok());
        let (Some(size), [.., b'`', b'\n']) = (size, header) else { bail!("a header in it is broken") };
        let Some(suffix) = name.strip_prefix("data.tar") else {
            // Members begin at even positions.
            deb.seek(SeekFrom::Current(i64::try_from(size + size % 2)?)).context("looking for data.tar in it")?;
            continue;
        };
        let member = deb.take(size);
        return Ok(match suffix {
            "" => Box::new(member),
            ".gz" => Box::new(flate2::read::GzDecoder::new(member)),
            ".xz" => Box::new(xz2::read::XzDecoder::new(member)),
            ".zst" => Box::new(zstd::Decoder::new(member).context("reading its data")?),
            _ => bail!("it is compressed in an unknown way: {name}"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn member(name: &str, data: &[u8]) -> Vec<u8> {
        let mut member = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, data.len()).into_bytes();
        member.extend_from_slice(data);
        member.resize(member.len() + data.len() % 2, b'\n');
        member
    }

    fn tarball(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind, data) in entries {
            let mut header = tar::Header::new_gnu();
            // Written past `set_path`, which refuses the paths this is about.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o600);
            header.set_size(if kind.is_file() { data.len() as u64 } else { 0 });
            if kind.is_symlink() {
                header.set_link_name(data).expect("it fits");
            }
            header.set_cksum();
            tar.append(&header, if kind.is_file() { data.as_bytes() } else { &[] }).expect("it is written");
        }
        tar.into_inner().expect("it ends")
    }

    fn deb(suffix: &str, data: &[u8]) -> Vec<u8> {
        let control = member("control.tar.xz", b"odd");
        [MAGIC, &member("debian-binary", b"2.0\n"), &control, &member(&format!("data.tar{suffix}"), data)].concat()
    }

    fn extract(deb: &[u8]) -> (tempfile::TempDir, Result<()>) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("package.deb");
        std::fs::write(&file, deb).expect("it is written");
        let result = extract_subtree(&file, Path::new("usr/share/i18n"), &dir.path().join("out"));
        (dir, result)
    }

    #[test]
    fn every_compression_and_only_the_folder() {
        use tar::EntryType::{Directory, Regular, Symlink};
        let tar = tarball(&[
            ("./usr/share/", Directory, ""),
            ("./usr/share/i18n/", Directory, ""),
            ("./usr/share/i18n/SUPPORTED", Regular, "de_DE UTF-8"),
            ("usr/share/i18n/locales/de_DE", Regular, "source"),
            ("./usr/share/i18n/link", Symlink, "/etc"),
            ("./usr/share/i18nx/file", Regular, "other"),
            ("./etc/locale.alias", Regular, "other"),
        ]);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&tar).expect("compressed");
        let mut xz = xz2::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(&tar).expect("compressed");
        for (suffix, data) in [
            ("", tar.clone()),
            (".gz", gz.finish().expect("compressed")),
            (".xz", xz.finish().expect("compressed")),
            (".zst", zstd::encode_all(tar.as_slice(), 1).expect("compressed")),
        ] {
            let (dir, result) = extract(&deb(suffix, &data));
            result.expect(suffix);
            let out = dir.path().join("out");
            assert_eq!(std::fs::read_to_string(out.join("SUPPORTED")).expect("there"), "de_DE UTF-8");
            assert_eq!(std::fs::read_to_string(out.join("locales/de_DE")).expect("there"), "source");
            assert!(out.join("link").symlink_metadata().is_err());
            assert_eq!(std::fs::read_dir(&out).expect("a folder").count(), 2);
        }
    }

    #[test]
    fn hostile_packages_are_refused() {
        use tar::EntryType::{Regular, Symlink};
        let outside = tarball(&[("./usr/share/i18n/../../../../escaped", Regular, "x")]);
        let (dir, result) = extract(&deb("", &outside));
        result.expect_err("a path out of it");
        assert!(!dir.path().join("escaped").exists());
        let twice = tarball(&[("usr/share/i18n/a", Regular, "x"), ("usr/share/i18n/a", Regular, "y")]);
        extract(&deb("", &twice)).1.expect_err("a name twice");
        let through = tarball(&[("usr/share/i18n/a", Symlink, "/tmp"), ("usr/share/i18n/a/b", Regular, "y")]);
        let (dir, result) = extract(&deb("", &through));
        result.expect("the link is left out");
        assert!(dir.path().join("out/a").is_dir() && !dir.path().join("out/a").is_symlink());
        let good = tarball(&[("usr/share/i18n/a", Regular, "x")]);
        extract(&deb(".lzma", &good)).1.expect_err("an unknown compression");
        extract(&deb("", &tarball(&[("usr/other", Regular, "x")]))).1.expect_err("no such folder");
        extract(b"PK\x03\x04").1.expect_err("no package");
        for missing in [1536 - 10, 1536, 2040] {
            let mut cut = deb("", &good);
            cut.truncate(cut.len() - missing);
            extract(&cut).1.expect_err("cut off");
        }
        let (dir, result) = extract(&deb("", &tarball(&[("usr/share/i18n/a", Regular, &"x".repeat(5000))])));
        result.expect("it fits");
        let file = dir.path().join("package.deb");
        extract_limited(&file, Path::new("usr"), &dir.path().join("small"), 4000).expect_err("too large");
        let mut broken = deb("", &good);
        broken[8 + 58] = b'x';
        extract(&broken).1.expect_err("a broken header");
    }
}
