//! Files as Berkeley DB lays them out, and hostile ones. That Berkeley DB reads what is made and settled here, and that
//! what it makes is read, is tested where there is one: `tests/it/rpm_old.rs`.

use super::make::{PAGE, PART, add_pair, new_page, put, put_short};
use super::*;

/// A leaf of a tree with these items.
fn leaf(number: u32, kind: u8, items: &[Vec<u8>]) -> Vec<u8> {
    let mut page = new_page(number, kind);
    let mut start = PAGE;
    for (i, item) in items.iter().enumerate() {
        start -= item.len().next_multiple_of(4);
        page[start..start + item.len()].copy_from_slice(item);
        put_short(&mut page, page::HEADER + 2 * i, start);
    }
    put_short(&mut page, page::ITEMS, items.len());
    put_short(&mut page, page::LENGTH, start);
    page[24] = 1;
    page
}

fn value(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_le_bytes()[..], &[item::VALUE], bytes].concat()
}

fn overflow(page: u32, length: u32) -> Vec<u8> {
    [&[0xaa, 0xbb, item::OVERFLOW, 0xcc][..], &page.to_le_bytes(), &length.to_le_bytes()].concat()
}

fn inner(key: &[u8], kind: u8, below: u32) -> Vec<u8> {
    let length = (key.len() as u16).to_le_bytes();
    [&length[..], &[kind, 0xdd], &below.to_le_bytes(), &2u32.to_le_bytes(), key].concat()
}

fn file(method: Method, mut pages: Vec<Vec<u8>>) -> Vec<u8> {
    let last = pages.len() as u32 - 1;
    let first = &mut pages[0];
    let (kind, magic) = match method {
        Method::Hash => (kind::HASH_META, HASH_MAGIC),
        Method::Tree => (kind::TREE_META, TREE_MAGIC),
    };
    first[page::TYPE] = kind;
    for (at, value) in
        [(meta::MAGIC, magic), (meta::VERSION, 9), (meta::PAGE_SIZE, PAGE as u32), (meta::LAST_PAGE, last)]
    {
        put(first, at, value);
    }
    pages.concat()
}

/// An index of six entries: an inner page, two leaves, a value on an overflow page, and a free page.
fn index() -> Vec<u8> {
    let mut value_page = new_page(4, kind::OVERFLOW);
    put_short(&mut value_page, page::LENGTH, 16);
    value_page[page::HEADER..page::HEADER + 16].copy_from_slice(b"two more entries");
    let first = leaf(2, kind::LEAF, &[value(b"awk"), value(b"entry  1"), value(b"bash"), value(b"entry  2entry  3")]);
    let second = leaf(3, kind::LEAF, &[value(b"sed"), overflow(4, 16), value(b"tar"), value(b"entry  6")]);
    let top = leaf(1, kind::TREE, &[inner(b"", item::VALUE, 2), inner(&overflow(4, 16), item::OVERFLOW, 3)]);
    file(Method::Tree, vec![new_page(0, 0), top, first, second, value_page, new_page(5, kind::FREE)])
}

/// The same file in the other byte order: numbers of page 0, of headers, and places.
fn swapped(bytes: &[u8]) -> Vec<u8> {
    let mut other = bytes.to_vec();
    let mut swap = |at: usize, length: usize| other[at..at + length].reverse();
    (0..meta::HASH_END).step_by(4).filter(|at| *at != 24).for_each(|at| swap(at, 4));
    for start in (PAGE..bytes.len()).step_by(PAGE) {
        [8, 12, 16].into_iter().for_each(|at| swap(start + at, 4));
        [20, 22].into_iter().for_each(|at| swap(start + at, 2));
        if bytes[start + page::TYPE] == kind::HASH_UNSORTED {
            let count = usize::from(bytes[start + page::ITEMS]);
            for i in 0..count {
                let place = page::HEADER + 2 * i;
                swap(start + place, 2);
                let item = usize::from(bytes[start + place]) + (usize::from(bytes[start + place + 1]) << 8);
                let numbers = if i % 2 == 0 { &[1][..] } else { &[4, 8] };
                numbers.iter().for_each(|at| swap(start + item + at, 4));
            }
        }
    }
    other
}

#[test]
fn what_no_one_reads_is_settled() {
    let clean = index();
    let settled = settle("Name", &clean).expect("it is sound");
    assert_eq!(settle("Name", &settled).expect("it is sound"), settled, "once is enough");
    // What only the writer knows: the id, the memory behind what is described, between places and items, and behind
    // what a page holds.
    let mut noisy = clean.clone();
    let start = |page: usize| page * PAGE;
    for range in [
        meta::ID,
        meta::BTREE_END..PAGE,
        start(2) + page::HEADER + 8..start(2) + page::HEADER + 500,
        start(4) + page::HEADER + 16..start(5),
        start(5) + page::HEADER..start(6),
    ] {
        noisy[range].fill(0x5a);
    }
    // Padding of an item, and what has no meaning in one that leads to a chain.
    noisy[start(3) - 1] = 0x5a;
    assert_eq!(settle("Name", &noisy).expect("it is sound"), settled);
    assert!(settle("Group", &clean).expect("it is sound")[meta::ID] != settled[meta::ID], "one for every file");
    assert_eq!(settled.len(), clean.len());
    let there = |bytes: &[u8]| bytes[meta::ID.end..].iter().filter(|byte| **byte != 0).count();
    let gone = there(&clean) - there(&settled);
    assert_eq!(gone, 2 * 3 + 2, "of two items that lead to a chain, and of two of an inner page");
    // What is read, counts.
    for at in [start(1) + page::TYPE, start(2) - 4, start(3) - 3, start(4) + page::HEADER, start(4) - 9] {
        let mut other = clean.clone();
        other[at] ^= 0x10;
        assert!(settle("Name", &other).ok().as_ref() != Some(&settled), "{at}");
    }
}

#[test]
fn entries_of_an_index_are_counted() {
    assert_eq!(entries(&index()).expect("it is sound"), 6);
    // In a table there are values of two entries and of five.
    let table = make(&[vec![0; 16], vec![0; 40]]);
    assert_eq!((entries(&table).expect("it is sound"), entries(&make(&[])).expect("it is sound")), (7, 0));
    assert!(headers(&index()).expect_err("a tree").to_string().contains("it is an index"));
}

#[test]
fn tables_of_the_other_byte_order() {
    let blobs: Vec<Vec<u8>> = [5, PART + 1, 2 * PART].map(|length| vec![7; length]).into();
    let other = swapped(&make(&blobs));
    assert!(is_database(&other) && headers(&other).expect("it reads") == blobs);
    assert!(settle("Packages", &other).is_ok());
}

#[test]
fn values_on_the_page_and_the_number_given_last() {
    let key = |number: u32| [&[item::VALUE], &number.to_le_bytes()[..]].concat();
    let mut bucket = new_page(1, kind::HASH);
    for (number, text) in [(2, &b"two"[..]), (0, b"\x02\0\0\0"), (1, b"one")] {
        assert!(add_pair(&mut bucket, &key(number), &[&[item::VALUE], text].concat()));
    }
    let mut first = new_page(0, 0);
    put(&mut first, meta::SPARES, 1);
    let table = file(Method::Hash, vec![first, bucket]);
    assert_eq!(headers(&table).expect("it reads"), [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn hostile_files_are_refused() {
    let good = make(&[b"one".to_vec(), vec![1; 2 * PART]]);
    let changed = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    };
    // The items of the bucket stand at the end of page 1: the key and value of each package.
    let value = |package: usize| 2 * PAGE - package * 17;
    for (bad, expected) in [
        (Vec::new(), "no database of Berkeley DB"),
        (good[..300].to_vec(), "cut off in its first page"),
        (good[..PAGE + 1].to_vec(), "4097 bytes, and by its first page 6 pages"),
        (good[..5 * PAGE].to_vec(), "20480 bytes, and by its first page 6 pages"),
        (changed(meta::VERSION, &[3]), "version 3"),
        (changed(meta::PAGE_SIZE, &[1]), "pages have 4097 bytes"),
        (changed(meta::PAGE_SIZE, &[0, 0, 0, 1]), "pages have 16777216 bytes"),
        (changed(meta::ENCRYPTION, &[1]), "encrypted"),
        (changed(page::TYPE, &[9]), "first page does not describe it"),
        (changed(meta::SPARES, &[9]), "leads to a page 9, of 6"),
        (changed(meta::SPARES, &[2]), "leads to the page 2 twice"),
        (changed(meta::MAX_BUCKET, &[255; 4]), "leads to the page 2 twice"),
        (changed(PAGE + page::NUMBER, &[7]), "page 1 has the number 7"),
        (changed(PAGE + page::NEXT, &[1]), "leads to the page 1 twice"),
        (changed(PAGE + page::NEXT, &[3]), "leads to the page 3 twice"),
        (changed(PAGE + page::TYPE, &[5]), "the page 1 of a bucket has the type 5"),
        (changed(PAGE + page::ITEMS, &[255, 255]), "an item outside of it"),
        (changed(PAGE + page::ITEMS, &[3]), "a key without a value"),
        (changed(PAGE + page::HEADER, &[0, 0]), "an item outside of it"),
        (changed(PAGE + page::HEADER + 2, &[255, 15]), "items out of order"),
        (changed(value(1) + 12, &[9]), "a key that is no number"),
        (changed(value(2) + 12 + 1, &[2]), "has the package 2 twice"),
        (changed(value(1), &[7]), "no value of rpm"),
        (changed(value(1) + 4, &[4]), "it has 8140 bytes, of 3"),
        (changed(value(1) + 4, &[1]), "leads to the page 1 twice"),
        (changed(value(1) + 4, &[2]), "the page 2 holds no part of a value"),
        (changed(value(1) + 8, &[255; 4]), "it has 3 bytes, of 4294967295"),
        (changed(3 * PAGE + page::LENGTH, &[255, 255]), "the page 3 holds no part of a value"),
        (changed(5 * PAGE + page::NEXT, &[4]), "leads to the page 4 twice"),
    ] {
        let error = format!("{:#}", headers(&bad).expect_err(expected));
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let error = format!("{:#}", settle("x", &changed(2 * PAGE + page::TYPE, &[10])).expect_err("a queue"));
    assert!(error.contains("type 10, which rpm does not make"), "{error}");
}

/// Whatever a byte becomes, there is an answer.
#[test]
fn no_byte_leads_astray() {
    for good in [make(&[b"one".to_vec(), vec![1; PART + 1]]), index()] {
        for at in (0..good.len()).filter(|at| good[*at] != 0 || at % PAGE < 60) {
            for byte in [0, 1, 2, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                let found = headers(&bad).unwrap_or_default();
                assert!(found.iter().map(Vec::len).sum::<usize>() <= bad.len());
                let _ = (settle("x", &bad).is_ok(), entries(&bad).is_ok());
            }
        }
    }
}
