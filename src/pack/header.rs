//! Headers of a tar: ustar, and pax extended headers for what ustar cannot say (IEEE Std 1003.1, `pax`).

use std::io::Write;

/// Everything in a tar comes in multiples of this many bytes.
pub const BLOCK: usize = 512;

/// The types of entries, as the letter in the header.
pub mod kind {
    /// A regular file.
    pub const FILE: u8 = b'0';
    /// A regular file, in archives from before POSIX.
    pub const OLD_FILE: u8 = 0;
    /// Another name of an earlier entry.
    pub const HARD_LINK: u8 = b'1';
    /// A symbolic link.
    pub const SYMLINK: u8 = b'2';
    /// A character device.
    pub const CHAR: u8 = b'3';
    /// A block device.
    pub const BLOCK: u8 = b'4';
    /// A folder.
    pub const DIR: u8 = b'5';
    /// A FIFO.
    pub const FIFO: u8 = b'6';
    /// A regular file that wanted to be contiguous on disk.
    pub const CONTIGUOUS: u8 = b'7';
    /// Records that extend the next entry.
    pub const PAX: u8 = b'x';
    /// Records that extend every entry from here on.
    pub const PAX_GLOBAL: u8 = b'g';
    /// GNU: the name of the next entry.
    pub const GNU_LONG_NAME: u8 = b'L';
    /// GNU: the link target of the next entry.
    pub const GNU_LONG_LINK: u8 = b'K';
}

/// The prefix of pax records that hold extended attributes, as star introduced it and GNU tar, bsdtar and Go read it.
pub const XATTR: &str = "SCHILY.xattr.";

/// The name an extended header has itself. Other tars put their process id there, or the file's name; a reader that
/// knows no pax headers overwrites this one file again and again.
const PAX_NAME: &[u8] = b"././@PaxHeader";

const NAME: usize = 100;
const PREFIX: usize = 155;

/// One entry's header.
#[derive(Debug, Default)]
pub struct Header<'a> {
    /// Name in the archive; a folder's ends with a slash.
    pub path: &'a [u8],
    /// One of [`kind`].
    pub kind: u8,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content that follow.
    pub size: u64,
    /// Seconds since 1970, not negative.
    pub mtime: u64,
    /// Target of a link.
    pub link: &'a [u8],
    /// Major and minor number of a device.
    pub device: (u64, u64),
    /// Extended attributes, sorted.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl Header<'_> {
    /// Appends the header to `out`, after an extended header if one is needed.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let records = self.pax_records();
        if !records.is_empty() {
            let pax = Header {
                path: PAX_NAME,
                kind: kind::PAX,
                mode: 0o644,
                size: records.len() as u64,
                ..Header::default()
            };
            pax.write_ustar(out);
            out.extend_from_slice(&records);
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        self.write_ustar(out);
    }

    fn write_ustar(&self, out: &mut Vec<u8>) {
        let mut block = [0u8; BLOCK];
        let (prefix, name) = split_path(self.path).unwrap_or((b"", self.path));
        put(&mut block[0..100], name);
        octal(&mut block[100..108], u64::from(self.mode));
        octal(&mut block[108..116], u64::from(self.uid));
        octal(&mut block[116..124], u64::from(self.gid));
        octal(&mut block[124..136], self.size);
        octal(&mut block[136..148], self.mtime);
        block[156] = self.kind;
        put(&mut block[157..257], self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        if matches!(self.kind, kind::CHAR | kind::BLOCK) {
            octal(&mut block[329..337], self.device.0);
            octal(&mut block[337..345], self.device.1);
        }
        put(&mut block[345..500], prefix);
        let sum = checksum(&block);
        octal(&mut block[148..155], sum);
        block[155] = b' ';
        out.extend_from_slice(&block);
    }

    fn pax_records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let long_path = split_path(self.path).is_none();
        let long_link = self.link.len() > NAME;
        for (key, number, digits) in [("gid", u64::from(self.gid), 7), ("mtime", self.mtime, 11)] {
            if !fits(number, digits) {
                record(&mut records, key.as_bytes(), number.to_string().as_bytes());
            }
        }
        if long_link {
            record(&mut records, b"linkpath", self.link);
        }
        if long_path {
            record(&mut records, b"path", self.path);
        }
        for (key, number, digits) in [("size", self.size, 11), ("uid", u64::from(self.uid), 7)] {
            if !fits(number, digits) {
                record(&mut records, key.as_bytes(), number.to_string().as_bytes());
            }
        }
        for (name, value) in self.xattrs {
            let mut key = XATTR.as_bytes().to_vec();
            // A record's key ends at the first '='; GNU tar's escape for it.
            for byte in name {
                match byte {
                    b'=' => key.extend_from_slice(b"%3D"),
                    b'%' => key.extend_from_slice(b"%25"),
                    other => key.push(*other),
                }
            }
            record(&mut records, &key, value);
        }
        records
    }
}

/// The sum of a header's bytes, with the field for the sum itself taken as blanks.
pub fn checksum(block: &[u8; BLOCK]) -> u64 {
    let total: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let field: u64 = block[148..156].iter().map(|byte| u64::from(*byte)).sum();
    total - field + 8 * u64::from(b' ')
}

/// One record of an extended header: `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + " =\n".len();
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    // Writing to a vector cannot fail.
    let _ = write!(out, "{length} ");
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A path as the two fields of a ustar header, or `None` where it does not fit them.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME {
        return Some((b"", path));
    }
    let from = path.len() - NAME - 1;
    let slash = from + path[from..path.len() - 1].iter().position(|byte| *byte == b'/')?;
    (1..=PREFIX).contains(&slash).then(|| (&path[..slash], &path[slash + 1..]))
}

fn put(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

fn fits(number: u64, digits: u32) -> bool {
    number < 1 << (3 * digits)
}

/// Octal digits and a NUL. What does not fit stands in a pax record, and as zero here.
fn octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let number = if fits(number, digits as u32) { number } else { 0 };
    let text = format!("{number:0digits$o}");
    field[..digits].copy_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(header: &Header<'_>) -> String {
        String::from_utf8(header.pax_records()).expect("text")
    }

    #[test]
    fn what_fits_ustar_needs_no_pax_header() {
        let (long, exact) = ("a".repeat(99), "b".repeat(100));
        for path in ["./".to_string(), format!("./{long}/{long}"), exact.clone(), format!("{long}a/{exact}")] {
            let header = Header { path: path.as_bytes(), kind: kind::FILE, size: (8 << 30) - 1, ..Header::default() };
            assert_eq!(records(&header), "", "{path}");
            let (prefix, name) = split_path(path.as_bytes()).expect("it fits");
            let joined = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
            assert_eq!(joined, path.as_bytes());
        }
    }

    #[test]
    fn what_does_not_fit_goes_to_pax_records() {
        let name = "n".repeat(101);
        let path = format!("./{name}");
        let header = Header { path: path.as_bytes(), kind: kind::FILE, ..Header::default() };
        assert_eq!(records(&header), format!("113 path={path}\n"));
        let header = Header { path: b"./f", size: 8 << 30, uid: 1 << 21, gid: u32::MAX, ..Header::default() };
        assert_eq!(records(&header), "18 gid=4294967295\n19 size=8589934592\n15 uid=2097152\n");
        let header = Header { path: b"./f", mtime: 1 << 33, ..Header::default() };
        assert_eq!(records(&header), "20 mtime=8589934592\n");
        let folder = format!("{}/", "d".repeat(150));
        assert_eq!(split_path(folder.as_bytes()), None, "a name field must not be empty");
        let deep = format!("{}/{}", "d".repeat(156), "f");
        assert_eq!(split_path(deep.as_bytes()), None, "the prefix is too long");
    }

    #[test]
    fn record_counts_its_own_digits() {
        for length in 1..1200 {
            let mut out = Vec::new();
            record(&mut out, b"k", &vec![b'v'; length]);
            let text = String::from_utf8(out).expect("text");
            let said: usize = text.split(' ').next().expect("a length").parse().expect("a number");
            assert_eq!(said, text.len());
        }
    }

    #[test]
    fn keys_of_attributes_are_escaped() {
        let xattrs = [(b"user.a=b%".to_vec(), b"x=\n\0".to_vec())];
        let header = Header { path: b"./f", xattrs: &xattrs, ..Header::default() };
        assert_eq!(records(&header), "35 SCHILY.xattr.user.a%3Db%25=x=\n\0\n");
    }

    #[test]
    fn names_that_are_no_text_stand_as_they_are() {
        // Without the standard's `hdrcharset=BINARY`: GNU tar warns of it, and every tar takes the bytes anyway.
        let path = [&b"./"[..], &[0xff; 120]].concat();
        let header = Header { path: &path, ..Header::default() };
        assert_eq!(header.pax_records(), [b"132 path=", &path[..], b"\n"].concat());
    }
}
