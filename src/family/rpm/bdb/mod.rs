//! Database files of Berkeley DB, which rpm before 4.16 keeps its database in: `Packages`, a hash table with the headers,
//! and an index beside it for every tag that rpm looks packages up by, each a B-tree.
//!
//! Format: `dbinc/db_page.h` and `dbinc/hash.h` of Berkeley DB 5.3; what holds of a sound file is as `db_verify` has it.
//! A file is pages of one size, numbered from 0. Page 0 describes the file, the others have a header of 26 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0-7 | position in the log; rpm keeps none |
//! | 8-11 | number of the page |
//! | 12-15, 16-19 | numbers of the page before and after it, 0 for none |
//! | 20-21 | items of the page |
//! | 22-23 | where its first item begins; of an overflow page, the bytes of its value |
//! | 24 | level in a tree |
//! | 25 | type |
//!
//! After it stand the places of the items, 2 bytes each; the items fill the page from its end. A value too large for that
//! is in a chain of overflow pages. Numbers are in the byte order of the machine that made the file.

use anyhow::{Context as _, Result, bail};

mod index;
mod make;
mod packages;
mod settle;
#[cfg(test)]
mod tests;

pub use index::entries;
pub use make::make;
pub use packages::headers;
pub use settle::settle;

/// Where things stand in page 0.
mod meta {
    pub const MAGIC: usize = 12;
    pub const VERSION: usize = 16;
    pub const PAGE_SIZE: usize = 20;
    pub const ENCRYPTION: usize = 24;
    pub const FLAGS: usize = 26;
    pub const LAST_PAGE: usize = 32;
    pub const PARTITIONS: usize = 36;
    /// The id of the file, made of its inode, the time and the process. Users of the same environment know a file by it.
    pub const ID: std::ops::Range<usize> = 52..72;
    /// Of a hash table: buckets in use but one, and the masks that make a bucket of a hash.
    pub const MAX_BUCKET: usize = 72;
    pub const HIGH_MASK: usize = 76;
    pub const LOW_MASK: usize = 80;
    pub const ELEMENTS: usize = 88;
    pub const HASH_OF_TEST: usize = 92;
    /// Of a hash table: for every doubling of the buckets, what to add to the number of a bucket for that of its page.
    pub const SPARES: usize = 96;
    /// Where what describes a file ends.
    pub const HASH_END: usize = SPARES + 32 * 4;
    pub const BTREE_END: usize = 92;
}

/// Where things stand in the header of every other page.
mod page {
    pub const NUMBER: usize = 8;
    pub const BEFORE: usize = 12;
    pub const NEXT: usize = 16;
    pub const ITEMS: usize = 20;
    pub const LENGTH: usize = 22;
    pub const TYPE: usize = 25;
    /// Bytes of the header.
    pub const HEADER: usize = 26;
}

/// Types of pages. Others are of kinds of databases that rpm does not make.
mod kind {
    pub const FREE: u8 = 0;
    pub const HASH_UNSORTED: u8 = 2;
    pub const TREE: u8 = 3;
    pub const LEAF: u8 = 5;
    pub const OVERFLOW: u8 = 7;
    pub const HASH_META: u8 = 8;
    pub const TREE_META: u8 = 9;
    pub const DUPLICATES: u8 = 12;
    pub const HASH: u8 = 13;
}

/// Types of items. In a tree a duplicate leads to another page, as an overflow does, and there is no fourth type.
mod item {
    pub const VALUE: u8 = 1;
    pub const DUPLICATE: u8 = 2;
    pub const OVERFLOW: u8 = 3;
    pub const DUPLICATES: u8 = 4;
    /// Bytes of an item that leads to a chain of overflow pages: type, number of the first page at 4, bytes of the value
    /// at 8.
    pub const OVERFLOW_SIZE: usize = 12;
}

/// Magic numbers of hash tables and of trees.
const HASH_MAGIC: u32 = 0x0006_1561;
const TREE_MAGIC: u32 = 0x0005_3162;
/// Versions of either that are laid out as here: those of Berkeley DB 4.5 to 5.3.
const VERSIONS: std::ops::RangeInclusive<u32> = 8..=9;

/// What a database file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Hash,
    Tree,
}

/// A database file in memory, of which page 0 was looked into.
struct File<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    page_size: usize,
    method: Method,
}

/// Whether this is the beginning of a database file.
pub fn is_database(bytes: &[u8]) -> bool {
    magic(bytes).is_some()
}

/// Byte order and kind, by the magic number.
fn magic(bytes: &[u8]) -> Option<(bool, Method)> {
    let bytes = bytes.get(meta::MAGIC..)?.first_chunk::<4>()?;
    [(false, u32::from_le_bytes(*bytes)), (true, u32::from_be_bytes(*bytes))].into_iter().find_map(|(big, magic)| {
        match magic {
            HASH_MAGIC => Some((big, Method::Hash)),
            TREE_MAGIC => Some((big, Method::Tree)),
            _ => None,
        }
    })
}

impl<'a> File<'a> {
    fn parse(bytes: &'a [u8]) -> Result<File<'a>> {
        let (big_endian, method) = magic(bytes).context("it is no database of Berkeley DB")?;
        let mut file = File { bytes, big_endian, page_size: 512, method };
        let first = bytes.get(..file.page_size).context("it is cut off in its first page")?;
        let number = |at| file.u32(first, at);
        if !VERSIONS.contains(&number(meta::VERSION)) {
            bail!("it has version {} of its format", number(meta::VERSION));
        }
        let wanted = if method == Method::Hash { kind::HASH_META } else { kind::TREE_META };
        if first[page::TYPE] != wanted || number(page::NUMBER) != 0 {
            bail!("its first page does not describe it");
        }
        if first[meta::ENCRYPTION] != 0 || first[meta::FLAGS] != 0 || number(meta::PARTITIONS) != 0 {
            bail!("it is encrypted, has checksums or partitions, which rpm does not make");
        }
        let (size, last) = (number(meta::PAGE_SIZE) as usize, number(meta::LAST_PAGE) as usize);
        if !size.is_power_of_two() || !(512..=65536).contains(&size) {
            bail!("its pages have {size} bytes");
        }
        if !bytes.len().is_multiple_of(size) || bytes.len() / size != last + 1 {
            bail!("it has {} bytes, and by its first page {} pages of {size} bytes", bytes.len(), last + 1);
        }
        file.page_size = size;
        Ok(file)
    }

    fn u16(&self, bytes: &[u8], at: usize) -> u16 {
        let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()).copied().unwrap_or_default();
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    /// How many pages there are.
    fn pages(&self) -> usize {
        self.bytes.len() / self.page_size
    }

    /// A page other than the first. What was never written is all zeroes.
    fn page(&self, number: usize) -> Result<&'a [u8]> {
        let start = number.checked_mul(self.page_size).filter(|start| *start > 0);
        let page = start.and_then(|start| self.bytes.get(start..)?.get(..self.page_size));
        let page = page.with_context(|| format!("it leads to a page {number}, of {}", self.pages()))?;
        if self.u32(page, page::NUMBER) as usize != number && page.iter().any(|byte| *byte != 0) {
            bail!("its page {number} has the number {}", self.u32(page, page::NUMBER));
        }
        Ok(page)
    }

    /// Where the items of a page begin, each between the list of these places and the end of the page.
    fn places(&self, page: &[u8]) -> Result<Vec<usize>> {
        let count = usize::from(self.u16(page, page::ITEMS));
        let end = page::HEADER + 2 * count;
        let places: Vec<usize> = (page::HEADER..end).step_by(2).map(|at| usize::from(self.u16(page, at))).collect();
        if end > page.len() || places.iter().any(|place| *place < end || *place >= page.len()) {
            bail!("the page {} has an item outside of it", self.u32(page, page::NUMBER));
        }
        Ok(places)
    }

    /// The items of a page of a hash table: each ends where the one before it begins.
    fn hash_items(&self, page: &'a [u8]) -> Result<Vec<&'a [u8]>> {
        let mut end = page.len();
        let mut items = Vec::new();
        for place in self.places(page)? {
            let outside = || format!("the page {} has items out of order", self.u32(page, page::NUMBER));
            let found = page.get(place..end).filter(|found| !found.is_empty()).with_context(outside)?;
            items.push(found);
            end = place;
        }
        Ok(items)
    }

    /// The value on an overflow page.
    fn overflow(&self, page: &'a [u8]) -> Result<&'a [u8]> {
        let length = usize::from(self.u16(page, page::LENGTH));
        let value = page.get(page::HEADER..page::HEADER + length).filter(|_| page[page::TYPE] == kind::OVERFLOW);
        value.with_context(|| format!("the page {} holds no part of a value", self.u32(page, page::NUMBER)))
    }
}
