//! A package file of RPM: lead, signatures, header, payload ("RPM V4 Package format" of rpm's manual).

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::header::{Header, MAGIC, body_size, lengths, tag};
use super::version::Evr;

/// The lead: a magic number, and else nothing that counts today.
const LEAD: usize = 96;
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
/// Bytes of the signature header's values at most, as in rpm.
const MAX_SIGNATURES: usize = 64 << 20;

/// A package file whose headers were read. Nothing of it is verified yet.
#[derive(Debug)]
pub struct Package {
    /// Signatures and digests of the rest.
    pub signatures: Header,
    /// Everything about the package.
    pub header: Header,
    /// The header as it stands in the file, which is what is signed.
    pub signed: Vec<u8>,
    /// The file, at its payload.
    pub payload: BufReader<File>,
}

/// What a package is: name, version and architecture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Name.
    pub name: String,
    /// Epoch, version and release, as [`Evr`] writes them.
    pub evr: String,
    /// Architecture.
    pub arch: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.name, self.evr, self.arch)
    }
}

impl Package {
    /// Reads the headers of a package file.
    pub fn open(path: &Path) -> Result<Package> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        Package::read(file).with_context(|| format!("reading the package file {}", path.display()))
    }

    fn read(file: File) -> Result<Package> {
        // A length is believed as far as the file goes.
        let size = file.metadata().context("looking at it")?.len();
        let mut input = BufReader::new(file);
        let mut lead = [0; LEAD];
        if input.read_exact(&mut lead).is_err() || lead[..4] != LEAD_MAGIC {
            bail!("it is no RPM package");
        }
        let (signatures, read) = read_header(&mut input, size, MAX_SIGNATURES).context("its signatures")?;
        // The header begins at a multiple of eight.
        let padding = (8 - read.len() % 8) % 8;
        input.read_exact(&mut [0; 8][..padding]).context("it is cut off after its signatures")?;
        let (header, signed) = read_header(&mut input, size, usize::MAX).context("its header")?;
        if let Some(tag) = signatures.repeated().or(header.repeated()) {
            bail!("its header has the tag {tag} twice");
        }
        if header.text(tag::SOURCE_RPM)?.is_none() {
            bail!("it is a source package");
        }
        Ok(Package { signatures, header, signed, payload: input })
    }

    /// Name, version and architecture.
    pub fn identity(&self) -> Result<Identity> {
        identity(&self.header)
    }
}

/// Name, version and architecture that a header says.
pub fn identity(header: &Header) -> Result<Identity> {
    let evr = Evr {
        epoch: header.number(tag::EPOCH)?.unwrap_or(0),
        version: &header.required(tag::VERSION, "version")?,
        release: &header.required(tag::RELEASE, "release")?,
    }
    .to_string();
    Ok(Identity { name: header.required(tag::NAME, "name")?, evr, arch: header.required(tag::ARCH, "architecture")? })
}

/// A header, and its bytes with the magic.
fn read_header(input: &mut impl Read, size: u64, max_store: usize) -> Result<(Header, Vec<u8>)> {
    let mut start = [0; 16];
    input.read_exact(&mut start).context("it is cut off")?;
    let (magic, rest) = start.split_at(8);
    if magic != MAGIC {
        bail!("it does not begin as a header does");
    }
    let mut counts = [0; 8];
    counts.copy_from_slice(rest);
    let (entries, store) = lengths(counts)?;
    let body = body_size(entries, store);
    if store > max_store || body as u64 > size {
        bail!("it is longer than it may be: {body} bytes");
    }
    let mut bytes = start.to_vec();
    bytes.resize(start.len() + body, 0);
    input.read_exact(&mut bytes[start.len()..]).context("it is cut off")?;
    let header = Header::parse(&bytes[MAGIC.len()..])?;
    Ok((header, bytes))
}
