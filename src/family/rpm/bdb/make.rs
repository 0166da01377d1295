//! Makes `Packages` for an rpm that imports no headers, but makes a database anew of one that is there.

use super::{HASH_MAGIC, item, kind, meta, page};

/// Bytes of a page: as many as a page of memory has, as rpm does it on most machines.
pub(super) const PAGE: usize = 4096;
/// Bytes of a value on an overflow page.
pub(super) const PART: usize = PAGE - page::HEADER;
/// The pages of the two buckets that the smallest table has.
const BUCKETS: [u32; 2] = [1, 2];
/// What is hashed to tell which function made a table, `CHARKEY` of `dbinc/hash.h`, with the zero that ends it.
const TEST: &[u8] = b"%$sniglet^&\0";

/// A database of these header blobs, in this order. It has no index.
///
/// rpm reads bucket after bucket, so all packages get numbers of the first one: no order but theirs is in it.
pub fn make(blobs: &[Vec<u8>]) -> Vec<u8> {
    let mut pages: Vec<Vec<u8>> = vec![vec![0; PAGE]];
    pages.extend(BUCKETS.map(|number| new_page(number, kind::HASH_UNSORTED)));
    let numbers = (1..).filter(|number: &u32| hash(&number.to_le_bytes()) & 1 == 0);
    let mut bucket = BUCKETS[0];
    for (number, blob) in numbers.zip(blobs) {
        let key = [&[item::VALUE], &number.to_le_bytes()[..]].concat();
        let mut value = vec![0; item::OVERFLOW_SIZE];
        value[0] = item::OVERFLOW;
        put(&mut value, 4, next(&pages));
        put(&mut value, 8, blob.len() as u32);
        add_value(&mut pages, blob);
        if !add_pair(&mut pages[bucket as usize], &key, &value) {
            let mut page = new_page(next(&pages), kind::HASH_UNSORTED);
            add_pair(&mut page, &key, &value);
            put(&mut page, page::BEFORE, bucket);
            let number = next(&pages);
            put(&mut pages[bucket as usize], page::NEXT, number);
            bucket = number;
            pages.push(page);
        }
    }
    let last = next(&pages) - 1;
    describe(&mut pages[0], last, blobs.len() as u32);
    pages.concat()
}

/// Fills page 0.
fn describe(first: &mut [u8], last: u32, elements: u32) {
    first[page::TYPE] = kind::HASH_META;
    for (at, value) in [
        (meta::MAGIC, HASH_MAGIC),
        (meta::VERSION, 9),
        (meta::PAGE_SIZE, PAGE as u32),
        (meta::LAST_PAGE, last),
        (meta::MAX_BUCKET, 1),
        (meta::HIGH_MASK, 1),
        (meta::LOW_MASK, 0),
        (meta::ELEMENTS, elements),
        (meta::HASH_OF_TEST, hash(TEST)),
        // The first bucket and the second are the first doublings; both are one page further than their number.
        (meta::SPARES, BUCKETS[0]),
        (meta::SPARES + 4, BUCKETS[1] - 1),
    ] {
        put(first, at, value);
    }
}

/// Adds a chain of overflow pages.
fn add_value(pages: &mut Vec<Vec<u8>>, value: &[u8]) {
    let first = next(pages);
    let mut parts = value.chunks(PART).peekable();
    while let Some(part) = parts.next() {
        let number = next(pages);
        let mut page = new_page(number, kind::OVERFLOW);
        // How often it is referred to, and how much of the value it has.
        put_short(&mut page, page::ITEMS, 1);
        put_short(&mut page, page::LENGTH, part.len());
        page[page::HEADER..page::HEADER + part.len()].copy_from_slice(part);
        put(&mut page, page::BEFORE, if number == first { 0 } else { number - 1 });
        put(&mut page, page::NEXT, if parts.peek().is_none() { 0 } else { number + 1 });
        pages.push(page);
    }
}

/// Adds a key and its value to a page, if there is room.
pub(super) fn add_pair(page: &mut [u8], key: &[u8], value: &[u8]) -> bool {
    let short = |at: usize| usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
    let (mut count, mut start) = (short(page::ITEMS), short(page::LENGTH));
    if page::HEADER + 2 * (count + 2) > start - key.len() - value.len() {
        return false;
    }
    for part in [key, value] {
        start -= part.len();
        page[start..start + part.len()].copy_from_slice(part);
        put_short(page, page::HEADER + 2 * count, start);
        count += 1;
    }
    put_short(page, page::ITEMS, count);
    put_short(page, page::LENGTH, start);
    true
}

/// The number of the page that is added next.
fn next(pages: &[Vec<u8>]) -> u32 {
    pages.len() as u32
}

pub(super) fn new_page(number: u32, kind: u8) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    put(&mut page, page::NUMBER, number);
    put_short(&mut page, page::LENGTH, PAGE);
    page[page::TYPE] = kind;
    page
}

/// Numbers are little-endian, which Berkeley DB reads on every machine.
pub(super) fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn put_short(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

/// The hash of a key, by Fowler, Noll and Vo (`__ham_func5`).
fn hash(key: &[u8]) -> u32 {
    key.iter().fold(0, |hash: u32, byte| hash.wrapping_mul(16_777_619) ^ u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::super::{headers, settle};
    use super::*;

    #[test]
    fn what_is_made_reads_back_in_its_order() {
        // More than a page of a bucket holds; values of no, one and several pages, and of full ones.
        let lengths = [1, 2, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 7].into_iter().chain(1..=400);
        let blobs: Vec<Vec<u8>> = lengths.enumerate().map(|(i, length)| vec![i as u8; length]).collect();
        let made = make(&blobs);
        assert!(headers(&made).expect("it reads") == blobs);
        // Nothing in it is without a meaning.
        let settled = settle("Packages", &made).expect("it reads");
        assert!(made[meta::ID].iter().all(|byte| *byte == 0) && settled[meta::ID].iter().any(|byte| *byte != 0));
        assert!(made[..meta::ID.start] == settled[..meta::ID.start] && made[meta::ID.end..] == settled[meta::ID.end..]);
        assert!(headers(&make(&[])).expect("it reads").is_empty());
    }

    #[test]
    fn keys_hash_as_in_berkeley_db() {
        // The value that stands in every table.
        assert_eq!(hash(TEST), 0x5e68_8dd1);
        assert_eq!(hash(b""), 0);
    }
}
