//! A small distribution of the tests' own: the real minimal packages, in a repository that is signed by a test key
//! and served from the loopback interface, with whatever else a test puts in. So a build can be broken at any
//! place without the real archive's help, and nothing is downloaded twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use mkbase::lock::Lock;

use super::deb::Deb;
use super::key::Key;
use super::mkbase::{Place, shared_cache};
use super::repo::Repo;
use super::server::{Body, Server};

/// The release that the packages come from.
pub const SEED: &str = "debian:trixie";
/// What is chosen of it: a minimal system, and the two packages that settings of a recipe ask for.
pub const SEED_OPTIONS: [&str; 4] = ["--variant", "minbase", "--include", "locales,tzdata"];

/// The packages of a real minimal system.
pub struct Seed {
    /// The lock of the build that they come from.
    pub lock: Lock,
    /// With the archive's own stanzas.
    pub debs: Vec<Deb>,
}

/// Made once a run, at first use, by the program itself from the real archive.
pub fn seed() -> &'static Seed {
    static SEED: OnceLock<Seed> = OnceLock::new();
    // Not inside `get_or_init`: when making it fails, every test that needs it says why.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(|e| e.into_inner());
    SEED.get_or_init(make_seed)
}

fn make_seed() -> Seed {
    Seed::of(SEED, &SEED_OPTIONS)
}

impl Seed {
    /// The packages of this build.
    pub fn of(recipe: &str, options: &[&str]) -> Seed {
        let place = Place::new();
        place.build(recipe, "seed", options).run().success();
        read_seed(&place)
    }
}

fn read_seed(place: &Place) -> Seed {
    let text = std::fs::read_to_string(place.out("seed").join("mkbase.lock")).expect("the lock of the build");
    let lock = Lock::parse(&text, "mkbase.lock").expect("the lock of the build");
    let files = cached_files(&shared_cache());
    let mut debs = Vec::new();
    for repository in &lock.repositories {
        let wanted: Vec<_> = lock.installed().filter(|p| p.repository == repository.name).collect();
        if wanted.is_empty() {
            continue;
        }
        let address =
            format!("{}/dists/{}/main/binary-{}/Packages.xz", repository.url, repository.suite, super::deb_arch());
        let text = index_text(&address);
        let index = stanzas(&text);
        for package in wanted {
            let stanza = index
                .get(&(package.name.clone(), package.sha256.clone()))
                .unwrap_or_else(|| panic!("no {} {} in {address}", package.name, package.version));
            debs.push(Deb {
                path: package.path.clone(),
                stanza: format!("{stanza}\n"),
                bytes: Body::File(files[&package.sha256].clone()),
            });
        }
    }
    assert!(debs.len() > 50, "a minimal system of {} packages", debs.len());
    Seed { lock, debs }
}

/// The cache's files by the hash that is their name.
fn cached_files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the shared cache").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(cached_files(&path));
        } else if let Some(hash) = path.file_name().and_then(|n| n.to_str()).map(|n| n.split('.').next().unwrap_or(n)) {
            files.insert(hash.to_string(), path);
        }
    }
    files
}

/// An index of the real archive.
fn index_text(address: &str) -> String {
    let body = ureq::get(address)
        .call()
        .unwrap_or_else(|e| panic!("fetching {address}: {e}"))
        .into_body()
        .with_config()
        .limit(1 << 28)
        .read_to_vec()
        .unwrap_or_else(|e| panic!("fetching {address}: {e}"));
    let mut text = String::new();
    let mut decoder = xz2::read::XzDecoder::new(&body[..]);
    std::io::Read::read_to_string(&mut decoder, &mut text).unwrap_or_else(|e| panic!("reading {address}: {e}"));
    text
}

/// Stanzas by package name and SHA-256.
fn stanzas(index: &str) -> BTreeMap<(String, String), &str> {
    index
        .split("\n\n")
        .filter_map(|stanza| {
            let field =
                |name: &str| stanza.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ")).map(str::to_string);
            Some(((field("Package")?, field("SHA256")?), stanza.trim_end()))
        })
        .collect()
}

/// A served repository and the recipe that builds from it.
pub struct Lab {
    pub server: Server,
    pub key: Key,
}

impl Lab {
    /// A repository of exactly these packages. What is built from it gets as far as these packages carry it.
    pub fn new(debs: &[Deb]) -> Lab {
        Lab::with(debs, |_| {})
    }

    /// With something changed before it is signed and published.
    pub fn with(debs: &[Deb], change: impl FnOnce(&mut Repo<'_>)) -> Lab {
        let lab = Lab { server: Server::new(), key: Key::new("lab") };
        let mut repo = Repo::new(&lab.key, debs.to_vec());
        change(&mut repo);
        repo.publish(&lab.server);
        lab
    }

    /// The real minimal packages and these besides: a build from it succeeds.
    pub fn complete(more: &[Deb]) -> Lab {
        let mut debs = seed().debs.clone();
        debs.extend(more.iter().cloned());
        Lab::new(&debs)
    }

    /// Writes the recipe and its key, and gives the recipe's path. `more` is TOML at the end of it.
    pub fn recipe(&self, place: &Place, include: &[&str], more: &str) -> PathBuf {
        self.recipe_of_key(place, &self.key, include, more)
    }

    /// The same with another key.
    pub fn recipe_of_key(&self, place: &Place, key: &Key, include: &[&str], more: &str) -> PathBuf {
        place.write("lab.asc", key.public());
        place.write("lab.toml", recipe_text(&self.server.url(), include, more))
    }
}

/// A recipe that stands on its own.
pub fn recipe_text(url: &str, include: &[&str], more: &str) -> String {
    format!(
        "name = \"lab\"\nfamily = \"deb\"\nrelease = \"lab\"\nreleases = [\"lab\"]\n\n[[repository]]\n\
         name = \"main\"\nurl = \"{url}\"\nsuite = \"{{release}}\"\ncomponents = [\"main\"]\nkey = \"lab.asc\"\n\n\
         [packages]\ninclude = {include:?}\n\n{more}\n"
    )
}
