//! The SQLite file of the RPM database, in memory: what a tree holds is never opened where it lies, so that no link in
//! the tree leads elsewhere, and no journal is left behind.
//!
//! rpm writes through a write-ahead log; a process that ends without closing the database leaves that beside it. What
//! it holds is put in here (sqlite.org/fileformat2.html, "The WAL File Format").

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rusqlite::Connection;

use crate::root::Root;

/// What a database file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where the header says whether changes go to a write-ahead log (2) or to a journal (1): for writers and for readers.
const MODES: [usize; 2] = [18, 19];
/// What SQLite keeps beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
/// Bytes of the log's header, and of that of a page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Bytes of a database at most; that of a full desktop has some 200 million.
const MAX_SIZE: usize = 2 << 30;

/// The bytes of a database of a tree, with its write-ahead log put in.
pub fn load(root: &Root, path: &Path) -> Result<Vec<u8>> {
    let mut database = root.read(path)?;
    let log = beside(path, "-wal");
    if root.exists(&log) {
        apply(&mut database, &root.read(&log)?).with_context(|| format!("putting in the log /{}", log.display()))?;
    }
    if !database.starts_with(MAGIC) || database.len() < 100 {
        bail!("/{} is no SQLite database", path.display());
    }
    for mode in MODES {
        database[mode] = 1;
    }
    Ok(database)
}

/// A path with something after its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Makes one sound file of the database: without a log beside it, and its integrity checked.
pub fn settle(root: &Root, path: &Path) -> Result<()> {
    let database = load(root, path)?;
    check_bytes(&database, path)?;
    replace(root, path, &database)
}

/// Fails unless a database is sound and settled. Others than SQLite's are not looked into.
pub fn check(root: &Root, path: &Path) -> Result<()> {
    if path.extension() != Some("sqlite".as_ref()) {
        return Ok(());
    }
    if let Some(left) = beside_of(path).find(|left| root.exists(left)) {
        bail!("/{} is left of a program that did not end well; the clean step dnf/database removes it", left.display());
    }
    check_bytes(&load(root, path)?, path)
}

/// What SQLite may have left beside a database.
pub fn beside_of(path: &Path) -> impl Iterator<Item = PathBuf> {
    BESIDE.iter().map(|ending| beside(path, ending))
}

fn check_bytes(database: &[u8], path: &Path) -> Result<()> {
    let verdict: String = open(database)?
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .with_context(|| format!("checking /{}", path.display()))?;
    if verdict != "ok" {
        bail!("the RPM database /{} is damaged: {verdict}", path.display());
    }
    Ok(())
}

/// The header blobs of a database, by their number.
pub fn blobs(database: &[u8]) -> Result<Vec<Vec<u8>>> {
    Ok(packages(&open(database)?)?.into_iter().map(|(_, blob)| blob).collect())
}

/// The header blobs with their numbers.
pub fn packages(connection: &Connection) -> Result<Vec<(i64, Vec<u8>)>> {
    let mut statement =
        connection.prepare("SELECT hnum, blob FROM Packages ORDER BY hnum").context("reading its packages")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).context("reading its packages")?;
    rows.collect::<rusqlite::Result<_>>().context("reading its packages")
}

/// Puts another database in the place of one, and of its log.
pub fn replace(root: &Root, path: &Path, database: &[u8]) -> Result<()> {
    root.write(path, database, 0o644)?;
    for left in beside_of(path) {
        root.remove_file(left)?;
    }
    Ok(())
}

/// Opens a copy of a database in memory, to read it.
pub fn open(database: &[u8]) -> Result<Connection> {
    let mut connection = Connection::open_in_memory().context("opening a database in memory")?;
    let opened = connection.deserialize_read_exact("main", database, database.len(), true);
    opened.context("opening the RPM database")?;
    Ok(connection)
}

/// Puts the pages of a write-ahead log into the database, up to the last change that was completed.
fn apply(database: &mut Vec<u8>, log: &[u8]) -> Result<()> {
    let number =
        |bytes: &[u8], at: usize| bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    // An empty one is what a checkpoint leaves.
    if log.len() < LOG_HEADER {
        return Ok(());
    }
    let big_endian = match number(log, 0) {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => bail!("it is no write-ahead log"),
    };
    let size = number(log, 8) as usize;
    if !size.is_power_of_two() || !(512..=65536).contains(&size) {
        bail!("its pages have {size} bytes");
    }
    let mut sums = checksum(big_endian, (0, 0), &log[..24]);
    if sums != (number(log, 24), number(log, 28)) {
        return Ok(());
    }
    let salts = &log[16..24];
    let mut pending: Vec<(usize, &[u8])> = Vec::new();
    for frame in log[LOG_HEADER..].chunks_exact(FRAME_HEADER + size) {
        let (header, page) = frame.split_at(FRAME_HEADER);
        sums = checksum(big_endian, checksum(big_endian, sums, &header[..8]), page);
        // What comes after is of an earlier turn of the log.
        if &header[8..16] != salts || sums != (number(header, 16), number(header, 20)) {
            break;
        }
        pending.push((number(header, 0) as usize, page));
        let pages = number(header, 4) as usize;
        if pages == 0 {
            continue;
        }
        if pages > MAX_SIZE / size {
            bail!("it is of a database of {pages} pages");
        }
        database.resize(pages * size, 0);
        for (at, page) in pending.drain(..) {
            let start = at.checked_sub(1).context("it has a page 0")?.saturating_mul(size);
            // A page beyond the end was cut off by the same change.
            if let Some(place) = database.get_mut(start..start.saturating_add(size)) {
                place.copy_from_slice(page);
            }
        }
    }
    Ok(())
}

fn checksum(big_endian: bool, (mut a, mut b): (u32, u32), data: &[u8]) -> (u32, u32) {
    for pair in data.chunks_exact(8) {
        let word = |at: usize| {
            let bytes = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        a = a.wrapping_add(word(0)).wrapping_add(b);
        b = b.wrapping_add(word(4)).wrapping_add(a);
    }
    (a, b)
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A database of these header blobs at a path of the disk, which may be left in the middle of its log.
    pub fn make(path: &Path, blobs: &[Vec<u8>], leave_log: bool) {
        let connection = Connection::open(path).expect("a database");
        connection.pragma_update(None, "journal_mode", "WAL").expect("a log");
        connection.pragma_update(None, "wal_autocheckpoint", 0).expect("no checkpoint");
        let table = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)";
        connection.execute(table, []).expect("a table");
        for blob in blobs {
            connection.execute("INSERT INTO Packages (blob) VALUES (?1)", [blob]).expect("a row");
        }
        if leave_log {
            // What a process leaves that is killed: copies of the files, taken while it is open.
            for ending in ["", "-wal"] {
                let file = beside(path, ending);
                std::fs::copy(&file, beside(path, &format!(".kept{ending}"))).expect("copied");
            }
            drop(connection);
            for ending in ["", "-wal"] {
                std::fs::rename(beside(path, &format!(".kept{ending}")), beside(path, ending)).expect("renamed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::make;
    use super::*;

    fn tree(leave_log: bool) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().expect("a folder");
        let blobs: Vec<Vec<u8>> = (0..50u8).map(|i| vec![i; 3000]).collect();
        make(&dir.path().join("db"), &blobs, leave_log);
        let root = Root::open(dir.path()).expect("it opens");
        (dir, root)
    }

    #[test]
    fn a_log_that_was_left_is_put_in() {
        let path = Path::new("db");
        for leave_log in [false, true] {
            let (dir, root) = tree(leave_log);
            assert_eq!(root.exists("db-wal"), leave_log);
            let found = blobs(&load(&root, path).expect("it loads")).expect("it reads");
            assert_eq!((found.len(), &found[49]), (50, &vec![49; 3000]));
            settle(&root, path).expect("it is sound");
            assert_eq!(root.read_dir(".").expect("listed"), ["db"]);
            // SQLite itself finds all of it.
            let connection = Connection::open(dir.path().join("db")).expect("it opens");
            let count: u32 = connection.query_row("SELECT count(*) FROM Packages", [], |r| r.get(0)).expect("counted");
            let mode: String = connection.query_row("PRAGMA journal_mode", [], |r| r.get(0)).expect("a mode");
            assert_eq!((count, mode.as_str()), (50, "delete"));
        }
    }

    #[test]
    fn damaged_and_hostile_databases_are_refused() {
        let path = Path::new("db");
        let (_dir, root) = tree(true);
        let log = root.read("db-wal").expect("it is there");
        // A change that is not complete does not count.
        root.write("db-wal", &log[..log.len() - 1], 0o644).expect("writes");
        assert_eq!(blobs(&load(&root, path).expect("it loads")).expect("it reads").len(), 49);
        let mut bad = log.clone();
        bad[8..12].copy_from_slice(&7u32.to_be_bytes());
        root.write("db-wal", &bad, 0o644).expect("writes");
        assert!(format!("{:#}", load(&root, path).expect_err("odd pages")).contains("its pages have 7 bytes"));
        root.write("db-wal", [0; 64], 0o644).expect("writes");
        assert!(format!("{:#}", load(&root, path).expect_err("no log")).contains("no write-ahead log"));

        let (_dir, root) = tree(false);
        let mut bytes = root.read(path).expect("it is there");
        let length = bytes.len();
        bytes[length / 2..].fill(0xff);
        root.write(path, &bytes, 0o644).expect("writes");
        assert!(settle(&root, path).is_err());
        root.write(path, "no database", 0o644).expect("writes");
        assert!(load(&root, path).expect_err("text").to_string().contains("no SQLite database"));
    }
}
