//! Modules, groups and environments: what an image gets of them, and what it is left with, is what the real dnf makes of
//! the same request.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skip;
use crate::util::deb::gzip;
use crate::util::dnf::{self, text};
use crate::util::mkbase::{Ended, Place};
use crate::util::rpm::{Mini, mini};
use crate::util::{is_root, now};

/// The repositories of the recipe.
const REPOSITORIES: [&str; 2] = ["BaseOS", "AppStream"];

/// Packages of a tree, and the files in which dnf keeps the states of modules.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Installed {
    packages: BTreeSet<String>,
    states: BTreeMap<String, String>,
}

/// A recipe that asks for nothing but these.
fn recipe(place: &Place, mini: &Mini, asked: &[&str]) -> PathBuf {
    mini.write_keys(place);
    let repositories: String = REPOSITORIES.iter().map(|folder| mini.repository(folder)).collect();
    place.write(
        "modular.toml",
        format!(
            "name = \"modular\"\nfamily = \"rpm\"\nrelease = \"1\"\nreleases = [\"1\"]\n\n{repositories}\n[packages]\n\
             include = {asked:?}\n\n[rpm]\nmodule_platform_id = \"platform:mn1\"\n"
        ),
    )
}

fn lock(place: &Place, mini: &Mini, asked: &[&str]) -> Ended {
    place.mkbase(["lock"]).arguments([recipe(place, mini, asked)]).arguments(["--update"]).run()
}

fn lock_text(place: &Place) -> String {
    std::fs::read_to_string(place.path().join("modular.lock")).expect("the lock")
}

/// What a build from the lock beside the recipe, and from nothing else, leaves.
fn ours(place: &Place, mini: &Mini) -> Installed {
    let asked_before = mini.server.count("repodata");
    let recipe = place.path().join("modular.toml");
    let ended = place.build(&recipe, "image", &["--locked", "--stop-after", "bootstrap"]).run().success();
    assert_eq!(mini.server.count("repodata"), asked_before, "a lock needs no metadata");
    let tree = PathBuf::from(ended.stdout().trim());
    let found = installed(&tree);
    std::fs::remove_dir_all(tree.parent().expect("the folder of the build")).expect("the tree");
    found
}

fn theirs(place: &Place, mini: &Mini, asked: &[&str]) -> Installed {
    let tree = dnf::install(place, mini, &REPOSITORIES, asked, 0);
    let found = installed(&tree);
    std::fs::remove_dir_all(&tree).expect("the tree");
    found
}

fn installed(tree: &Path) -> Installed {
    let database = tree.join("usr/lib/sysimage/rpm");
    let mut rpm = Command::new("rpm");
    rpm.arg("--dbpath").arg(database).args(["--query", "--all", "--qf", "%{name}-%{version}\\n"]);
    let names = text(rpm.output().expect("rpm runs"));
    let packages = names.lines().filter(|name| !name.starts_with("gpg-pubkey-")).map(str::to_owned).collect();
    let mut states = BTreeMap::new();
    for entry in std::fs::read_dir(tree.join("etc/dnf/modules.d")).into_iter().flatten() {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("its name").to_string_lossy().into_owned();
        states.insert(name, with_sorted_profiles(&std::fs::read_to_string(&path).expect("a state")));
    }
    Installed { packages, states }
}

/// dnf 4 takes default profiles in the order of a Python set, which is another one each time.
fn with_sorted_profiles(state: &str) -> String {
    let line = |line: &str| match line.strip_prefix("profiles=") {
        Some(list) => {
            let mut profiles: Vec<&str> = list.split(", ").collect();
            profiles.sort();
            format!("profiles={}\n", profiles.join(", "))
        }
        None => format!("{line}\n"),
    };
    state.lines().map(line).collect()
}

/// Name, stream and profiles as dnf writes them.
fn state(module: &str) -> (String, String) {
    let (name, rest) = module.split_once(':').expect("a stream");
    let (stream, profiles) = rest.split_once('/').expect("profiles, or none");
    let text = format!("[{name}]\nname={name}\nstream={stream}\nprofiles={profiles}\nstate=enabled\n");
    (format!("{name}.module"), text)
}

/// Builds each request and compares it with what is expected, and what is expected with what the real dnf does.
fn compare(test: &str, cases: &[(&[&str], &[&str], &[&str])]) {
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{test}: {why}"),
    };
    if !is_root() {
        skip!("{test}: dnf makes a system as root only");
    }
    let place = Place::new();
    for (asked, packages, modules) in cases {
        // An environment is asked for as in kickstart files; dnf takes its name for that of a group.
        let of_dnf: Vec<String> = asked.iter().map(|spec| spec.replace("@^", "@")).collect();
        let of_dnf: Vec<&str> = of_dnf.iter().map(String::as_str).collect();
        lock(&place, &mini, asked).success();
        let found = ours(&place, &mini);
        assert_eq!(found, theirs(&place, &mini, &of_dnf), "{asked:?}: ours, theirs");
        let names = found.packages.iter().map(|name| name.rsplit_once('-').expect("a version"));
        // Versions of what is of this distribution alone.
        let shown = names.map(
            |(name, version)| {
                if name.starts_with("mini-") { format!("{name}-{version}") } else { name.to_owned() }
            },
        );
        assert_eq!(shown.collect::<Vec<_>>(), *packages, "{asked:?}");
        assert_eq!(found.states, modules.iter().map(|module| state(module)).collect(), "{asked:?}");
    }
    place.assert_nothing_left(&[]);
}

#[test]
fn streams_and_profiles_are_those_of_dnf() {
    compare(
        "streams_and_profiles_are_those_of_dnf",
        &[
            // A plain name, in the default stream; the newer package that is in no module is hidden.
            (&["mini-greeter"], &["mini-greeter-1.0"], &["greeter:1/"]),
            (&["@greeter"], &["mini-greeter-1.0"], &["greeter:1/common"]),
            (&["@greeter:1/devel"], &["mini-greeter-1.0", "mini-greeter-devel-1.0"], &["greeter:1/devel"]),
            (&["@greeter/*"], &["mini-greeter-1.0", "mini-greeter-devel-1.0"], &["greeter:1/common, devel"]),
            // Another stream than the default, with both of its default profiles.
            (&["@greeter:2"], &["mini-greeter-2.0", "mini-greeter-devel-2.0"], &["greeter:2/common, devel"]),
            (
                &["mini-greeter", "@greeter:2/devel"],
                &["mini-greeter-2.0", "mini-greeter-devel-2.0"],
                &["greeter:2/devel"],
            ),
            // Streams that another module needs are enabled without a package of theirs.
            (&["@parlour:a"], &["mini-parlour-1.0"], &["greeter:1/", "parlour:a/server"]),
            (&["@parlour:b"], &["mini-parlour-2.0"], &["greeter:2/", "parlour:b/server"]),
            (
                &["@parlour:b", "mini-greeter"],
                &["mini-greeter-2.0", "mini-parlour-2.0"],
                &["greeter:2/", "parlour:b/server"],
            ),
        ],
    );
}

#[test]
fn members_of_groups_are_those_of_dnf() {
    let parts = ["mini-weak-1.0", "ncurses-base", "tzdata"];
    compare(
        "members_of_groups_are_those_of_dnf",
        &[
            // What is optional stays out, what is conditional comes with what it is for.
            (&["@parts"], &parts, &[]),
            (
                &["@parts", "mini-greeter"],
                &["mini-greeter-1.0", "mini-greeter-devel-1.0", "mini-weak-1.0", "ncurses-base", "tzdata"],
                &["greeter:1/"],
            ),
            // By its name instead of its id. Groups that an environment only offers stay out.
            (&["@Parts"], &parts, &[]),
            (&["@^terminal-environment"], &parts, &[]),
        ],
    );
}

#[test]
fn requests_for_modules_that_cannot_be_met_say_why() {
    const TEST: &str = "requests_for_modules_that_cannot_be_met_say_why";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    let place = Place::new();
    for (asked, texts) in [
        (&["@greeter:9"][..], &["no repository has the group or module '@greeter:9'"][..]),
        (&["@greeter:1/nosuch"], &["'@greeter:1'", "Available profiles for 'greeter:1': common, devel"]),
        (&["@parlour"], &["'@parlour'", "matches 2 streams ('a', 'b')", "none of the streams are enabled or default"]),
        (&["@bare:1"], &["the group or module cannot be installed '@bare:1'", "No profiles for module bare:1"]),
        (&["@greeter:1", "@greeter:2"], &["'@greeter:2'", "Cannot enable multiple streams for module 'greeter'"]),
        (
            &["@parlour:b", "@greeter:1"],
            &["Modular dependency problem", "module parlour:b:10:c0ffee42", "requires module(greeter:2)"],
        ),
        // Packages of streams that nobody enabled, and what a module hides.
        (&["mini-bare"], &["no repository has the package 'mini-bare'", "filtered out by modular filtering"]),
        (&["mini-parlour"], &["no repository has the package 'mini-parlour'", "filtered out by modular filtering"]),
        (&["mini-greeter-3.0"], &["mini-greeter-3.0", "filtered out by modular filtering"]),
        (&["@nosuch", "mini-nosuch"], &["no repository has the group or module '@nosuch'"]),
    ] {
        lock(&place, &mini, asked).fails(2, texts);
    }
    place.assert_nothing_left(&[]);
}

#[test]
fn a_change_of_streams_and_profiles_is_told() {
    const TEST: &str = "a_change_of_streams_and_profiles_is_told";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    let place = Place::new();
    lock(&place, &mini, &["@greeter:1", "mini-weak"]).success();
    let text = lock_text(&place);
    assert!(text.contains("{ name = \"greeter\", profiles = [\"common\"], stream = \"1\" }"), "{text}");

    // Profiles alone.
    let ended = lock(&place, &mini, &["@greeter:1", "@greeter:1/devel", "mini-weak"]).success();
    let told = "added mini-greeter-devel 1.0-1.mn1\nchanged module greeter:1/common -> greeter:1/common, devel\n";
    assert_eq!(ended.stdout(), told);
    let ended = lock(&place, &mini, &["@greeter:2/common", "mini-weak"]).success();
    let told = "upgraded mini-greeter 1.0-1.mn1 -> 2.0-1.mn1\nremoved mini-greeter-devel 1.0-1.mn1\n\
                changed module greeter:1/common, devel -> greeter:2/common\n";
    assert_eq!(ended.stdout(), told);
    let ended = lock(&place, &mini, &["mini-weak"]).success();
    assert_eq!(ended.stdout(), "removed mini-greeter 2.0-1.mn1\nremoved module greeter:2/common\n");
    let ended = lock(&place, &mini, &["@parlour:b", "mini-weak"]).success();
    let told = "added mini-parlour 2.0-1.mn1\nadded module greeter:2\nadded module parlour:b/server\n";
    assert_eq!(ended.stdout(), told);

    // A lock that somebody edited.
    let recipe = place.path().join("modular.toml");
    for (from, to) in [("stream = \"b\"", "stream = \"b\\nx\""), ("name = \"parlour\"", "name = \"../parlour\"")] {
        place.write("modular.lock", lock_text(&place).replace(from, to));
        let build = place.build(&recipe, "image", &["--locked"]).run();
        build.fails(1, &["installing the packages", "the module", "is none"]);
        lock(&place, &mini, &["@parlour:b", "mini-weak"]).success();
    }
    place.assert_nothing_left(&[]);
}

#[test]
fn packages_of_another_stream_than_the_default_are_held() {
    const TEST: &str = "packages_of_another_stream_than_the_default_are_held";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    let place = Place::new();
    let asked = ["@greeter:2/common", "mini-weak"];
    lock(&place, &mini, &asked).success();
    let old = lock_text(&place);
    let again = place.path().join("again.lock");
    let of_tree = place.mkbase(["lock", "--tools", "tree", "-o"]).arguments([&again, &recipe(&place, &mini, &asked)]);
    of_tree.run().success();
    assert_eq!(std::fs::read_to_string(&again).expect("the lock"), old, "dnf of the tools tree decides alike");

    // A newer build of the stream.
    let read = |kind: &str| mini.metadata("AppStream", kind);
    let (primary, lists) = (read("primary"), read("filelists"));
    let artifact = "    - mini-greeter-0:2.0-1.mn1.noarch\n";
    let newer = format!("{artifact}{}", artifact.replace("2.0", "3.0"));
    let modules = read("modules").replace(artifact, &newer);
    assert!(modules.contains(&newer), "{modules}");
    let files = [
        ("primary", "primary.xml", primary.as_bytes()),
        ("filelists", "filelists.xml", lists.as_bytes()),
        ("modules", "modules.yaml.gz", &gzip(modules.as_bytes())),
    ];
    mini.publish("AppStream", &files, now());
    let update = |names: &[&str]| {
        let ended = place.mkbase(["lock", "modular.toml", "--update"]).arguments(names).run().success();
        ended.stdout().to_owned()
    };
    assert_eq!(update(&["mini-weak"]), "");
    assert_eq!(lock_text(&place), old);
    assert_eq!(update(&[]), "upgraded mini-greeter 2.0-1.mn1 -> 3.0-1.mn1\n");
    place.assert_nothing_left(&[]);
}

#[test]
fn what_dnf_warns_of_is_told() {
    const TEST: &str = "what_dnf_warns_of_is_told";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    let place = Place::new();
    let ended = lock(&place, &mini, &["@parts"]).success();
    assert!(!ended.stderr.contains("warning"), "{}", ended.stderr);
    let read = |kind: &str| mini.metadata("BaseOS", kind);
    let (primary, lists, groups) = (read("primary"), read("filelists"), read("comps"));
    assert!(groups.contains(">ncurses-base<"), "{groups}");
    let groups = groups.replace(">ncurses-base<", ">mini-nosuch<");
    let files = [
        ("primary", "primary.xml", primary.as_bytes()),
        ("filelists", "filelists.xml", lists.as_bytes()),
        ("group", "comps.xml", groups.as_bytes()),
    ];
    mini.publish("BaseOS", &files, now());
    let ended = lock(&place, &mini, &["@parts"]).success();
    assert!(ended.stderr.contains("warning dnf: No match for group package \"mini-nosuch\""), "{}", ended.stderr);
    assert_eq!(ended.stdout().lines().count(), 1, "{}", ended.stdout());
    place.assert_nothing_left(&[]);
}
