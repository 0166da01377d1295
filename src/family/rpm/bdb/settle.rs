//! The same database gives the same bytes.

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::{File, Method, item, kind, meta, page};

/// Bytes of an item of an inner page of a tree before its key: length, type, number of the page below it, and of records.
const INNER: usize = 12;
/// The flag of an item of a tree that was deleted while a cursor was on it.
const DELETED: u8 = 0x80;

/// The file `name` of a database without what is of the one process that wrote it: the id of the file, and what the
/// memory had before where nothing stands. Berkeley DB reads what it read before.
///
/// The id becomes a hash of name and content: it must be another one for every file of a database, which share an
/// environment, and for another content.
pub fn settle(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let file = File::parse(bytes)?;
    let mut settled = vec![0; bytes.len()];
    let end = if file.method == Method::Hash { meta::HASH_END } else { meta::BTREE_END };
    settled[..meta::ID.start].copy_from_slice(&bytes[..meta::ID.start]);
    settled[meta::ID.end..end].copy_from_slice(&bytes[meta::ID.end..end]);
    for number in 1..file.pages() {
        let start = number * file.page_size;
        let place = &mut settled[start..start + file.page_size];
        copy(&file, file.page(number)?, place).with_context(|| format!("settling the page {number}"))?;
    }
    let id = Sha256::new().chain_update(name).chain_update([0]).chain_update(&settled).finalize();
    settled[meta::ID].copy_from_slice(&id[..meta::ID.len()]);
    Ok(settled)
}

/// Copies of a page what Berkeley DB reads.
fn copy(file: &File<'_>, page: &[u8], to: &mut [u8]) -> Result<()> {
    let mut keep = |start: usize, length: usize| -> Result<()> {
        let range = start..start + length;
        let from = page.get(range.clone()).context("an item goes beyond the page")?;
        to[range].copy_from_slice(from);
        Ok(())
    };
    keep(0, page::HEADER)?;
    let kind = page[page::TYPE];
    match kind {
        kind::FREE => return Ok(()),
        kind::OVERFLOW => return keep(page::HEADER, file.overflow(page)?.len()),
        kind::HASH | kind::HASH_UNSORTED | kind::TREE | kind::LEAF | kind::DUPLICATES => {}
        _ => bail!("it has the type {kind}, which rpm does not make"),
    }
    let places = file.places(page)?;
    keep(page::HEADER, 2 * places.len())?;
    if matches!(kind, kind::HASH | kind::HASH_UNSORTED) {
        for (place, found) in places.into_iter().zip(file.hash_items(page)?) {
            match found[0] {
                item::VALUE | item::DUPLICATE => keep(place, found.len())?,
                // Three bytes without a meaning follow the type.
                item::OVERFLOW if found.len() == item::OVERFLOW_SIZE => {
                    keep(place, 1)?;
                    keep(place + 4, 8)?;
                }
                item::DUPLICATES if found.len() == 8 => {
                    keep(place, 1)?;
                    keep(place + 4, 4)?;
                }
                other => bail!("it has an item of type {other} and {} bytes", found.len()),
            }
        }
        return Ok(());
    }
    for mut place in places {
        let mut length = usize::from(file.u16(page, place));
        let kind_of_item = *page.get(place + 2).context("an item goes beyond the page")? & !DELETED;
        if kind == kind::TREE {
            keep(place, 3)?;
            keep(place + 4, INNER - 4)?;
            place += INNER;
        } else if kind_of_item == item::VALUE {
            keep(place, 3)?;
            place += 3;
        }
        match kind_of_item {
            item::VALUE => {}
            // As in a hash table, but the type is the third byte.
            item::OVERFLOW | item::DUPLICATE => {
                keep(place + 2, 1)?;
                place += 4;
                length = 8;
            }
            other => bail!("it has an item of type {other}"),
        }
        keep(place, length)?;
    }
    Ok(())
}
