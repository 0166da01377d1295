//! A small Alpine: the genuine packages that `tests/fixtures/make-apk-repo.sh` rebuilt, in a signed repository served
//! from the loopback interface, and beside it a repository of a test's own packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::apk;
pub use super::apk_maker::{Apk, dir, file, gzip, link, member};
use super::mkbase::Place;
use super::server::Server;

/// When the repository of a test's own packages was made, in seconds since 1970: before the genuine ones.
const DATE: u64 = 1_700_000_000;

/// The folder that the maker of the repository made, and a real apk in it.
pub struct Fixture {
    folder: PathBuf,
    arch: &'static str,
}

impl Fixture {
    /// `None`, with a note, where a test cannot have it: `MKBASE_TEST_APK` names it.
    pub fn get(test: &str) -> Option<Fixture> {
        Fixture::of(test, apk::ARCH)
    }

    /// The same for images of this architecture.
    pub fn of(test: &str, arch: &'static str) -> Option<Fixture> {
        let folder = apk::folder().filter(|folder| folder.join("main").join(arch).is_dir());
        match folder {
            Some(folder) if std::env::consts::ARCH == apk::ARCH => Some(Fixture { folder, arch }),
            _ => {
                super::note_skip(&format!("{test}: needs MKBASE_TEST_APK with {arch}, and {}", apk::ARCH));
                None
            }
        }
    }

    /// The architecture of its images.
    pub fn arch(&self) -> &'static str {
        self.arch
    }

    /// The folder that holds the repositories.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder with the program `apk`.
    pub fn bin(&self) -> PathBuf {
        self.folder.join("host/bin")
    }

    /// The real apk, on a tree.
    pub fn apk(&self, root: &Path) -> Command {
        let mut command = Command::new(self.bin().join("apk"));
        command.arg("--root").arg(root).arg("--keys-dir").arg(self.folder.join("keys"));
        command.args(["--arch", self.arch, "--no-cache"]);
        command
    }

    /// Name and content of the key that the repository is signed with.
    pub fn key(&self) -> (String, Vec<u8>) {
        let mut keys = std::fs::read_dir(self.folder.join("keys")).expect("the keys of the fixture");
        let path = keys.next().expect("a key").expect("a key").path();
        (path.file_name().expect("a name").to_string_lossy().into_owned(), std::fs::read(path).expect("a key"))
    }

    /// The files of its repository.
    pub fn files(&self) -> Vec<PathBuf> {
        let folder = self.folder.join("main").join(self.arch);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("listing {}: {e}", folder.display()));
        entries.map(|entry| entry.expect("a file of the fixture").path()).collect()
    }
}

/// Served repositories and the recipe that builds from them.
pub struct Lab {
    pub fixture: Fixture,
    pub server: Server,
}

impl Lab {
    /// The genuine packages, and these besides, by their names; the latter in a repository without a signature.
    pub fn new(fixture: Fixture, more: &[(&str, Apk)]) -> Lab {
        let lab = Lab { fixture, server: Server::new() };
        lab.serve("main");
        let mut text = String::new();
        for (name, apk) in more {
            let bytes = apk.bytes(name);
            text.push_str(&apk.paragraph(name, bytes.len()));
            lab.server.put(lab.path(name), bytes);
        }
        lab.server.put(format!("/extra/{}/APKINDEX.tar.gz", lab.fixture.arch), super::apk_maker::index(&text, DATE));
        lab
    }

    /// Serves a repository of the fixture.
    pub fn serve(&self, repository: &str) {
        apk::serve(&self.server, &self.fixture.folder, repository);
    }

    /// Where a package of the test's own is served.
    pub fn path(&self, name: &str) -> String {
        format!("/extra/{}/{name}-1.0-r0.apk", self.fixture.arch)
    }

    /// Writes the recipe and its key, and gives the recipe's path. `more` is TOML at the end of it.
    pub fn recipe(&self, place: &Place, include: &[&str], more: &str) -> PathBuf {
        let (key, content) = self.fixture.key();
        place.write(&key, content);
        let url = self.server.url();
        place.write(
            "lab.toml",
            format!(
                "name = \"lab\"\nfamily = \"apk\"\nrelease = \"lab\"\nreleases = [\"lab\"]\n\n[[repository]]\n\
                 name = \"main\"\nurl = \"{url}/main\"\nkey = \"{key}\"\n\n[[repository]]\nname = \"extra\"\n\
                 url = \"{url}/extra\"\ntrusted = true\n\n[packages]\ninclude = {include:?}\n\n{more}\n"
            ),
        )
    }
}

/// What `apk` said, when it ended well and warned of nothing.
#[track_caller]
pub fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success() && !text.contains("WARNING") && !text.contains("ERROR"), "{text}");
    text
}

/// The names in apk's database of installed packages.
pub fn installed(root: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root.join("lib/apk/db/installed")).expect("apk's database");
    text.lines().filter_map(|line| line.strip_prefix("P:")).map(str::to_owned).collect()
}
