//! `Packages` files: what a repository offers (`deb822(5)`, Debian wiki `DebianRepository/Format`).
//!
//! Debian's main has seventy thousand packages in 56 MB of text. Only the fields that solving and fetching need are
//! kept, in one buffer; relations are read when somebody asks. Decompression runs on a thread of its own beside it.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::mpsc::sync_channel;

use anyhow::{Context as _, Result, anyhow, bail};
use memchr::memchr_iter;

use crate::codec::Codec;
use crate::interrupt;

/// An index may not be larger than this when unpacked, in bytes; the largest known has 62 MB.
const MAX_INDEX: u64 = 1 << 30;
/// Unpacked bytes that go from the decompressing thread to the parser at once.
const CHUNK: usize = 128 << 10;
/// Chunks that may wait for the parser.
const QUEUE: usize = 8;

/// The fields that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Package,
    Version,
    Architecture,
    MultiArch,
    Priority,
    Essential,
    Important,
    Protected,
    Filename,
    Size,
    Sha256,
    PreDepends,
    Depends,
    Recommends,
    Conflicts,
    Breaks,
    Provides,
    Suggests,
    Replaces,
    Enhances,
}

/// Every kept field by its name.
const FIELDS: [(&str, Field); 20] = [
    ("Package", Field::Package),
    ("Version", Field::Version),
    ("Architecture", Field::Architecture),
    ("Depends", Field::Depends),
    ("Filename", Field::Filename),
    ("Priority", Field::Priority),
    ("Size", Field::Size),
    ("SHA256", Field::Sha256),
    ("Multi-Arch", Field::MultiArch),
    ("Provides", Field::Provides),
    ("Breaks", Field::Breaks),
    ("Conflicts", Field::Conflicts),
    ("Pre-Depends", Field::PreDepends),
    ("Essential", Field::Essential),
    ("Important", Field::Important),
    ("Recommends", Field::Recommends),
    ("Suggests", Field::Suggests),
    ("Replaces", Field::Replaces),
    ("Enhances", Field::Enhances),
    ("Protected", Field::Protected),
];

/// A piece of the buffer.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    len: u32,
}

/// One package: its fields by [`Field`], and the line its paragraph begins on.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    spans: [Span; FIELDS.len()],
    line: u32,
}

/// The packages of one `Packages` file.
#[derive(Debug)]
pub struct Index {
    origin: String,
    text: String,
    records: Vec<Record>,
}

/// One package of an index.
#[derive(Debug, Clone, Copy)]
pub struct Package<'a> {
    index: &'a Index,
    record: &'a Record,
}

impl Index {
    /// Reads the file at `path`, which must be `size` bytes when unpacked if that is known. `origin` names it in errors.
    pub fn open(path: &Path, codec: Codec, size: Option<u64>, origin: &str, threads: usize) -> Result<Index> {
        Index::open_and_copy(path, codec, size, origin, threads, |_| {})
    }

    /// The same; `copy` is given the unpacked text as it passes.
    pub fn open_and_copy(
        path: &Path,
        codec: Codec,
        size: Option<u64>,
        origin: &str,
        threads: usize,
        copy: impl FnMut(&[u8]),
    ) -> Result<Index> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        Index::read(BufReader::with_capacity(CHUNK, file), codec, size, origin, threads, copy)
    }

    /// The same of what `input` gives.
    pub fn read(
        input: impl BufRead + Send,
        codec: Codec,
        size: Option<u64>,
        origin: &str,
        threads: usize,
        mut copy: impl FnMut(&[u8]),
    ) -> Result<Index> {
        let limit = size.unwrap_or(MAX_INDEX);
        if limit > MAX_INDEX {
            bail!("reading {origin}: it has {limit} bytes, more than the {MAX_INDEX} an index may have");
        }
        let (sender, receiver) = sync_channel(QUEUE);
        // Buffers go back and forth: fresh memory costs more than what is done with it.
        let (give_back, empty) = sync_channel::<Vec<u8>>(QUEUE + 2);
        std::thread::scope(|scope| {
            let unpacker = scope.spawn(move || -> Result<u64> {
                // One byte more than allowed, to tell a file that is too long from one that ends at the limit.
                let mut reader = codec.reader(input, threads)?.take(limit + 1);
                let mut total = 0;
                loop {
                    interrupt::check()?;
                    let mut chunk = empty.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
                    let count = match reader.read(&mut chunk) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                        read => read.context("unpacking")?,
                    };
                    total += count as u64;
                    // The parser hangs up when it met an error, which is then the one to report.
                    if count == 0 || sender.send((chunk, count)).is_err() {
                        return Ok(total);
                    }
                }
            });
            let mut parser = Parser::default();
            let parsed = receiver.iter().try_for_each(|(chunk, count)| {
                copy(&chunk[..count]);
                parser.feed(&chunk[..count])?;
                // No room for it, or nobody to take it: then it just goes.
                let _ = give_back.try_send(chunk);
                Ok(())
            });
            drop(receiver);
            let total = unpacker.join().map_err(|_| anyhow!("the decompressing thread panicked"));
            let index = parsed.and_then(|()| {
                let total = total??;
                if total > limit || size.is_some_and(|size| size != total) {
                    let very = if total > limit { "more than " } else { "" };
                    bail!("it has {very}{} bytes unpacked where {limit} were expected", total.min(limit));
                }
                parser.finish(origin)
            });
            index.with_context(|| format!("reading {origin}"))
        })
    }

    /// Reads an uncompressed index from memory.
    pub fn parse(text: &str, origin: &str) -> Result<Index> {
        let mut parser = Parser::default();
        parser.feed(text.as_bytes()).and_then(|()| parser.finish(origin)).with_context(|| format!("reading {origin}"))
    }

    /// Its packages, in the order of the file.
    pub fn packages(&self) -> impl ExactSizeIterator<Item = Package<'_>> {
        self.records.iter().map(|record| Package { index: self, record })
    }
}

impl<'a> Package<'a> {
    fn get(&self, field: Field) -> &'a str {
        let span = self.record.spans[field as usize];
        &self.index.text[span.start as usize..(span.start + span.len) as usize]
    }

    /// Name.
    pub fn name(&self) -> &'a str {
        self.get(Field::Package)
    }

    /// Version.
    pub fn version(&self) -> &'a str {
        self.get(Field::Version)
    }

    /// Architecture, or `all`.
    pub fn arch(&self) -> &'a str {
        self.get(Field::Architecture)
    }

    /// `Multi-Arch`: `same`, `foreign`, `allowed`, `no` or empty.
    pub fn multi_arch(&self) -> &'a str {
        self.get(Field::MultiArch)
    }

    /// `Priority`, perhaps empty.
    pub fn priority(&self) -> &'a str {
        self.get(Field::Priority)
    }

    /// Whether the system cannot do without it.
    pub fn essential(&self) -> bool {
        self.get(Field::Essential).eq_ignore_ascii_case("yes")
    }

    /// Whether apt holds it for nearly as needed as the essential ones: `Important`, and `Protected`, the name that dpkg
    /// has for it (deb-control(5)).
    pub fn important(&self) -> bool {
        [Field::Important, Field::Protected].iter().any(|field| self.get(*field).eq_ignore_ascii_case("yes"))
    }

    /// Path below the repository's URL, as the index has it: not to be trusted.
    pub fn filename(&self) -> &'a str {
        self.get(Field::Filename)
    }

    /// Size in bytes, as text.
    pub fn size(&self) -> &'a str {
        self.get(Field::Size)
    }

    /// SHA-256, perhaps empty.
    pub fn sha256(&self) -> &'a str {
        self.get(Field::Sha256)
    }

    /// `Pre-Depends`.
    pub fn pre_depends(&self) -> &'a str {
        self.get(Field::PreDepends)
    }

    /// `Depends`.
    pub fn depends(&self) -> &'a str {
        self.get(Field::Depends)
    }

    /// `Recommends`.
    pub fn recommends(&self) -> &'a str {
        self.get(Field::Recommends)
    }

    /// `Suggests`.
    pub fn suggests(&self) -> &'a str {
        self.get(Field::Suggests)
    }

    /// `Replaces`.
    pub fn replaces(&self) -> &'a str {
        self.get(Field::Replaces)
    }

    /// `Enhances`.
    pub fn enhances(&self) -> &'a str {
        self.get(Field::Enhances)
    }

    /// `Conflicts`.
    pub fn conflicts(&self) -> &'a str {
        self.get(Field::Conflicts)
    }

    /// `Breaks`.
    pub fn breaks(&self) -> &'a str {
        self.get(Field::Breaks)
    }

    /// `Provides`.
    pub fn provides(&self) -> &'a str {
        self.get(Field::Provides)
    }

    /// Where it stands: file and line, for messages.
    pub fn place(&self) -> String {
        format!("{}, line {}", self.index.origin, self.record.line)
    }
}

/// Takes an index in pieces.
#[derive(Debug, Default)]
struct Parser {
    text: Vec<u8>,
    records: Vec<Record>,
    record: Option<Record>,
    /// The kept field that a continuation line belongs to.
    last: Option<Field>,
    /// The start of a line whose end is in the next piece.
    carry: Vec<u8>,
    line: u32,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            start = end + 1;
            if self.carry.is_empty() {
                self.take_line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.carry);
                whole.extend_from_slice(line);
                self.take_line(&whole)?;
            }
        }
        self.carry.extend_from_slice(&bytes[start..]);
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Result<()> {
        self.line += 1;
        let number = self.line;
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) && !line.trim_ascii().is_empty() {
            let record = self.record.as_mut().with_context(|| format!("line {number}: continues no field"))?;
            if let Some(field) = self.last {
                self.text.push(b'\n');
                self.text.extend_from_slice(line);
                record.spans[field as usize].len += u32::try_from(line.len() + 1)?;
            }
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            return self.end_record();
        }
        let colon = line.iter().position(|b| *b == b':').filter(|at| *at > 0);
        let Some(colon) = colon else { bail!("line {number}: not a field: no 'Name: value' in it") };
        let record = self.record.get_or_insert_with(|| Record { line: number, ..Record::default() });
        self.last = kept(&line[..colon]);
        if let Some(field) = self.last {
            let value = line[colon + 1..].trim_ascii();
            if !value.is_ascii() && std::str::from_utf8(value).is_err() {
                bail!("line {number}: not UTF-8");
            }
            let span = &mut record.spans[field as usize];
            if span.start != 0 {
                bail!("line {number}: the field {} is there twice", String::from_utf8_lossy(&line[..colon]));
            }
            // Position 0 means that a field is not there.
            if self.text.is_empty() {
                self.text.push(b'\n');
            }
            *span = Span { start: u32::try_from(self.text.len())?, len: u32::try_from(value.len())? };
            self.text.extend_from_slice(value);
        }
        Ok(())
    }

    fn end_record(&mut self) -> Result<()> {
        self.last = None;
        let Some(record) = self.record.take() else { return Ok(()) };
        for (name, field) in &FIELDS[..3] {
            if record.spans[*field as usize].len == 0 {
                bail!("line {}: a package without the field {name}", record.line);
            }
        }
        self.records.push(record);
        Ok(())
    }

    fn finish(mut self, origin: &str) -> Result<Index> {
        if !self.carry.is_empty() {
            let last = std::mem::take(&mut self.carry);
            self.take_line(&last)?;
        }
        self.end_record()?;
        // Continuation lines were not looked at one by one.
        let text = String::from_utf8(self.text).context("a continuation line is not UTF-8")?;
        Ok(Index { origin: origin.to_owned(), text, records: self.records })
    }
}

/// For every length of a name the first letters of the kept fields of that length, a bit each. Most fields are not kept,
/// and this tells it of nearly all of them without comparing names.
const FIRST_LETTERS: [u32; 16] = {
    let mut letters = [0; 16];
    let mut i = 0;
    while i < FIELDS.len() {
        let name = FIELDS[i].0.as_bytes();
        letters[name.len()] |= letter(name[0]);
        i += 1;
    }
    letters
};

/// The bit of a letter, whatever its case; other characters may share it.
const fn letter(byte: u8) -> u32 {
    1 << (byte & 31)
}

fn kept(name: &[u8]) -> Option<Field> {
    if FIRST_LETTERS.get(name.len())? & letter(*name.first()?) == 0 {
        return None;
    }
    FIELDS.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(_, field)| *field)
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
