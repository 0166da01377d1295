//! Reads the RPM database of an image: what is installed, and whose every path is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::header::{Header, MAGIC, body_size, lengths, tag};
use super::package::{Identity, identity};
use super::{bdb, berkeley, canonical, pubkey, sqlite};
use crate::family::links::Links;
use crate::family::{Installed, Owners};
use crate::plan::Key;
use crate::root::Root;
use crate::sandbox::Sandbox;

/// Where databases are: of Fedora and EL 10, and of earlier releases.
const FOLDERS: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];
/// The database as SQLite; that of EL 8 and older is one of Berkeley DB.
const SQLITE: &str = "rpmdb.sqlite";
/// The database as rpm's own (SUSE), which the image's own rpm reads.
const OWN: &str = "Packages.db";
/// Where the image's own rpm reads a copy of its database, since it writes locks beside one even when it reads it. In
/// the sandbox that is memory.
const COPY: &str = "/dev/shm/rpmdb";
/// What a file is to rpm, `rpmfiles.h`.
pub(super) const CONFIGURATION: u64 = 1;
/// It need not be there.
pub(super) const MISSING_OK: u64 = 1 << 3;
/// It comes into being by running.
pub(super) const GHOST: u64 = 1 << 6;
const LICENCE: u64 = 1 << 7;
/// The state of a file that is there, `rpmfiles.h`.
const STATE_NORMAL: u8 = 0;
/// The state of a file that was left out since its place is shared with others (`%_netsharedpath`).
const STATE_NETSHARED: u64 = 3;

/// Where the database of a tree is, if it has one.
pub fn find(root: &Root) -> Option<PathBuf> {
    let files = |folder: &&str| [SQLITE, berkeley::PACKAGES, OWN].map(|name| Path::new(folder).join(name));
    FOLDERS.iter().flat_map(files).find(|path| root.exists(path))
}

/// The headers of everything in the database, keys included.
fn headers(root: &Root) -> Result<Vec<Header>> {
    let Some(path) = find(root) else { bail!("the image has no RPM database below /{}", FOLDERS.join(" or /")) };
    let blobs = blobs(root, &path)?;
    let parsed = blobs.iter().map(|blob| Header::parse(blob)).collect::<Result<_>>();
    parsed.with_context(|| format!("reading /{}", path.display()))
}

/// The header blobs of the database at `path`, in the order of their numbers.
pub(super) fn blobs(root: &Root, path: &Path) -> Result<Vec<Vec<u8>>> {
    let read = || match path.file_name().and_then(|name| name.to_str()) {
        Some(SQLITE) => sqlite::blobs(&sqlite::load(root, path)?),
        Some(berkeley::PACKAGES) => bdb::headers(&root.read(path)?),
        _ => {
            let folder = path.parent().unwrap_or(Path::new("")).display();
            let script = format!("cp -a /{folder} {COPY} && exec rpmdb --dbpath {COPY} --exportdb");
            let sandbox = Sandbox::new(root, "sh").args(["-euc", &script]).read_only().named("rpmdb --exportdb");
            from_stream(&sandbox.run()?)
        }
    };
    read().with_context(|| format!("reading /{}", path.display()))
}

/// The blobs of headers one after the other, as `rpmdb --exportdb` writes them.
fn from_stream(mut stream: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut blobs = Vec::new();
    while !stream.is_empty() {
        let rest = stream.strip_prefix(&MAGIC).context("a header does not begin as one")?;
        let start = rest.first_chunk::<8>().context("a header is cut off")?;
        let (entries, store) = lengths(*start)?;
        let (blob, after) = rest.split_at_checked(8 + body_size(entries, store)).context("a header is cut off")?;
        blobs.push(blob.to_vec());
        stream = after;
    }
    Ok(blobs)
}

/// The packages in the database, by name, version and architecture.
pub fn identities(root: &Root) -> Result<Vec<Identity>> {
    let packages = packages(root)?;
    let mut found = packages.iter().map(identity).collect::<Result<Vec<_>>>().context("reading the RPM database")?;
    found.sort();
    Ok(found)
}

/// The headers of the packages, without keys.
pub(super) fn packages(root: &Root) -> Result<Vec<Header>> {
    let mut headers = headers(root)?;
    headers.retain(|header| header.text(tag::NAME).ok().flatten().as_deref() != Some(pubkey::NAME));
    Ok(headers)
}

/// The packages that the image's database has, sorted.
pub fn installed(root: &Root) -> Result<Vec<Installed>> {
    let mut found = Vec::new();
    for header in packages(root)? {
        let Identity { name, evr, arch } = identity(&header).context("reading the RPM database")?;
        let place = || format!("reading what the RPM database has of {name}");
        let source = header.text(tag::SOURCE_RPM).with_context(place)?.unwrap_or_default().into_owned();
        let (source, source_version) = source_of(&source).unwrap_or((&name, &evr));
        let size =
            header.number(tag::LONG_SIZE).with_context(place)?.or(header.number(tag::SIZE).with_context(place)?);
        let licence = header.text(tag::LICENCE).with_context(place)?.unwrap_or_default().into_owned();
        let licences = files(&header).with_context(place)?;
        let mut licence_files: Vec<String> = licences
            .into_iter()
            .filter(|file| file.flags & LICENCE != 0 && file.there)
            .map(|file| file.path.to_string_lossy().into_owned())
            .collect();
        licence_files.sort();
        found.push(Installed {
            source: source.to_owned(),
            source_version: source_version.to_owned(),
            installed_size: size.unwrap_or(0),
            licence,
            licence_files,
            version: evr,
            arch,
            name,
        });
    }
    found.sort();
    Ok(found)
}

/// Name and version of a source package by its file name.
fn source_of(file: &str) -> Option<(&str, &str)> {
    let stem = file.strip_suffix(".src.rpm").or_else(|| file.strip_suffix(".nosrc.rpm"))?;
    let (release, _) = stem.rmatch_indices('-').next()?;
    let (version, _) = stem[..release].rmatch_indices('-').next()?;
    Some((&stem[..version], &stem[version + 1..]))
}

/// Which package owns which path: the first by name, where several share a folder. Files that a package only lays claim
/// to (`%ghost`) are no one's: they come into being by running, and what removes them does no harm to the package.
pub fn owners(root: &Root) -> Result<Owners> {
    let mut owners = Owners::default();
    let mut links = Links::new(root);
    let mut all = Vec::new();
    for header in packages(root)? {
        let name = header.required(tag::NAME, "name").context("reading the RPM database")?;
        let files = files(&header).with_context(|| format!("reading what the RPM database has of {name}"))?;
        all.push((name, files));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, files) in all {
        for file in files.into_iter().filter(|file| file.there && file.flags & GHOST == 0) {
            let path = links.follow_parents(&file.path)?;
            if file.flags & CONFIGURATION != 0 {
                owners.conffiles.insert(path.clone());
            }
            owners.paths.entry(path).or_insert_with(|| name.clone());
        }
    }
    owners.paths.remove(Path::new(""));
    Ok(owners)
}

/// The permission bits that packages give to folders of these paths, where one of them has it.
pub fn modes(root: &Root, paths: &[&str]) -> Result<Vec<(PathBuf, u32)>> {
    let mut found: Vec<(PathBuf, u32)> = Vec::new();
    for header in packages(root)? {
        let files = files(&header).context("reading the RPM database")?;
        for file in files.into_iter().filter(|file| paths.iter().any(|path| Path::new(path) == file.path)) {
            if let Some(mode) = file.mode.filter(|_| found.iter().all(|(path, _)| *path != file.path)) {
                found.push((file.path, mode & 0o7777));
            }
        }
    }
    Ok(found)
}

/// Writes the database in its one form, with these keys. Of these folders it then says that they are there, where rpm
/// was told to leave them alone.
pub fn complete(root: &Root, path: &Path, keys: &[&Key], folders: &[&str]) -> Result<()> {
    let database = sqlite::load(root, path)?;
    let made = canonical::write(&database, |time| pubkey::pubkeys(keys, time), |blob| claim(blob, folders))?;
    sqlite::replace(root, path, &made)
}

fn claim(mut blob: Vec<u8>, folders: &[&str]) -> Result<Vec<u8>> {
    let header = Header::parse(&blob)?;
    let Some(start) = header.position(tag::FILE_STATES) else { return Ok(blob) };
    let states = header.numbers(tag::FILE_STATES)?;
    for (i, file) in files(&header)?.iter().enumerate() {
        let ours = folders.iter().any(|folder| Path::new(folder) == file.path);
        // States are a byte each.
        if ours && states.get(i) == Some(&STATE_NETSHARED) {
            blob[start + i] = STATE_NORMAL;
        }
    }
    Ok(blob)
}

/// A file of a package.
pub(super) struct PackageFile {
    /// Its absolute path.
    pub(super) path: PathBuf,
    /// What it is to rpm.
    pub(super) flags: u64,
    /// As of stat(2).
    pub(super) mode: Option<u32>,
    /// Whether it was installed: documentation may be left out, and other languages.
    pub(super) there: bool,
}

/// The files of a package, in the order of its header.
pub(super) fn files(header: &Header) -> Result<Vec<PackageFile>> {
    let names = header.strings(tag::BASE_NAMES)?;
    let (folders, places) = (header.strings(tag::DIR_NAMES)?, header.numbers(tag::DIR_INDEXES)?);
    let (flags, states) = (header.numbers(tag::FILE_FLAGS)?, header.numbers(tag::FILE_STATES)?);
    let modes = header.numbers(tag::FILE_MODES)?;
    let mut files = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        let folder = places.get(i).and_then(|place| folders.get(usize::try_from(*place).ok()?));
        let folder = folder.context("a file has no folder")?;
        let path = [folder, *name].concat();
        if !path.starts_with(b"/") || path.split(|b| *b == b'/').any(|part| part == b"..") {
            bail!("it has the file {:?}", String::from_utf8_lossy(&path));
        }
        files.push(PackageFile {
            path: OsStr::from_bytes(&path).into(),
            flags: flags.get(i).copied().unwrap_or(0),
            mode: modes.get(i).and_then(|mode| u32::try_from(*mode).ok()),
            there: states.get(i).is_none_or(|state| *state == u64::from(STATE_NORMAL)),
        });
    }
    Ok(files)
}

#[cfg(test)]
pub(super) mod testing {
    use super::super::maker::{Value, make};
    use super::super::sqlite::testing;
    use super::*;

    /// The header of a package.
    pub fn package(name: &str, more: &[(u32, Value<'_>)]) -> Vec<u8> {
        let base = [
            (tag::NAME, Value::Text(name)),
            (tag::VERSION, Value::Text("1.0")),
            (tag::RELEASE, Value::Text("2.el9")),
            (tag::ARCH, Value::Text("x86_64")),
        ];
        make(&[&base[..], more].concat())
    }

    /// The tags of files.
    pub fn files_of(folders: &'static [&'static str], names: &'static [&'static str]) -> Vec<(u32, Value<'static>)> {
        let indexes: Vec<u32> = (0..names.len() as u32).map(|i| i.min(folders.len() as u32 - 1)).collect();
        vec![
            (tag::DIR_NAMES, Value::Texts(folders)),
            (tag::BASE_NAMES, Value::Texts(names)),
            (tag::DIR_INDEXES, Value::Numbers(Box::leak(indexes.into_boxed_slice()))),
        ]
    }

    /// A tree with a database of these headers, its log beside it.
    pub fn tree(blobs: &[Vec<u8>]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(dir.path().join("var/lib/rpm")).expect("a folder");
        std::fs::create_dir_all(dir.path().join("usr/bin")).expect("a folder");
        std::os::unix::fs::symlink("usr/bin", dir.path().join("bin")).expect("a link");
        testing::make(&dir.path().join("var/lib/rpm/rpmdb.sqlite"), blobs, true);
        let root = Root::open(dir.path()).expect("it opens");
        (dir, root)
    }
}

#[cfg(test)]
mod tests {
    use super::super::maker::Value;
    use super::testing::{files_of, package, tree};
    use super::*;

    #[test]
    fn what_is_installed_and_whose_every_path_is() {
        let mut bash = files_of(
            &["/bin/", "/etc/", "/etc/", "/usr/share/licenses/bash/", "/var/log/"],
            &["sh", "bashrc", "gone", "COPYING", "bash.log"],
        );
        bash.extend([
            (tag::FILE_FLAGS, Value::Numbers(&[0, 1 | 16, 0, 128, 64])),
            // The third was not installed.
            (tag::FILE_STATES, Value::Numbers(&[0, 0, 2, 0, 0])),
            (tag::SOURCE_RPM, Value::Text("bash-src-1.0-2.el9.src.rpm")),
            (tag::SIZE, Value::Numbers(&[4096])),
            (tag::EPOCH, Value::Numbers(&[3])),
        ]);
        let key = package(pubkey::NAME, &[]);
        let other = package("afoo", &files_of(&["/etc/"], &["bashrc"]));
        let (_dir, root) = tree(&[key, package("bash", &bash), other]);
        assert_eq!(find(&root).as_deref(), Some(Path::new("var/lib/rpm/rpmdb.sqlite")));
        let found = installed(&root).expect("it reads");
        assert_eq!(found.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["afoo", "bash"]);
        let bash = &found[1];
        assert_eq!((bash.version.as_str(), bash.arch.as_str()), ("3:1.0-2.el9", "x86_64"));
        assert_eq!((bash.source.as_str(), bash.source_version.as_str()), ("bash-src", "1.0-2.el9"));
        assert_eq!(
            (bash.installed_size, bash.licence_files.as_slice()),
            (4096, &["/usr/share/licenses/bash/COPYING".to_owned()][..])
        );
        let owners = owners(&root).expect("it reads");
        let paths: Vec<_> = owners.paths.iter().map(|(p, o)| (p.to_str().expect("text"), o.as_str())).collect();
        assert_eq!(
            paths,
            [("etc/bashrc", "afoo"), ("usr/bin/sh", "bash"), ("usr/share/licenses/bash/COPYING", "bash")]
        );
        assert!(owners.conffiles.contains(Path::new("etc/bashrc")) && owners.conffiles.len() == 1);
        assert_eq!(identities(&root).expect("it reads")[1].to_string(), "bash 3:1.0-2.el9 (x86_64)");
    }

    #[test]
    fn mount_points_are_claimed_and_nothing_else() {
        let mut filesystem = files_of(&["/", "/", "/proc/"], &["proc", "usr", "below"]);
        filesystem.extend([
            (tag::FILE_STATES, Value::Numbers(&[3, 3, 3])),
            (tag::FILE_MODES, Value::Numbers(&[0o40555, 0o40755, 0o100_644])),
        ]);
        // States are a byte each in real headers: type 1 of rpm.
        let mut blob = package("filesystem", &filesystem);
        let place = blob.windows(4).position(|w| w == tag::FILE_STATES.to_be_bytes()).expect("its entry");
        blob[place + 4..place + 8].copy_from_slice(&1u32.to_be_bytes());
        let start = Header::parse(&blob).expect("it is right").position(tag::FILE_STATES).expect("its place");
        blob[start..start + 3].fill(3);
        let (_dir, root) = tree(&[blob.clone(), package("other", &[])]);
        let claimed = Header::parse(&claim(blob, &["/proc", "/sys"]).expect("it is changed")).expect("it is right");
        assert_eq!(claimed.numbers(tag::FILE_STATES).expect("states"), [0, 3, 3]);
        assert_eq!(modes(&root, &["/proc", "/sys"]).expect("it reads"), [(PathBuf::from("/proc"), 0o555)]);
    }

    #[test]
    fn hostile_databases_are_refused() {
        for (blob, expected) in [
            (b"junk".to_vec(), "cut off in its lengths"),
            (package("a", &files_of(&["/usr/../../"], &["x"])), "it has the file \"/usr/../../x\""),
            (package("a", &files_of(&["usr/"], &["x"])), "it has the file \"usr/x\""),
            (package("a", &[(tag::BASE_NAMES, Value::Texts(&["x"]))]), "a file has no folder"),
            (package("a/b", &[]), "the header's name is \"a/b\""),
        ] {
            let (_dir, root) = tree(&[blob]);
            let error = format!("{:#}", owners(&root).and(installed(&root)).expect_err(expected));
            assert!(error.contains(expected), "{error}");
        }
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::open(dir.path()).expect("it opens");
        assert!(installed(&root).expect_err("none").to_string().contains("no RPM database"));
    }

    #[test]
    fn headers_follow_one_another_in_a_stream() {
        let one = [&MAGIC[..], &package("a", &[])].concat();
        assert_eq!(from_stream(&one.repeat(2)).expect("two").len(), 2);
        assert!(from_stream(&one[..one.len() - 1]).is_err());
        assert!(from_stream(&[&one[..], b"x"].concat()).is_err());
        assert!(from_stream(b"").expect("none").is_empty());
    }

    #[test]
    fn source_packages_by_their_files() {
        assert_eq!(source_of("a-b-1.0-2.el9.src.rpm"), Some(("a-b", "1.0-2.el9")));
        assert_eq!(source_of("a-1-2.nosrc.rpm"), Some(("a", "1-2")));
        assert_eq!(source_of("a-1.src.rpm"), None);
        assert_eq!(source_of("(none)"), None);
    }
}
