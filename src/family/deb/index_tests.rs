use std::io::Cursor;

use super::*;

const TEXT: &str = "Package: a\nVersion: 1\nArchitecture: amd64\nDescription: short\n long\nDepends: b,\n c (>= 1)\n\
                    X-Other: y\n z\nSHA256: 00\n\n\npackage: b\nVERSION: 2\nArchitecture: all\nEssential: yes\n";

fn read(text: &[u8], size: Option<u64>) -> Result<Index> {
    Index::read(BufReader::new(Cursor::new(text.to_vec())), Codec::None, size, "test", 1, |_| {})
}

#[test]
fn fields_are_found_however_the_pieces_fall() {
    for piece in 1..TEXT.len() {
        let mut parser = Parser::default();
        for chunk in TEXT.as_bytes().chunks(piece) {
            parser.feed(chunk).expect("it is valid");
        }
        let index = parser.finish("test").expect("it is valid");
        let packages: Vec<_> = index.packages().collect();
        assert_eq!(packages.len(), 2);
        assert_eq!((packages[0].name(), packages[0].version(), packages[0].arch()), ("a", "1", "amd64"));
        assert_eq!(packages[0].depends(), "b,\n c (>= 1)");
        assert_eq!((packages[0].sha256(), packages[0].essential(), packages[0].provides()), ("00", false, ""));
        assert_eq!((packages[1].name(), packages[1].version(), packages[1].essential()), ("b", "2", true));
        assert_eq!(packages[1].place(), "test, line 13");
    }
}

#[test]
fn the_size_is_exact() {
    let right = TEXT.len() as u64;
    assert_eq!(read(TEXT.as_bytes(), Some(right)).expect("it is valid").packages().len(), 2);
    assert!(read(TEXT.as_bytes(), None).is_ok());
    for (wrong, text) in [(right - 1, "more than"), (right + 1, "bytes unpacked where"), (MAX_INDEX + 1, "may have")] {
        let error = read(TEXT.as_bytes(), Some(wrong)).expect_err("the size is wrong");
        assert!(format!("{error:#}").contains(text), "{error:#}");
    }
}

#[test]
fn bad_ones_name_file_and_line() {
    for (text, line) in [
        (" x\n", "line 1"),
        ("Package: a\nVersion: 1\n", "line 1: a package without the field Architecture"),
        ("Package: a\nVersion:\nArchitecture: all\n", "Version"),
        ("Package: a\nno field\n", "line 2"),
        ("Package: a\n: x\n", "line 2"),
        ("Package: a\nVersion: 1\nPackage: b\n", "line 3"),
        ("<!DOCTYPE html>\n", "line 1"),
    ] {
        let error = read(text.as_bytes(), None).expect_err(text);
        let message = format!("{error:#}");
        assert!(message.contains(line) && message.contains("test"), "{text:?} gave {message}");
    }
    assert!(read(b"Package: \xff\n", None).is_err());
    assert!(read(b"Package: a\nVersion: 1\nArchitecture: all\nDepends: a\n \xff\n", None).is_err());
    assert!(read(b"Package: a\nVersion: 1\nArchitecture: all\nMaintainer: \xff\n", None).is_ok());
}

#[test]
fn an_empty_index_is_valid() {
    assert_eq!(read(b"", Some(0)).expect("it is valid").packages().len(), 0);
    assert_eq!(read(b"\n\n", None).expect("it is valid").packages().len(), 0);
}

#[test]
fn damage_in_the_compression_is_an_error() {
    let packed = zstd::encode_all(TEXT.as_bytes(), 1).expect("it compresses");
    let cut = BufReader::new(&packed[..packed.len() - 4]);
    let error = Index::read(cut, Codec::Zstd, None, "test", 1, |_| {}).expect_err("it is cut");
    assert!(format!("{error:#}").contains("unpacking"), "{error:#}");
}

/// `MKBASE_TEST_INDEXES` names a folder of real `Packages.xz` files; prints how long each takes.
#[test]
#[ignore = "needs indexes of a real archive, see its comment"]
fn real_indexes_are_read_fast() {
    let folder = std::env::var_os("MKBASE_TEST_INDEXES").expect("MKBASE_TEST_INDEXES is set");
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        for threads in [1, 2] {
            let start = std::time::Instant::now();
            let index = Index::open(&path, Codec::Xz, None, "real", threads).expect("it is valid");
            let read = start.elapsed();
            let sources = [super::super::pool::Source { repository: Some(0), names: Vec::new(), priority: 500, index }];
            let pool = super::super::pool::Pool::new(&sources, "amd64", &Default::default()).expect("it is valid");
            let name = path.display();
            let kept = sources[0].index.text.len();
            eprintln!(
                "{name}: {} packages, {kept} bytes kept; {threads} threads: read in {read:?}, pool in {:?}",
                pool.count(),
                start.elapsed() - read
            );
        }
    }
}
