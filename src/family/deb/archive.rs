//! The `.deb` file, `deb(5)`: an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*`, read as a stream.
//!
//! A package file is as hostile as its packager: every size is bounded, and no name is used as a path here.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::control::Paragraph;
use crate::codec::Codec;
use crate::family::members::{Bounded, Kind, Member, Members, Paths};

/// The maintainer scripts, lists and templates of one package are never larger than this; the largest in Debian have
/// a few megabytes of checksums.
const CONTROL_LIMIT: u64 = 128 << 20;
/// Data may always be this large, whatever the package says.
const DATA_FLOOR: u64 = 64 << 20;

const TOO_LARGE: &str = "it unpacks to far more than its Installed-Size and its own size can explain";

/// As much compressed data is read at once.
const DATA_BUFFER: usize = 128 << 10;

const AR_MAGIC: &[u8; 8] = b"!<arch>\n";
const AR_HEADER: usize = 60;

/// One file of a package's control archive.
#[derive(Debug, Clone)]
pub struct ControlFile {
    /// Its name, one plain path component.
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Its content.
    pub data: Vec<u8>,
}

/// The control archive of a package.
#[derive(Debug, Clone)]
pub struct Control {
    /// The `control` file, read.
    pub fields: Paragraph,
    /// Every other file, sorted by name.
    pub files: Vec<ControlFile>,
}

impl Control {
    /// A field of the `control` file; empty if it is not there.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_default()
    }

    /// A control file's content.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|f| f.name == name).map(|f| f.data.as_slice())
    }

    /// A control file as text.
    pub fn text(&self, name: &str) -> String {
        self.file(name).map(|data| String::from_utf8_lossy(data).into_owned()).unwrap_or_default()
    }
}

/// A package file whose control archive was read. It holds no open file: an image may have more packages than a
/// process may have files.
#[derive(Debug)]
pub struct Deb {
    path: PathBuf,
    control: Control,
    data_member: String,
    data_start: u64,
    data_size: u64,
}

impl Deb {
    /// Opens a package file and reads its control archive.
    pub fn open(path: &Path) -> Result<Deb> {
        Deb::read(path).with_context(|| format!("reading the package file {}", path.display()))
    }

    fn read(path: &Path) -> Result<Deb> {
        let mut file = BufReader::new(File::open(path)?);
        let mut magic = [0; AR_MAGIC.len()];
        fill(&mut file, &mut magic, "it is too short for a Debian package")?;
        if &magic != AR_MAGIC {
            bail!("it is not a Debian package: it does not begin as an ar archive does");
        }
        let (name, size) = next_member(&mut file)?;
        let mut version = String::new();
        (&mut file).take(size.min(64)).read_to_string(&mut version).context("reading debian-binary")?;
        if name != "debian-binary" || !version.starts_with("2.") {
            bail!("it is not a Debian package of format 2: its first member is {name:?} with {version:?}");
        }
        skip(&mut file, size.saturating_sub(64) + size % 2)?;
        let (name, size) = significant_member(&mut file)?;
        let Some(suffix) = name.strip_prefix("control.tar") else {
            bail!("the member after debian-binary is {name:?}, not control.tar");
        };
        let mut member = file.take(size);
        let control = read_control(decompress(suffix, &mut member)?.take(CONTROL_LIMIT))
            .with_context(|| format!("reading {name}"))?;
        let left = member.limit();
        let mut file = member.into_inner();
        skip(&mut file, left + size % 2)?;
        let (name, size) = significant_member(&mut file)?;
        if !name.starts_with("data.tar") {
            bail!("the member after control.tar is {name:?}, not data.tar");
        }
        let data_start = file.stream_position()?;
        if file.get_ref().metadata()?.len() < data_start.saturating_add(size) {
            bail!("it is cut short");
        }
        Ok(Deb { path: path.to_owned(), control, data_member: name, data_start, data_size: size })
    }

    /// The control archive.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Size of the compressed data archive in bytes.
    pub fn data_size(&self) -> u64 {
        self.data_size
    }

    /// Reads the data archive, giving each member to `each` with a reader of its content. The whole is bounded by
    /// what the package says of its size, generously.
    pub fn members(&self, mut each: impl FnMut(Member, &mut dyn Read) -> Result<()>) -> Result<()> {
        let says = self.control.field("Installed-Size").parse::<u64>().unwrap_or(0).saturating_mul(1024);
        let limit = DATA_FLOOR.saturating_add(says.saturating_mul(4)).saturating_add(self.data_size.saturating_mul(32));
        let context = || format!("reading {} of {}", self.data_member, self.path.display());
        let mut file = File::open(&self.path).with_context(context)?;
        file.seek(SeekFrom::Start(self.data_start)).with_context(context)?;
        let mut data = BufReader::with_capacity(DATA_BUFFER, file).take(self.data_size);
        let stream = decompress(self.data_member.trim_start_matches("data.tar"), &mut data).with_context(context)?;
        let mut members = Members::new(Bounded::new(stream, limit, TOO_LARGE), Paths::Lenient);
        while let Some((member, mut content)) = members.next().with_context(context)? {
            each(member, &mut content)?;
        }
        members.finish().with_context(context)
    }
}

fn read_control(stream: impl Read) -> Result<Control> {
    let mut files = Vec::new();
    let mut fields = None;
    let mut members = Members::new(stream, Paths::Lenient);
    while let Some((member, mut content)) = members.next()? {
        let Some(name) = member.path.to_str().filter(|n| !n.contains('/')) else {
            bail!("a control file has the name {:?}", member.path);
        };
        match member.kind {
            Kind::Dir if name.is_empty() => continue,
            Kind::File => {}
            _ => bail!("the control archive holds {name:?}, which is not a regular file"),
        }
        let mut data = Vec::new();
        content.read_to_end(&mut data)?;
        if name == "control" {
            let text = String::from_utf8_lossy(&data).into_owned();
            fields = Some(Paragraph::parse(&text).context("reading the file control")?);
        } else {
            let name = name.to_string();
            files.push(ControlFile { name, mode: member.mode, mtime: member.mtime, data });
        }
    }
    let Some(fields) = fields else { bail!("it has no file control") };
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Control { fields, files })
}

/// The next member that is not to be ignored: `deb(5)` reserves names that begin with `_`.
fn significant_member(file: &mut impl Read) -> Result<(String, u64)> {
    loop {
        let (name, size) = next_member(file)?;
        if !name.starts_with('_') {
            return Ok((name, size));
        }
        skip(file, size + size % 2)?;
    }
}

/// Reads the header of an `ar` member: name, and size of its content in bytes.
fn next_member(file: &mut impl Read) -> Result<(String, u64)> {
    let mut header = [0; AR_HEADER];
    fill(file, &mut header, "the archive ends early")?;
    if &header[58..] != b"`\n" {
        bail!("a member header of the ar archive is broken");
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_string();
    let name = text(&header[..16]).trim_end_matches('/').to_string();
    let size = text(&header[48..58]);
    let size = size.parse().ok().with_context(|| format!("the member {name} has the size {size:?}"))?;
    Ok((name, size))
}

/// Fills the buffer; `short` is the error where the file is too short for that.
fn fill(file: &mut impl Read, buffer: &mut [u8], short: &'static str) -> Result<()> {
    match file.read_exact(buffer) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => bail!(short),
        result => result.map_err(Into::into),
    }
}

fn skip(file: &mut impl Read, bytes: u64) -> Result<()> {
    let skipped = std::io::copy(&mut file.take(bytes), &mut std::io::sink())?;
    if skipped != bytes {
        bail!("the archive ends early");
    }
    Ok(())
}

/// The decompressor for what follows `control.tar` or `data.tar` in a member's name.
fn decompress<'r>(ending: &str, stream: impl BufRead + Send + 'r) -> Result<Box<dyn Read + Send + 'r>> {
    let codec = Codec::ALL.into_iter().find(|codec| codec.ending() == ending).with_context(|| {
        format!(
            "it is compressed as '{ending}', which mkbase cannot read (it reads xz, gzip, zstd and none); build the \
             package again with dpkg-deb -Zxz"
        )
    })?;
    // One thread: the other cores are busy with other packages.
    codec.verified_reader(stream)
}
