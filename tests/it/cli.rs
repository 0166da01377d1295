//! The command line itself: help, recipes, starter recipe, completions, manual pages, streams.

use crate::util::mkbase::Place;

const COMMANDS: [&str; 9] = ["build", "lock", "fetch", "cache", "recipes", "init", "check", "completions", "man"];
/// Widest line of the help, in columns.
const WIDTH: usize = 100;

#[test]
fn help_teaches_and_is_narrow() {
    let place = Place::new();
    let top = place.mkbase(["--help"]).run().success();
    for command in COMMANDS {
        assert!(top.stdout().contains(command), "the help names {command}:\n{}", top.stdout());
        for option in ["--help", "-h"] {
            let help = place.mkbase([command, option]).run().success();
            let text = help.stdout();
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{command} {option}: wider than {WIDTH} columns: {line}");
            }
            assert!(help.stderr.is_empty(), "help goes to stdout");
            let example = format!("mkbase {command} ");
            if option == "--help" && command != "recipes" {
                let examples = text.split_once("Examples").unwrap_or_else(|| panic!("{command}: examples")).1;
                assert!(examples.contains(&example), "{command}: an example that runs it:\n{text}");
            }
        }
    }
    for line in top.stdout().lines() {
        assert!(line.chars().count() <= WIDTH, "wider than {WIDTH} columns: {line}");
    }
    assert!(top.stdout().contains("mkbase build"), "the first page shows the main command");
    place.assert_nothing_left(&[]);
}

#[test]
fn build_help_names_every_option() {
    let place = Place::new();
    let help = place.mkbase(["build", "--help"]).run().success();
    for option in [
        "--output",
        "--compress",
        "--arch",
        "--variant",
        "--include",
        "--mirror",
        "--set",
        "--engine",
        "--cache",
        "--jobs",
        "--keep",
        "--lock",
        "--locked",
        "--offline",
        "--update",
        "--allow-rollback",
        "--quiet",
        "--verbose",
    ] {
        assert!(help.stdout().contains(option), "{option} in:\n{}", help.stdout());
    }
}

#[test]
fn version_says_the_version() {
    let place = Place::new();
    let version = place.mkbase(["--version"]).run().success();
    assert_eq!(version.stdout().trim(), concat!("mkbase ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_command_lines_end_with_2() {
    let place = Place::new();
    let cases: &[(&[&str], &[&str])] = &[
        (&["bild", "debian"], &["build"]),
        (&["build"], &["RECIPE"]),
        (&["build", "debian", "--includ", "vim"], &["--include"]),
        (&["build", "debian", "--compress", "rar"], &["rar", "zstd"]),
        (&["build", "debian", "--compress", "xz:99"], &["99"]),
        (&["build", "debian", "--engine", "debootstrp"], &["debootstrap"]),
        (&["build", "debian", "--jobs", "0"], &["jobs"]),
        (&["build", "debian", "--mirror", "main"], &["NAME=URL"]),
        (&["build", "debian", "--mirror", "mian=http://127.0.0.1:9/debian"], &["mian", "main"]),
        (&["build", "debian", "--set", "system.timezone"], &["KEY=VALUE"]),
        (&["build", "debian", "--set", "system.timezon=UTC"], &["system.timezon", "timezone"]),
        (&["completions", "tcsh"], &["tcsh", "bash"]),
        (&[], &["Usage"]),
    ];
    for (arguments, texts) in cases {
        let ended = place.mkbase(*arguments).run();
        assert!(ended.stdout.is_empty(), "{arguments:?}: nothing on stdout: {}", ended.stdout());
        eprintln!("{arguments:?}");
        ended.fails(2, texts);
    }
    place.assert_nothing_left(&[]);
}

#[test]
fn recipes_are_listed_and_printed() {
    let place = Place::new();
    let list = place.mkbase(["recipes"]).run().success();
    for name in ["debian", "ubuntu"] {
        assert!(list.stdout().lines().any(|l| l.starts_with(&format!("{name}:"))), "{name} in {}", list.stdout());
    }
    let printed = place.mkbase(["recipes", "debian"]).run().success();
    let recipe: toml::Table = printed.stdout().parse().expect("a recipe is TOML");
    assert_eq!(recipe["name"].as_str(), Some("debian"));
    for release in ["bullseye", "bookworm", "trixie", "forky", "sid"] {
        let releases = recipe["releases"].as_array().expect("releases are a list");
        assert!(releases.iter().any(|r| r.as_str() == Some(release)), "{release} in {releases:?}");
    }
    place.mkbase(["recipes", "debain"]).run().fails(2, &["debain", "did you mean 'debian'"]);
}

#[test]
fn starter_recipe_is_accepted() {
    let place = Place::new();
    let shown = place.mkbase(["init"]).run().success();
    assert!(shown.stdout().contains('#'), "a starter recipe explains itself");
    assert!(shown.stdout().parse::<toml::Table>().is_ok(), "it is TOML");

    place.mkbase(["init", "corp"]).run().success();
    let path = place.path().join("corp.toml");
    let text = std::fs::read_to_string(&path).expect("the recipe is written");
    let recipe: toml::Table = text.parse().expect("a starter recipe is TOML");
    assert_eq!(recipe["name"].as_str(), Some("corp"));
    place.mkbase(["init", "corp"]).run().fails(2, &["corp.toml", "exists"]);
    assert_eq!(std::fs::read_to_string(&path).expect("the recipe"), text, "it is not overwritten");

    // Mirrors where nobody listens: it fails, but not because of the recipe.
    let nobody = crate::util::server::refused_url();
    let mirrors = ["main", "updates", "security"].map(|name| format!("--mirror={name}={nobody}"));
    let more: Vec<&str> = mirrors.iter().map(String::as_str).collect();
    place.build(&path, "corp", &more).run().fails(1, &[nobody.trim_start_matches("http://")]);
    place.assert_nothing_left(&[]);
}

#[test]
fn completions_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.mkbase(["completions", shell]).run().success();
        for word in ["mkbase", "compress", "recipes"] {
            assert!(script.stdout().contains(word), "{shell}: no {word}");
        }
    }
}

#[test]
fn manual_pages() {
    let place = Place::new();
    let folder = place.out("man");
    place.mkbase(["man".as_ref(), folder.as_os_str()]).run().success();
    let mut pages = vec!["mkbase.1".to_string()];
    pages.extend(COMMANDS.iter().map(|c| format!("mkbase-{c}.1")));
    for page in pages {
        let text = std::fs::read_to_string(folder.join(&page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        assert!(text.contains(".TH"), "{page} has a title");
    }
}

#[test]
fn no_colours_without_a_terminal_and_quiet_is_quiet() {
    let place = Place::new();
    let loud = place.mkbase(["build", "debain"]).run();
    assert!(!loud.stderr.contains('\x1b'), "no escape sequences in {:?}", loud.stderr);
    let quiet = place.mkbase(["-q", "recipes"]).run();
    assert!(quiet.stderr.is_empty(), "-q: {}", quiet.stderr);
}

#[test]
fn terminal_gets_bars_and_colours() {
    let place = Place::new();
    let lab = crate::util::lab::Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    const COLOUR: &str = "\u{1b}[1;32m";
    let coloured = place.build(&recipe, "image", &[]).on_terminal().run().success();
    assert!(coloured.stderr.contains(COLOUR), "{:?}", coloured.stderr);
    assert!(coloured.stderr.contains("[="), "a bar is drawn: {:?}", coloured.stderr);
    let plain = place.build(&recipe, "image", &[]).on_terminal().env("NO_COLOR", "1").run().success();
    assert!(!plain.stderr.contains(COLOUR), "{:?}", plain.stderr);
    let dumb = place.build(&recipe, "image", &[]).on_terminal().env("TERM", "dumb").run().success();
    assert!(!dumb.stderr.contains('\u{1b}'), "{:?}", dumb.stderr);
    let quiet = place.build(&recipe, "image", &["-q"]).on_terminal().run().success();
    assert_eq!(quiet.stderr, "");
    place.assert_nothing_left(&["image"]);
}

#[test]
fn build_tells_what_it_did() {
    let place = Place::new();
    let lab = crate::util::lab::Lab::complete(&[]);
    let recipe = lab.recipe(&place, &[], "");
    let ended = place.build(&recipe, "image", &[]).run().success();
    let said = format!("{}{}", ended.stdout(), ended.stderr);
    assert!(said.contains(place.out("image").to_str().expect("text")), "where it is:\n{said}");
    assert!(said.contains("docker import"), "how to go on:\n{said}");
    assert!(!ended.stderr.contains('\u{1b}'), "no escape sequences without a terminal:\n{}", ended.stderr);
    let detailed = place.build(&recipe, "image", &["-v"]).run().success();
    assert!(detailed.stderr.lines().count() > ended.stderr.lines().count(), "-v says more:\n{}", detailed.stderr);
    place.build(&recipe, "image", &["--jobs", "1"]).run().success();
    place.assert_nothing_left(&["image"]);
}
