//! Compressed segments in the cache.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

const CODECS: [&str; 3] = ["xz:0", "zstd:1", "gzip:1"];

fn packed(root: &Path, compression: &str, jobs: usize, cache: &Path) -> (Vec<u8>, Packed) {
    let mut out = Vec::new();
    let bar = Ui::new(Level::Quiet).step("Packing").bar(0, Unit::Bytes);
    let fetcher = Fetcher::new(cache, 1).expect("a cache");
    let unwanted = AtomicBool::new(false);
    let compression = compression.parse().expect("a compression");
    let settings = Settings { compression, jobs, cache: Some(&fetcher), unwanted: &unwanted };
    let root = Root::open(root).expect("it opens");
    let listing = Listing::new(&root, &BTreeMap::new(), CLOCK).expect("listed");
    let packed = pack(&root, &listing, settings, &mut out, &bar).expect("packed");
    (out, packed)
}

fn pieces(cache: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(cache.join("pieces")).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("a folder").flatten());
    files.map(|file| file.path()).collect()
}

/// A tree of several segments in any codec.
fn large(at: &Path) {
    tree(at, false);
    for (name, byte) in [("a", 3u8), ("b", 5), ("c", 7)] {
        fs::create_dir(at.join(name)).expect("a folder");
        let content: Vec<u8> = (0..3u32 << 20).map(|i| (i / 7 * u32::from(byte)) as u8).collect();
        fs::write(at.join(name).join("file"), content).expect("a file");
        set_mtime(&at.join(name).join("file"), EPOCH - 1);
        set_mtime(&at.join(name), EPOCH - 1);
    }
    set_mtime(at, EPOCH - 1);
}

#[test]
fn bytes_are_the_same_from_a_cold_and_a_warm_cache() {
    let dir = tempfile::tempdir().expect("a folder");
    let (root, cache) = (dir.path().join("root"), dir.path().join("cache"));
    large(&root);
    for compression in CODECS {
        let expected = packed_with(&root, compression, 2).0;
        let before = pieces(&cache).len();
        let (cold, first) = packed(&root, compression, 3, &cache);
        let (warm, second) = packed(&root, compression, 1, &cache);
        assert!(cold == expected && warm == expected, "{compression}");
        let segments = first.reuse.segments;
        assert!(segments > 3, "{compression}: {segments}");
        assert_eq!(first.reuse, Reuse { segments, ..Reuse::default() }, "{compression}");
        assert_eq!(second.reuse, Reuse { segments, cached: segments, ..Reuse::default() }, "{compression}");
        assert_eq!(pieces(&cache).len(), before + segments, "{compression}");
    }
    let before = pieces(&cache).len();
    assert_eq!(packed(&root, "none", 2, &cache).1.reuse, Reuse::default());
    assert_eq!(packed(&root, "xz:1", 2, &cache).1.reuse.cached, 0, "of another level");
    assert!(pieces(&cache).len() > before);
}

#[test]
fn what_changed_is_compressed_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let (root, cache) = (dir.path().join("root"), dir.path().join("cache"));
    large(&root);
    let segments = packed(&root, "xz:0", 2, &cache).1.reuse.segments;
    fs::write(root.join("b/file"), vec![9; 3 << 20]).expect("changed");
    set_mtime(&root.join("b/file"), EPOCH - 1);
    let (bytes, changed) = packed(&root, "xz:0", 2, &cache);
    assert_eq!(changed.reuse, Reuse { segments, cached: segments - 1, ..Reuse::default() });
    assert!(bytes == packed_with(&root, "xz:0", 1).0);
}

#[test]
fn a_damaged_piece_is_noticed_and_made_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let (root, cache) = (dir.path().join("root"), dir.path().join("cache"));
    fs::create_dir(&root).expect("a folder");
    fs::write(root.join("file"), "content ".repeat(1000)).expect("a file");
    for compression in CODECS {
        let known = pieces(&cache);
        let expected = packed(&root, compression, 1, &cache).0;
        let new: Vec<PathBuf> = pieces(&cache).into_iter().filter(|path| !known.contains(path)).collect();
        let [path] = &new[..] else { panic!("{compression}: one piece, not {new:?}") };
        let right = fs::read(path).expect("a piece");
        let mut damages: Vec<Vec<u8>> = (0..right.len()).map(|at| flipped(&right, at)).collect();
        damages.extend([
            right[..right.len() - 1].to_vec(),
            right[..10].to_vec(),
            Vec::new(),
            [&right[..], b"x"].concat(),
        ]);
        damages.push(vec![0; 1 << 20]);
        for (number, damaged) in damages.iter().enumerate() {
            fs::write(path, damaged).expect("damages");
            let (bytes, again) = packed(&root, compression, 1, &cache);
            assert!(bytes == expected, "{compression}, damage {number}");
            assert_eq!(again.reuse.cached, 0, "{compression}, damage {number}");
            // What is too long for a piece is none, and not even read.
            assert_eq!(again.reuse.damaged, usize::from(damaged.len() < 1 << 20), "{compression}, damage {number}");
            assert_eq!(fs::read(path).expect("a piece"), right, "{compression}, damage {number}");
        }
    }
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn a_cache_that_cannot_be_written_is_no_reason_to_fail() {
    let dir = tempfile::tempdir().expect("a folder");
    let (root, cache) = (dir.path().join("root"), dir.path().join("cache"));
    large(&root);
    fs::create_dir(&cache).expect("a folder");
    // A file where the folder should be stops root too.
    fs::write(cache.join("pieces"), "").expect("a file");
    let (bytes, packed) = packed(&root, "zstd:1", 2, &cache);
    assert!(bytes == packed_with(&root, "zstd:1", 2).0);
    let why = packed.reuse.not_kept.expect("a reason");
    assert!(why.contains("cache"), "{why}");
    assert_eq!((packed.reuse.cached, packed.reuse.damaged), (0, 0));
}
