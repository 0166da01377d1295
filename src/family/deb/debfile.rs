//! What a `.deb` file says about itself (`deb(5)`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest, Sha256};

use super::codec::Codec;
use super::control::Paragraph;

const MAGIC: &[u8] = b"!<arch>\n";
/// Name, time, owner, group, mode, size and an end mark, in columns.
const HEADER: usize = 60;
/// The control member may have this many bytes, packed; the largest in Debian have a few megabytes.
const MAX_PACKED: u64 = 64 << 20;
/// Its tar may have this many bytes.
const MAX_TAR: u64 = 256 << 20;
/// The control file itself may have this many bytes.
const MAX_CONTROL: u64 = 1 << 20;

/// A package file.
#[derive(Debug)]
pub struct DebFile {
    /// Its control file.
    pub control: Paragraph,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// Reads the control file of a package file, and its size and hash.
pub fn read(path: &Path) -> Result<DebFile> {
    let context = || format!("reading the package file {}", path.display());
    let mut file = BufReader::new(File::open(path).with_context(context)?);
    let control = control(&mut file).with_context(context)?;
    file.rewind().with_context(context)?;
    let mut hash = Sha256::new();
    let mut size = 0;
    loop {
        let bytes = file.fill_buf().with_context(context)?;
        if bytes.is_empty() {
            break;
        }
        hash.update(bytes);
        let length = bytes.len();
        size += length as u64;
        file.consume(length);
    }
    Ok(DebFile { control, size, sha256: hex(&hash.finalize()) })
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn control(file: &mut (impl BufRead + Seek + Send)) -> Result<Paragraph> {
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic).context("the file is too short")?;
    if magic != MAGIC {
        bail!("it is not a package file: the ar signature is missing");
    }
    loop {
        let mut header = [0; HEADER];
        file.read_exact(&mut header).context("there is no control.tar in it")?;
        let name = String::from_utf8_lossy(&header[..16]).trim_end_matches([' ', '/']).to_owned();
        let size = String::from_utf8_lossy(&header[48..58]).trim_end().to_owned();
        let size: u64 = size.parse().with_context(|| format!("the member '{name}' has the size '{size}'"))?;
        if let Some(ending) = name.strip_prefix("control.tar") {
            let codec = Codec::ALL.into_iter().find(|codec| codec.ending() == ending);
            let codec = codec.with_context(|| format!("the compression of '{name}' is not known"))?;
            if size > MAX_PACKED {
                bail!("'{name}' has {size} bytes, more than the {MAX_PACKED} it may have");
            }
            let tar = codec.reader(file.take(size), 1)?.take(MAX_TAR);
            return control_file(tar).with_context(|| format!("reading '{name}'"));
        }
        // Members begin at even positions.
        file.seek_relative(i64::try_from(size + size % 2).context("a member's size is out of range")?)?;
    }
}

fn control_file(tar: impl Read) -> Result<Paragraph> {
    for entry in tar::Archive::new(tar).entries()? {
        let entry = entry?;
        if entry.path()?.strip_prefix(".").unwrap_or(&entry.path()?) != Path::new("control") {
            continue;
        }
        if entry.size() > MAX_CONTROL {
            bail!("the control file has {} bytes, more than the {MAX_CONTROL} it may have", entry.size());
        }
        let mut text = String::new();
        entry.take(MAX_CONTROL).read_to_string(&mut text).context("reading the control file")?;
        return Paragraph::parse(&text).context("the control file");
    }
    bail!("there is no control file in it")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn member(name: &str, data: &[u8]) -> Vec<u8> {
        let mut out = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", data.len()).into_bytes();
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(2), b'\n');
        out
    }

    fn tar_of(name: &str, content: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content.as_bytes()).expect("an entry");
        tar.into_inner().expect("an archive")
    }

    /// A package file with nothing but a control file in it.
    pub fn deb(control: &str) -> Vec<u8> {
        let packed = zstd::encode_all(&tar_of("./control", control)[..], 1).expect("it compresses");
        [MAGIC, &member("debian-binary", b"2.0\n")[..], &member("control.tar.zst", &packed)].concat()
    }

    fn read_bytes(bytes: &[u8]) -> Result<DebFile> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.deb");
        std::fs::write(&path, bytes).expect("a file");
        read(&path)
    }

    #[test]
    fn control_is_found_whatever_the_compression() {
        let tar = tar_of("control", "Package: a\nVersion: 1\n");
        let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
        std::io::Write::write_all(&mut xz, &tar).expect("it compresses");
        for (name, data) in [("control.tar/", tar.clone()), ("control.tar.xz", xz.finish().expect("it ends"))] {
            // The first member has an odd size.
            let bytes = [MAGIC, &member("debian-binary", b"2.0")[..], &member(name, &data)].concat();
            let file = read_bytes(&bytes).expect("it is valid");
            assert_eq!(file.control.get("Package"), Some("a"));
            assert_eq!(file.size, bytes.len() as u64);
            assert_eq!(file.sha256, hex(&Sha256::digest(&bytes)));
        }
        assert_eq!(read_bytes(&deb("Package: b\n")).expect("it is valid").control.get("package"), Some("b"));
    }

    #[test]
    fn bad_ones() {
        let no_control = zstd::encode_all(&tar_of("./postinst", "x")[..], 1).expect("it compresses");
        for (bytes, part) in [
            (b"".to_vec(), "too short"),
            (b"PK\x03\x04 a zip file".to_vec(), "not a package file"),
            (MAGIC.to_vec(), "no control.tar"),
            ([MAGIC, &member("control.tar.lzma", b"")].concat(), "compression of 'control.tar.lzma'"),
            ([MAGIC, &member("control.tar.zst", b"junk")].concat(), "reading 'control.tar.zst'"),
            ([MAGIC, &member("control.tar.zst", &no_control)].concat(), "no control file"),
            ([MAGIC, &member("x", b"")[..48], b"abc       `\n"].concat(), "size 'abc'"),
            ([MAGIC, &member("control.tar", b"")[..48], b"9999999999`\n"].concat(), "more than"),
            (deb("no colon\n"), "line 1"),
        ] {
            let error = read_bytes(&bytes).expect_err(part);
            let message = format!("{error:#}");
            assert!(message.contains(part) && message.contains("x.deb"), "{part}: {message}");
        }
    }
}
