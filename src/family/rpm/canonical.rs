//! Writes the RPM database anew, in one form: what is installed decides on its bytes, and neither the release of rpm
//! that wrote it, nor that of its SQLite, nor the order of installation, in which rpm 4.18, 4.20 and 6.0 differ.
//!
//! Packages stand in the order of their names, after the keys. The tables are those of rpm 4.16 and later (`lib/
//! backend/sqlite.c`, `lib/rpmdb.c`); their rows are taken over from what rpm wrote. Statistics of SQLite are left out.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::header::{Header, tag};
use super::package::{Identity, identity};
use super::pubkey::{self, Pubkey};
use super::sqlite;

/// A table of the database that finds packages by something: what that is to SQLite, and by what the table has indexes.
struct Table {
    name: &'static str,
    key: &'static str,
    indexes: &'static [&'static str],
}

const fn table(name: &'static str, key: &'static str, indexes: &'static [&'static str]) -> Table {
    Table { name, key, indexes }
}

const BOTH: &[&str] = &["key", "hnum"];

/// In the order in which rpm makes them.
const TABLES: [Table; 18] = [
    table("Name", "TEXT", &["key"]),
    table("Basenames", "TEXT", BOTH),
    table("Group", "TEXT", &["key"]),
    table("Requirename", "TEXT", BOTH),
    table("Providename", "TEXT", BOTH),
    table("Conflictname", "TEXT", BOTH),
    table("Obsoletename", "TEXT", BOTH),
    table("Triggername", "TEXT", BOTH),
    table("Dirnames", "TEXT", BOTH),
    table("Installtid", "BLOB", &[]),
    table("Sigmd5", "BLOB", &[]),
    table("Sha1header", "TEXT", &["key"]),
    table("Filetriggername", "TEXT", BOTH),
    table("Transfiletriggername", "TEXT", BOTH),
    table("Recommendname", "TEXT", BOTH),
    table("Suggestname", "TEXT", BOTH),
    table("Supplementname", "TEXT", BOTH),
    table("Enhancename", "TEXT", BOTH),
];

/// A row of such a table: number of the package, place among its values, and the value.
type Row = (i64, i64, Value);

/// The database with these keys and no others. `change` gives what is to stand for the header of a package.
pub fn write(
    database: &[u8],
    keys: impl FnOnce(u32) -> Result<Vec<Pubkey>>,
    change: impl Fn(Vec<u8>) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let source = sqlite::open(database)?;
    let packages = packages(&source)?;
    let time = packages.iter().map(|package| package.time).max().context("it has no package")?;
    let keys = keys(time)?;
    let numbers: BTreeMap<i64, i64> =
        packages.iter().map(|package| package.number).zip(keys.len() as i64 + 1..).collect();

    let mut made = Connection::open_in_memory().context("opening a database in memory")?;
    let writing = made.transaction()?;
    writing.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)", [])?;
    let mut add = writing.prepare("INSERT INTO Packages (hnum, blob) VALUES (?1, ?2)")?;
    for (key, number) in keys.iter().zip(1..) {
        add.execute(params![number, key.blob])?;
    }
    for package in packages {
        add.execute(params![numbers[&package.number], change(package.blob)?])?;
    }
    drop(add);
    for table in &TABLES {
        let Table { name, key, indexes } = table;
        writing.execute(
            &format!(
                "CREATE TABLE '{name}' (key '{key}' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL, FOREIGN \
                 KEY (hnum) REFERENCES 'Packages'(hnum))"
            ),
            [],
        )?;
        for index in *indexes {
            writing.execute(&format!("CREATE INDEX '{name}_{index}_idx' ON '{name}'({index} ASC)"), [])?;
        }
        let of_keys = keys.iter().zip(1..).flat_map(|(key, number)| {
            rows_of_key(key, time, name).into_iter().zip(0..).map(move |(value, place)| (number, place, value))
        });
        let rows = rows(&source, name, &numbers).with_context(|| format!("reading its table {name}"))?;
        let mut add = writing.prepare(&format!("INSERT INTO '{name}' (key, hnum, idx) VALUES (?1, ?2, ?3)"))?;
        for (number, place, value) in of_keys.chain(rows) {
            add.execute(params![value, number, place])?;
        }
    }
    writing.commit()?;
    Ok(made.serialize("main").context("writing it")?.to_vec())
}

/// A package of the database.
struct Package {
    identity: Identity,
    number: i64,
    /// That of its transaction.
    time: u32,
    blob: Vec<u8>,
}

/// The packages by their names, with the time of the transaction for that of each. Keys are left out.
fn packages(source: &Connection) -> Result<Vec<Package>> {
    let mut found = Vec::new();
    for (number, mut blob) in sqlite::packages(source)? {
        let header = Header::parse(&blob)?;
        if header.text(tag::NAME)?.as_deref() == Some(pubkey::NAME) {
            continue;
        }
        let identity = identity(&header)?;
        let time = header.number(tag::INSTALL_ID)?.and_then(|time| u32::try_from(time).ok());
        let time = time.with_context(|| format!("{identity} has no transaction"))?;
        let place = header.position(tag::INSTALL_TIME).and_then(|start| blob.get_mut(start..start + 4));
        place.with_context(|| format!("{identity} has no time"))?.copy_from_slice(&time.to_be_bytes());
        found.push(Package { identity, number, time, blob });
    }
    found.sort_by(|a, b| (&a.identity, a.number).cmp(&(&b.identity, b.number)));
    Ok(found)
}

/// The rows of packages, with the numbers that they get. Those of keys are left out.
fn rows(source: &Connection, table: &str, numbers: &BTreeMap<i64, i64>) -> Result<Vec<Row>> {
    let mut statement = source.prepare(&format!("SELECT hnum, idx, key FROM '{table}' ORDER BY rowid"))?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut found: Vec<Row> = Vec::new();
    for row in rows {
        let (number, place, value): Row = row?;
        if let Some(number) = numbers.get(&number) {
            found.push((*number, place, value));
        }
    }
    found.sort_by_key(|(number, place, _)| (*number, *place));
    Ok(found)
}

/// What rpm finds a key by.
fn rows_of_key(key: &Pubkey, time: u32, table: &str) -> Vec<Value> {
    match table {
        "Name" => vec![Value::Text(pubkey::NAME.to_owned())],
        "Group" => vec![Value::Text(pubkey::GROUP.to_owned())],
        "Providename" => key.provides.iter().cloned().map(Value::Text).collect(),
        // As it stands in memory.
        "Installtid" => vec![Value::Blob(time.to_ne_bytes().to_vec())],
        "Sha1header" => vec![Value::Text(key.sha1.clone())],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::maker::{self, make};
    use super::*;
    use crate::fetch::openpgp::testkeys::{key, public};
    use crate::plan::Key;
    use pgp::ser::Serialize as _;

    /// A header as of the place in its transaction.
    fn package(name: &str, place: u32) -> Vec<u8> {
        make(&[
            (tag::NAME, maker::Value::Text(name)),
            (tag::VERSION, maker::Value::Text("1")),
            (tag::RELEASE, maker::Value::Text("1")),
            (tag::ARCH, maker::Value::Text("noarch")),
            (tag::INSTALL_TIME, maker::Value::Numbers(&[1000 + place])),
            (tag::INSTALL_ID, maker::Value::Numbers(&[1000])),
        ])
    }

    /// What rpm leaves after it installed packages in an order.
    fn database(names: &[&str], more: &str) -> Vec<u8> {
        let connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)").expect("a table");
        for Table { name, key, .. } in &TABLES {
            let table = format!("CREATE TABLE '{name}' (key '{key}', hnum INTEGER, idx INTEGER)");
            connection.execute_batch(&table).expect("a table");
        }
        for (name, place) in names.iter().zip(0..) {
            let number = 2 * place + 3;
            let add = "INSERT INTO Packages VALUES (?1, ?2)";
            connection.execute(add, params![number, package(name, place)]).expect("a row");
            connection.execute("INSERT INTO Name VALUES (?1, ?2, 0)", params![name, number]).expect("a row");
            for place in 0..3 {
                let path = format!("{name}-{place}");
                let add = "INSERT INTO Basenames VALUES (?1, ?2, ?3)";
                connection.execute(add, params![path, number, place]).expect("a row");
            }
        }
        connection.execute_batch(more).expect("what is asked for");
        connection.serialize("main").expect("bytes").to_vec()
    }

    fn written(database: &[u8], keys: &[Key]) -> Result<Vec<u8>> {
        let keys: Vec<&Key> = keys.iter().collect();
        write(database, |time| pubkey::pubkeys(&keys, time), Ok)
    }

    #[test]
    fn what_is_installed_decides_on_the_bytes() {
        let keys = [Key { name: "key".into(), data: public(&key()).to_bytes().expect("bytes") }];
        let one = written(&database(&["bash", "zlib", "acl"], ""), &keys).expect("it is written");
        // Another order, statistics, a table of another rpm, keys that were imported.
        let more = "CREATE TABLE Other (x); CREATE INDEX i ON Name (hnum); ANALYZE;";
        let other = database(&["gpg-pubkey", "acl", "gpg-pubkey", "zlib", "bash"], more);
        assert_eq!(one, written(&other, &keys).expect("it is written"));
        assert_eq!(one, written(&one, &keys).expect("it is written"), "once more");
        assert_ne!(one, written(&other, &[]).expect("it is written"));

        let connection = sqlite::open(&one).expect("it opens");
        let list = |query: &str| -> Vec<String> {
            let mut statement = connection.prepare(query).expect("a query");
            let rows = statement.query_map([], |row| row.get(0)).expect("rows");
            rows.collect::<rusqlite::Result<_>>().expect("text")
        };
        assert_eq!(list("SELECT key FROM Name ORDER BY hnum"), ["gpg-pubkey", "acl", "bash", "zlib"]);
        let files = list("SELECT key FROM Basenames WHERE hnum = 3 ORDER BY idx");
        assert_eq!(files, ["bash-0", "bash-1", "bash-2"]);
        let provided = list("SELECT key FROM Providename WHERE hnum = 1 ORDER BY idx");
        assert_eq!((provided.len(), provided[0].as_str()), (5, "gpg(Archive <archive@example.org>)"));
        let times = sqlite::packages(&connection).expect("packages").into_iter().map(|(_, blob)| {
            let header = Header::parse(&blob).expect("a header");
            header.number(tag::INSTALL_TIME).expect("a number")
        });
        assert_eq!(times.collect::<Vec<_>>(), [Some(1000); 4]);
        assert_eq!(list("SELECT name FROM sqlite_master WHERE name LIKE '%stat%' OR name = 'Other'"), [""; 0]);
    }

    #[test]
    fn databases_that_are_not_of_rpm_are_refused() {
        for (database, expected) in [
            (database(&[], ""), "it has no package"),
            (database(&["bash"], "DROP TABLE Requirename"), "reading its table Requirename"),
            (database(&["bash"], "DROP TABLE Packages"), "reading its packages"),
            (database(&["bash"], "UPDATE Packages SET blob = x'00'"), "cut off in its lengths"),
            (database(&["bash"], "UPDATE Name SET idx = 'x'"), "reading its table Name"),
            (b"no database".to_vec(), ""),
        ] {
            let error = format!("{:#}", written(&database, &[]).expect_err(expected));
            assert!(error.contains(expected), "{error}");
        }
    }
}
