//! The solver beside apt itself, on the real archive. It is not part of an ordinary `cargo test`, because it reads the
//! archive and needs apt-get: `scripts/test` runs it with a few sets of packages, `scripts/bench solver` with many.
//!
//! The indexes come through the program's own fetcher, verified, by the addresses of the recipe, and apt is given the
//! same files in a root of its own. These variables choose what is compared:
//!
//! - `MKBASE_ORACLE_SETS` (40): how many sets of 1 to 6 packages;
//! - `MKBASE_ORACLE_SEED` (1): which ones;
//! - `MKBASE_ORACLE_ASKED`: one set, these packages, instead;
//! - `MKBASE_ORACLE_RECIPE` (debian:trixie): the recipe;
//! - `MKBASE_ORACLE_RECOMMENDS`: follow recommendations, where it is 1.
//!
//! docs/solver.md explains the differences that are known.

use std::collections::BTreeSet;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use super::super::index::Index;
use super::super::pool::Source;
use super::super::repository;
use super::*;
use crate::fetch::Fetcher;
use crate::recipe::{self, Overrides};

/// Fewer equal answers than this of a hundred are no longer the known differences.
const LEAST_EQUAL: u64 = 95;

fn setting(name: &str, default: &str) -> String {
    std::env::var(format!("MKBASE_ORACLE_{name}")).ok().filter(|v| !v.is_empty()).unwrap_or_else(|| default.to_owned())
}

fn number(name: &str, default: &str) -> u64 {
    setting(name, default).parse().expect(name)
}

/// An apt that knows certain indexes, and no package that is installed.
struct Apt {
    root: tempfile::TempDir,
}

impl Apt {
    /// With these indexes, already unpacked.
    fn new(indexes: &[String], arch: &str) -> Apt {
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        for folder in [
            "etc/apt/preferences.d",
            "etc/apt/apt.conf.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
        ] {
            std::fs::create_dir_all(at(folder)).expect("a folder");
        }
        let mut list = String::new();
        for (place, text) in indexes.iter().enumerate() {
            let folder = at(&format!("repository-{place}"));
            std::fs::create_dir(&folder).expect("a folder");
            std::fs::write(folder.join("Packages"), text).expect("an index");
            list.push_str(&format!("deb [trusted=yes arch={arch}] file:{} ./\n", folder.display()));
        }
        std::fs::write(at("etc/apt/sources.list"), list).expect("a list");
        std::fs::write(at("status"), "").expect("an empty database");
        let settings = format!(
            "Dir \"{}\";\nDir::State::status \"{}\";\nAPT::Architecture \"{arch}\";\nAPT::Architectures \"{arch}\";\n\
             Acquire::AllowInsecureRepositories \"true\";\nAcquire::Languages \"none\";\nAPT::Sandbox::User \"root\";\n\
             Debug::NoLocking \"true\";\n",
            root.path().display(),
            at("status").display()
        );
        std::fs::write(at("apt.conf"), settings).expect("a configuration");
        let apt = Apt { root };
        let (done, said) = apt.run(&["update"]);
        assert!(done, "apt-get update: {said}");
        apt
    }

    /// Whether it ends well, and what it says.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let config = self.root.path().join("apt.conf");
        let run = Command::new("apt-get").args(arguments).env("APT_CONFIG", config).env("LC_ALL", "C").output();
        let run = run.expect("apt-get runs");
        let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
        (run.status.success(), said)
    }

    /// The packages that it would install, as `name=version`; none where it has no answer.
    fn install(&self, names: &[&str], recommends: bool) -> Option<BTreeSet<String>> {
        let recommends = if recommends { "--install-recommends" } else { "--no-install-recommends" };
        // Simulating (-s) gives the same packages, and takes twice the time for their order.
        let (solvable, said) = self.run(&[&["install", "-y", "-qq", "--print-uris", recommends], names].concat());
        // `'address' name_version_arch.deb size hash`, with the colon of an epoch as %3a.
        let files = said.lines().filter(|line| line.starts_with('\'')).filter_map(|line| line.split("' ").nth(1));
        let full = |file: &str| {
            let mut parts = file.split('_');
            Some(format!("{}={}", parts.next()?, parts.next()?.replace("%3a", ":")))
        };
        solvable.then(|| files.filter_map(full).collect())
    }
}

/// The indexes of a recipe, through the program's own cache.
fn indexes(plan: &crate::plan::Plan) -> Vec<String> {
    let cache = std::env::var_os("MKBASE_TEST_CACHE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp/cache"), PathBuf::from);
    std::fs::create_dir_all(&cache).expect("a folder for the cache");
    let fetcher = Fetcher::new(&cache, 2).expect("a fetcher");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is right").as_secs() as i64;
    let mut indexes = Vec::new();
    for repository in &plan.repositories {
        for (path, codec) in repository::files(&fetcher, repository, plan.arch.deb, now).expect("verified indexes") {
            let file = BufReader::new(std::fs::File::open(path).expect("a file of the cache"));
            let mut text = String::new();
            let read = codec.reader(file, 1).expect("a reader").read_to_string(&mut text);
            read.expect("an index that unpacks");
            indexes.push(text);
        }
    }
    indexes
}

/// Packages in the order of the hashes of their names: a package that comes or goes changes few of the random sets.
fn shuffled(pool: &Pool<'_>) -> Vec<(u64, Id)> {
    let hash = |name: &str| Sha256::digest(name).iter().take(8).fold(0, |hash, b| hash << 8 | u64::from(*b));
    let mut all: Vec<(u64, Id)> = pool.iter().map(|(id, c)| (hash(c.package.name()), id)).collect();
    all.sort_unstable();
    all
}

#[test]
#[ignore = "reads the real archive and needs apt-get; scripts/test and scripts/bench solver run it"]
fn answers_are_those_of_apt() {
    let recipe = setting("RECIPE", "debian:trixie");
    let recommends = setting("RECOMMENDS", "0") == "1";
    let plan =
        recipe::load(&recipe, &Overrides::default(), &|url| anyhow::bail!("{url} is not needed")).expect("a plan");
    let texts = indexes(&plan);
    let apt = Apt::new(&texts, plan.arch.deb);
    let version = apt.run(&["--version"]).1;
    let sources: Vec<Source> = texts
        .iter()
        .enumerate()
        .map(|(at, text)| Source {
            repository: Some(at),
            names: Vec::new(),
            priority: 500,
            index: Index::parse(text, "index").expect("the index is valid"),
        })
        .collect();
    let pool = Pool::new(&sources, plan.arch.deb, &HashMap::new()).expect("the indexes are valid");
    let all = shuffled(&pool);
    let essential: Vec<Id> = pool.iter().filter(|(_, c)| c.package.essential()).map(|(id, _)| id).collect();
    let mut state = number("SEED", "1");
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // The low bits of such a sequence repeat soon.
        (state >> 32) << 32 | state.rotate_left(17) >> 32
    };
    let asked = setting("ASKED", "");
    let sets = if asked.is_empty() { number("SETS", "40") } else { 1 };
    let (mut equal, mut only_apt, mut only_we, mut packages, mut slowest) = (0, 0, 0, 0, Duration::ZERO);
    for _ in 0..sets {
        let mut wanted = essential.clone();
        wanted.extend(pool.find("apt"));
        let asked_from = wanted.len();
        wanted.extend(asked.split_ascii_whitespace().map(|name| pool.find(name).expect(name)));
        for _ in 0..if asked.is_empty() { 1 + random() % 6 } else { 0 } {
            let at = random();
            let place = all.partition_point(|(hash, _)| *hash < at) % all.len();
            if !wanted.contains(&all[place].1) {
                wanted.push(all[place].1);
            }
        }
        let names: Vec<&str> = wanted.iter().map(|id| pool.get(*id).package.name()).collect();
        let asked = &names[asked_from..].join(" ");
        let start = Instant::now();
        let ours = solve(&pool, &wanted, &[], recommends);
        slowest = slowest.max(start.elapsed());
        match (apt.install(&names, recommends), ours) {
            (Some(apts), Ok(ours)) => {
                let full = |id: &Id| format!("{}={}", pool.get(*id).package.name(), pool.get(*id).package.version());
                let ours: BTreeSet<String> = ours.iter().map(full).collect();
                packages += ours.len();
                if apts == ours {
                    equal += 1;
                } else {
                    let more: Vec<_> = ours.difference(&apts).collect();
                    let less: Vec<_> = apts.difference(&ours).collect();
                    println!("different: {asked}: only here {more:?}, only apt {less:?}");
                }
            }
            (None, Err(_)) => equal += 1,
            (Some(_), Err(error)) => {
                only_apt += 1;
                println!("only apt has an answer: {asked}: {error:#}");
            }
            (None, Ok(_)) => {
                only_we += 1;
                println!("only here there is an answer: {asked}");
            }
        }
    }
    println!(
        "solver: {equal} of {sets} answers are those of {} ({:.1} %), {recipe}{}, {} candidates, {} packages a set, \
         slowest {slowest:?}",
        version.lines().next().unwrap_or_default(),
        equal as f64 * 100.0 / sets as f64,
        if recommends { " with recommendations" } else { "" },
        pool.count(),
        packages / sets.max(1) as usize,
    );
    assert_eq!(only_apt, 0, "apt has answers where we have none");
    assert_eq!(only_we, 0, "we have answers where apt has none");
    assert!(equal * 100 >= sets * LEAST_EQUAL, "more differences than those that are known");
}
