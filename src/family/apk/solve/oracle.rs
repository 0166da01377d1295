//! The solver beside apk itself: on the test repository of genuine packages and on made-up ones that use everything a
//! repository can. It is not part of an ordinary `cargo test`, because it needs a real apk: `scripts/test` runs it with
//! a few hundred sets, `scripts/bench solver-apk` with as many as it is told.
//!
//! - `MKBASE_TEST_APK`: the folder that `tests/fixtures/make-apk-repo.sh` made;
//! - `MKBASE_ORACLE_SETS` (300): how many sets of 1 to 6 things asked for;
//! - `MKBASE_ORACLE_SEED` (1): which ones.
//!
//! docs/solver.md explains the differences that are known.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::index::{self, Index, testing};
use super::super::pool::Source;
use super::super::signature::testing::Signer;
use super::super::world;
use super::*;

const ARCH: &str = "x86_64";
/// Sets for each made-up archive: making one costs more than asking.
const SETS_EACH: u64 = 15;
/// Of so many sets one is of the genuine packages.
const GENUINE: u64 = 5;

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(format!("MKBASE_ORACLE_{name}")).ok().filter(|value| !value.is_empty());
    value.map_or(default, |value| value.parse().expect(name))
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // The low bits of such a sequence repeat soon.
        self.0 >> 33
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// True in so many of a hundred cases.
    fn percent(&mut self, cases: u64) -> bool {
        self.below(100) < cases
    }
}

const VERSIONS: [&str; 12] = [
    "0.9-r0",
    "1.0_alpha2-r0",
    "1.0_rc1-r0",
    "1.0-r0",
    "1.0-r1",
    "1.0_p1-r0",
    "1.0~ab12-r0",
    "1.0.5-r0",
    "1.1-r3",
    "1.10-r0",
    "2.0b-r0",
    "20240101-r0",
];
const OPERATORS: [&str; 7] = ["=", "<", ">", "<=", ">=", "~", ">~"];

/// An archive with repositories in folders.
struct Archive {
    folder: tempfile::TempDir,
    /// Folder and tag.
    repositories: Vec<(String, Option<&'static str>)>,
    names: Vec<String>,
}

impl Archive {
    /// One with a main repository, updates of it, and two that have tags.
    fn made_up(random: &mut Random, signer: &Signer) -> Archive {
        let folder = tempfile::tempdir().expect("a folder");
        let count = 8 + random.below(40);
        let packages: Vec<String> = (0..count).map(|n| format!("p{n}")).collect();
        let virtuals: Vec<String> = (0..1 + count / 5).map(|n| format!("v{n}")).collect();
        let libraries: Vec<String> = (0..1 + count / 4).map(|n| format!("so:l{n}")).collect();
        // How wild it is: mostly what distributions are like, sometimes everything at once.
        let wild = *random.one(&[1, 1, 2, 4]);
        let mut repositories = Vec::new();
        for (name, tag, part) in
            [("main", None, 100), ("updates", None, 30), ("edge", Some("edge"), 50), ("own", Some("own"), 20)]
        {
            let mut text = String::new();
            for package in packages.iter().filter(|_| random.below(100) < part).collect::<Vec<_>>() {
                for _ in 0..1 + random.below(3) / 2 {
                    paragraph(&mut text, random, package, (&packages, &virtuals, &libraries), wild);
                }
            }
            let place = folder.path().join(name).join(ARCH);
            std::fs::create_dir_all(&place).expect("a folder");
            let signed = testing::sign(signer, "RSA256", &testing::content(&text, 1_700_000_000));
            std::fs::write(place.join("APKINDEX.tar.gz"), signed).expect("an index");
            repositories.push((folder.path().join(name).display().to_string(), tag));
        }
        let names = [packages, virtuals, libraries].concat();
        Archive { folder, repositories, names }
    }

    /// The test repository of genuine packages.
    fn genuine(place: &Path) -> Archive {
        let repositories = [("main", None), ("updates", Some("updates"))];
        let repositories: Vec<_> =
            repositories.map(|(name, tag)| (place.join(name).display().to_string(), tag)).into_iter().collect();
        let mut archive = Archive { folder: tempfile::tempdir().expect("a folder"), repositories, names: Vec::new() };
        let mut names = BTreeSet::new();
        for index in archive.indexes() {
            for package in &index.packages {
                names.insert(package.name.clone());
                names.extend(package.provides.iter().map(|provided| provided.name.to_owned()));
            }
        }
        archive.names = names.into_iter().collect();
        archive
    }

    fn indexes(&self) -> Vec<Index> {
        let read = |(folder, _): &(String, _)| {
            let file = std::fs::read(Path::new(folder).join(ARCH).join("APKINDEX.tar.gz")).expect("an index");
            index::read(&file, None).expect("an index that is right")
        };
        self.repositories.iter().map(read).collect()
    }

    /// One to six things to ask for, no name twice.
    fn wishes(&self, random: &mut Random, genuine: bool) -> Vec<String> {
        let mut wishes: Vec<String> = Vec::new();
        let mut met = BTreeSet::new();
        for _ in 0..1 + random.below(6) {
            let name = random.one(&self.names);
            if !met.insert(name.clone()) {
                continue;
            }
            let tags: Vec<_> = self.repositories.iter().filter_map(|(_, tag)| *tag).collect();
            wishes.push(match random.below(20) {
                0 => format!("!{name}"),
                1 | 2 if !genuine => format!("{name}{}{}", random.one(&OPERATORS), random.one(&VERSIONS)),
                3..6 => format!("{name}@{}", random.one(&tags)),
                _ => name.clone(),
            });
        }
        wishes
    }
}

/// A package of some version, with everything that packages can have.
fn paragraph(
    text: &mut String,
    random: &mut Random,
    name: &str,
    (packages, virtuals, libraries): (&[String], &[String], &[String]),
    wild: u64,
) {
    let version = *random.one(&VERSIONS);
    let size = if random.percent(15) { 0 } else { 1000 };
    let checksum: String = (0..27).map(|_| *random.one(&['a', 'Z', '3', 'q', 'B', '9', 'k', 'X', 'f'])).collect();
    // The last of 27 characters has two bits to spare, which are zero.
    let checksum = format!("{}A", &checksum[..26]);
    let arch = *random.one(&[ARCH, ARCH, ARCH, ARCH, "noarch"]);
    writeln!(text, "C:Q1{checksum}=\nP:{name}\nV:{version}\nA:{arch}\nS:500\nI:{size}\nT:x\nU:x\nL:x").expect("writes");
    let mut provides: Vec<String> = Vec::new();
    if random.percent(40) {
        provides.push(format!("{}={version}", random.one(libraries)));
    }
    if random.percent(10) {
        provides.push(format!("{}=1", random.one(libraries)));
    }
    if random.percent(20) {
        provides.push(random.one(virtuals).clone());
    }
    if random.percent(3 * wild) {
        provides.push(format!("{}={}", random.one(virtuals), random.one(&VERSIONS)));
    }
    if random.percent(2 * wild) {
        provides.push(format!("{}={}", random.one(packages), random.one(&VERSIONS)));
    }
    if random.percent(2 * wild) {
        provides.push(random.one(packages).clone());
    }
    let mut depends = Vec::new();
    for _ in 0..random.below(1 + wild.min(2)) + random.below(2) {
        let kind = random.below(100);
        depends.push(match kind {
            0..40 => random.one(packages).clone(),
            40..60 => random.one(libraries).clone(),
            60..68 => random.one(virtuals).clone(),
            68..76 => format!("{}>={}", random.one(packages), random.one(&VERSIONS)),
            _ if kind < 76 + 2 * wild => {
                let of = if random.percent(70) { packages } else { libraries };
                format!("{}{}{}", random.one(of), random.one(&OPERATORS), random.one(&VERSIONS))
            }
            _ => random.one(packages).clone(),
        });
    }
    if random.percent(4 * wild) {
        depends.push(format!("!{}", random.one(packages)));
    }
    if random.percent(2 * wild) {
        depends.push(format!("!{}{}{}", random.one(packages), random.one(&OPERATORS), random.one(&VERSIONS)));
    }
    let mut install_if = Vec::new();
    if random.percent(12) {
        install_if.push(random.one(packages).clone());
        if random.percent(70) {
            install_if.push(random.one(&[packages, virtuals, libraries]).first().expect("there is one").clone());
        }
        if random.percent(30) {
            install_if.push(format!("{}={}", random.one(packages), random.one(&VERSIONS)));
        }
        if random.percent(20) {
            install_if.push(format!("!{}", random.one(packages)));
        }
    }
    if random.percent(40) && provides.iter().any(|provided| !provided.contains('=')) {
        writeln!(text, "k:{}", random.one(&[1, 5, 10, 10, 100])).expect("writes");
    }
    for (letter, list) in [('D', depends), ('p', provides), ('i', install_if)] {
        if !list.is_empty() {
            writeln!(text, "{letter}:{}", list.join(" ")).expect("writes");
        }
    }
    text.push('\n');
}

/// A real apk and an empty system.
struct Apk {
    program: PathBuf,
    keys: PathBuf,
    root: tempfile::TempDir,
}

impl Apk {
    fn new(place: &Path, signer: &Signer) -> Apk {
        let root = tempfile::tempdir().expect("a folder");
        let keys = root.path().join("keys");
        std::fs::create_dir(&keys).expect("a folder");
        std::fs::write(keys.join(&signer.name), signer.public().data).expect("a key");
        for key in place.join("keys").read_dir().expect("the keys of the test repository") {
            let key = key.expect("a key");
            std::fs::copy(key.path(), keys.join(key.file_name())).expect("a key");
        }
        for (file, text) in [("etc/apk/world", ""), ("etc/apk/arch", "x86_64\n"), ("lib/apk/db/installed", "")] {
            let path = root.path().join("root").join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        Apk { program: place.join("host/bin/apk"), keys, root }
    }

    /// What it would install, in order, as `name-version`; none where it has no answer.
    fn add(&self, archive: &Archive, wishes: &[String]) -> Result<Vec<String>, String> {
        let list = archive.folder.path().join("repositories");
        let lines = archive.repositories.iter().map(|(folder, tag)| match tag {
            Some(tag) => format!("@{tag} {folder}\n"),
            None => format!("{folder}\n"),
        });
        std::fs::write(&list, lines.collect::<String>()).expect("a list");
        let run = Command::new(&self.program)
            .args(["add", "--simulate", "--no-cache", "--no-progress", "--root"])
            .arg(self.root.path().join("root"))
            .arg("--keys-dir")
            .arg(&self.keys)
            .arg("--repositories-file")
            .arg(&list)
            .args(wishes)
            .output()
            .expect("apk runs");
        let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
        assert!(!said.contains("WARNING") && !said.contains("UNTRUSTED"), "{said}");
        if !run.status.success() {
            return Err(said);
        }
        // `(1/5) Installing NAME@TAG (VERSION)`
        let installed = said.lines().filter_map(|line| line.split_once(") Installing ")).map(|(_, package)| {
            let (name, version) = package.split_once(" (").expect("a version");
            format!("{}-{}", name.split('@').next().unwrap_or(name), version.trim_end_matches(')'))
        });
        Ok(installed.collect())
    }
}

fn ours(archive: &Archive, indexes: &[Index], wishes: &[String]) -> (Result<Vec<String>, String>, Duration) {
    let sources: Vec<Source<'_>> = indexes
        .iter()
        .zip(&archive.repositories)
        .enumerate()
        .map(|(at, (index, (_, tag)))| Source { repository: Some(at), tag: *tag, packages: &index.packages })
        .collect();
    let mut pool = Pool::new(&sources, ARCH).expect("a pool");
    let wishes = world::wishes(wishes, &mut pool).expect("the tags are there");
    let start = Instant::now();
    let outcome = solve(&pool, &wishes, |_| false);
    let time = start.elapsed();
    let full = |id: &PackageId| format!("{}-{}", pool.package(*id).info.name, pool.package(*id).info.version);
    if outcome.is_possible() {
        return (Ok(outcome.packages.iter().map(full).collect()), time);
    }
    let faults: Vec<String> = outcome.faults.iter().map(|(id, fault)| format!("{} {fault:?}", full(id))).collect();
    let missing: Vec<&str> = outcome.missing.iter().map(|name| pool.name(*name).name).collect();
    (Err(format!("missing {missing:?}, faults {faults:?}")), time)
}

#[test]
#[ignore = "needs a real apk and the test repository; scripts/test and scripts/bench solver-apk run it"]
fn answers_are_those_of_apk() {
    let Some(place) = std::env::var_os("MKBASE_TEST_APK").map(PathBuf::from) else {
        eprintln!("skipped: the solver beside apk: no test repository (MKBASE_TEST_APK)");
        return;
    };
    let (sets, seed) = (number("SETS", 300), number("SEED", 1));
    let signer = Signer::new("oracle@example.org-1.rsa.pub", 0);
    let apk = Apk::new(&place, &signer);
    let genuine = Archive::genuine(&place);
    let genuine_indexes = genuine.indexes();
    let mut random = Random(seed);
    random.next();
    let (mut equal, mut in_order, mut answers, mut slowest) = (0, 0, 0, Duration::ZERO);
    let (mut made_up, mut indexes) = (None, Vec::new());
    for set in 0..sets {
        let is_genuine = set % GENUINE == 0;
        if made_up.is_none() || set % SETS_EACH == 0 {
            let archive = Archive::made_up(&mut random, &signer);
            indexes = archive.indexes();
            made_up = Some(archive);
        }
        let (archive, indexes) =
            if is_genuine { (&genuine, &genuine_indexes) } else { (made_up.as_ref().expect("made"), &indexes) };
        let wishes = archive.wishes(&mut random, is_genuine);
        let asked = wishes.join(" ");
        let (ours, time) = ours(archive, indexes, &wishes);
        slowest = slowest.max(time);
        match (apk.add(archive, &wishes), ours) {
            (Ok(apks), Ok(ours)) => {
                answers += 1;
                let sorted = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
                if apks == ours {
                    in_order += 1;
                }
                if sorted(&apks) == sorted(&ours) {
                    equal += 1;
                    if apks != ours {
                        println!("in another order: set {set}: {asked}: {ours:?}, apk {apks:?}");
                    }
                } else {
                    let (apks, ours) = (sorted(&apks), sorted(&ours));
                    let (more, less): (Vec<_>, Vec<_>) =
                        (ours.difference(&apks).collect(), apks.difference(&ours).collect());
                    println!("different: set {set}: {asked}: only here {more:?}, only apk {less:?}");
                }
            }
            (Err(_), Err(_)) => equal += 1,
            (Ok(apks), Err(error)) => println!("only apk has an answer: set {set}: {asked}: {apks:?}; {error}"),
            (Err(said), Ok(ours)) => println!("only here there is an answer: set {set}: {asked}: {ours:?}; {said}"),
        }
    }
    let version = Command::new(&apk.program).arg("--version").output().expect("apk runs").stdout;
    println!(
        "solver: {equal} of {sets} answers are those of {} ({:.1} %), {in_order} of the {answers} possible ones in its \
         order, slowest {slowest:?}",
        String::from_utf8_lossy(&version).split(',').next().unwrap_or_default(),
        equal as f64 * 100.0 / sets as f64,
    );
    assert_eq!(equal, sets, "answers differ from those of apk");
    assert_eq!(in_order, answers, "the order of installation differs from that of apk");
}
