//! The solver beside apt itself, on real indexes. Not part of the ordinary run, because it needs an apt with lists:
//!
//! `MKBASE_APT_CONFIG` names an apt configuration with a private `Dir` and an empty `Dir::State::status`, for which
//! `apt-get update` was run; `MKBASE_ORACLE_SETS` (50) and `MKBASE_ORACLE_SEED` (1) say how many sets of packages to
//! compare and which. Then `cargo test --lib oracle -- --ignored --nocapture` prints the share of equal answers.
//!
//! One kind of difference is known. Where apt must take a choice back (`live-config-sysvinit` rules out the
//! `systemd-sysv` that an earlier dependency brought in), packages stay that came with that choice and that nothing
//! needs any more. Here they go.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::super::index::Index;
use super::super::pool::Source;
use super::*;
use crate::codec::Codec;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |v| v.parse().expect(variable))
}

fn apt(config: &str, program: &str, arguments: &[&str]) -> (bool, String) {
    let run = Command::new(program).args(arguments).env("APT_CONFIG", config).env("LC_ALL", "C").output();
    let run = run.expect("apt runs");
    (run.status.success(), String::from_utf8_lossy(&run.stdout).into_owned())
}

/// `Inst name (version ...)` as `name=version`.
fn installed(output: &str) -> BTreeSet<String> {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("Inst "))
        .filter_map(|line| line.split_once(" ("))
        .map(|(name, rest)| format!("{name}={}", rest.split(' ').next().unwrap_or_default()))
        .collect()
}

#[test]
#[ignore = "needs an apt with lists, see the top of this file"]
fn answers_are_those_of_apt() {
    let config = std::env::var("MKBASE_APT_CONFIG").expect("MKBASE_APT_CONFIG is set");
    let targets = apt(&config, "apt-get", &["indextargets", "--format", "$(FILENAME)", "Created-By: Packages"]).1;
    let start = Instant::now();
    let sources: Vec<Source> = targets
        .lines()
        .enumerate()
        .map(|(at, path)| Source {
            repository: Some(at),
            priority: 500,
            index: Index::open(&PathBuf::from(path), Codec::None, None, path, 1).expect("the list is valid"),
        })
        .collect();
    let pool = Pool::new(&sources, "amd64", &HashMap::new()).expect("the lists are valid");
    eprintln!("{} candidates of {} lists in {:?}", pool.count(), sources.len(), start.elapsed());

    let essential: Vec<Id> = pool.iter().filter(|(_, c)| c.package.essential()).map(|(id, _)| id).collect();
    let mut state = number("MKBASE_ORACLE_SEED", 1);
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let sets = number("MKBASE_ORACLE_SETS", 50);
    let (mut equal, mut worse) = (0, 0);
    for _ in 0..sets {
        let mut wanted = essential.clone();
        wanted.extend(pool.find("apt"));
        for _ in 0..1 + random(6) {
            let id = random(pool.count()) as Id;
            if !wanted.contains(&id) {
                wanted.push(id);
            }
        }
        let names: Vec<&str> = wanted.iter().map(|id| pool.get(*id).package.name()).collect();
        let asked = names[essential.len() + 1..].join(" ");
        let (solvable, output) =
            apt(&config, "apt-get", &[&["install", "-s", "--no-install-recommends"], &names[..]].concat());
        let start = Instant::now();
        let ours = solve(&pool, &wanted, &[]);
        let time = start.elapsed();
        match (solvable, ours) {
            (true, Ok(ours)) => {
                let apts = installed(&output);
                let ours: BTreeSet<String> = ours
                    .iter()
                    .map(|id| format!("{}={}", pool.get(*id).package.name(), pool.get(*id).package.version()))
                    .collect();
                if apts == ours {
                    equal += 1;
                } else {
                    let more: Vec<_> = ours.difference(&apts).collect();
                    let less: Vec<_> = apts.difference(&ours).collect();
                    eprintln!("{asked}: we have {more:?}, apt has {less:?} ({time:?})");
                }
            }
            (false, Err(_)) => equal += 1,
            (true, Err(error)) => {
                worse += 1;
                eprintln!("{asked}: only apt has an answer: {error:#}");
            }
            (false, Ok(_)) => eprintln!("{asked}: only we have an answer"),
        }
    }
    eprintln!("equal answers: {equal} of {sets}");
    assert_eq!(worse, 0, "apt has answers where we have none");
}
