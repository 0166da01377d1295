//! Reads `Packages`: a hash table with the header of each package by its number.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use super::{File, Method, item, kind, meta, page};

/// The header blobs of a database, by the numbers of their packages.
pub fn headers(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let file = File::parse(bytes)?;
    if file.method != Method::Hash {
        bail!("it is an index, and no database of packages");
    }
    // No page is read twice, so that what is read is no larger than the file.
    let mut pages = Unread { file: &file, left: vec![true; file.pages()] };
    let mut found = BTreeMap::new();
    for bucket in 0..=file.u32(bytes, meta::MAX_BUCKET) {
        // Each doubling of the buckets has its pages in one piece.
        let doubling = u32::BITS - bucket.leading_zeros();
        let added = file.u32(&bytes[..meta::HASH_END], meta::SPARES + 4 * doubling as usize);
        let mut next = bucket.checked_add(added).context("it has too many buckets")?;
        while next != 0 {
            let page = pages.take(next)?;
            match page[page::TYPE] {
                kind::HASH | kind::HASH_UNSORTED => {}
                // A bucket that was never used.
                kind::FREE => break,
                other => bail!("the page {next} of a bucket has the type {other}"),
            }
            for pair in file.hash_items(page)?.chunks(2) {
                let [key, value] = pair else { bail!("the page {next} has a key without a value") };
                let [item::VALUE, key @ ..] = *key else { bail!("the page {next} has a key that is no number") };
                if key.len() != 4 {
                    bail!("the page {next} has a key of {} bytes", key.len());
                }
                let number = file.u32(key, 0);
                // It has the number that was given last.
                if number == 0 {
                    continue;
                }
                let value = pages.value(value).with_context(|| format!("reading the package {number}"))?;
                if found.insert(number, value).is_some() {
                    bail!("it has the package {number} twice");
                }
            }
            next = file.u32(page, page::NEXT);
        }
    }
    Ok(found.into_values().collect())
}

/// The pages that were not read yet.
struct Unread<'a> {
    file: &'a File<'a>,
    left: Vec<bool>,
}

impl<'a> Unread<'a> {
    fn take(&mut self, number: u32) -> Result<&'a [u8]> {
        let page = self.file.page(number as usize)?;
        if !std::mem::take(&mut self.left[number as usize]) {
            bail!("it leads to the page {number} twice");
        }
        Ok(page)
    }

    /// A value, on the page or in a chain of overflow pages.
    fn value(&mut self, found: &'a [u8]) -> Result<Vec<u8>> {
        match *found {
            [item::VALUE, ref value @ ..] => Ok(value.to_vec()),
            [item::OVERFLOW, ..] if found.len() == item::OVERFLOW_SIZE => {
                let (mut next, length) = (self.file.u32(found, 4), self.file.u32(found, 8) as usize);
                let mut value = Vec::new();
                while next != 0 {
                    let page = self.take(next)?;
                    value.extend_from_slice(self.file.overflow(page)?);
                    next = self.file.u32(page, page::NEXT);
                }
                if value.len() != length {
                    bail!("it has {} bytes, of {length}", value.len());
                }
                Ok(value)
            }
            _ => bail!("it is no value of rpm"),
        }
    }
}
