//! Reads an index: the packages, and where in them, by the value of a tag. A tree, or a hash table before rpm 4.9.

use anyhow::{Context as _, Result, bail};

use super::{File, item, kind, page};

/// Bytes of an entry: the number of a package, and the place of the value in its tag.
const ENTRY: usize = 8;

/// How many entries an index has.
pub fn entries(bytes: &[u8]) -> Result<usize> {
    let file = File::parse(bytes)?;
    let mut size = 0;
    for number in 1..file.pages() {
        let page = file.page(number)?;
        let outside = || format!("the page {number} has an item outside of it");
        match page[page::TYPE] {
            kind::LEAF => {
                for pair in file.places(page)?.chunks(2) {
                    let [_, place] = *pair else { bail!("the page {number} has a key without a value") };
                    let found = page.get(place..).unwrap_or_default();
                    // Length, type, value; the type of one that was deleted has a flag.
                    size += match *found.get(2).with_context(outside)? {
                        item::VALUE => usize::from(file.u16(found, 0)),
                        item::OVERFLOW => file.u32(found, 8) as usize,
                        _ => 0,
                    };
                }
            }
            kind::HASH | kind::HASH_UNSORTED => {
                for pair in file.hash_items(page)?.chunks(2) {
                    let [_, found] = *pair else { bail!("the page {number} has a key without a value") };
                    size += if found[0] == item::OVERFLOW { file.u32(found, 8) as usize } else { found.len() - 1 };
                }
            }
            _ => {}
        }
    }
    Ok(size / ENTRY)
}
