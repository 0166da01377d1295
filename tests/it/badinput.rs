//! Bad input: each kind ends with the right exit code and a message that says what is wrong, and leaves nothing.

mod index;
mod mirrors;
mod packages;
mod scripts;

use std::path::Path;

use crate::util::deb::{Deb, Package};
use crate::util::key::Key;
use crate::util::lab::{Lab, recipe_text};
use crate::util::mkbase::{Ended, Place};
use crate::util::server::refused_url;
use crate::util::tree;

/// An essential package that is no system: enough for everything up to unpacking.
fn base() -> Deb {
    Package::new("lab-base").field("Essential", "yes").file("./usr/share/lab-base", b"base\n").build()
}

/// Builds the recipe into `out/image`, expects it to fail with 1 and to leave nothing.
#[track_caller]
fn refused(place: &Place, recipe: &Path, texts: &[&str]) -> Ended {
    let ended = place.build(recipe, "image", &[]).run().fails(1, texts);
    place.assert_nothing_left(&[]);
    ended
}

#[test]
fn recipes_with_mistakes() {
    let place = Place::new();
    let nobody = refused_url();
    place.write("lab.asc", Key::new("lab").public());
    let good = recipe_text(&nobody, &["lab-base"], "");
    let cases: &[(&str, String, &[&str])] = &[
        ("an unknown key", format!("{good}[system]\ntimezon = \"UTC\"\n"), &["lab.toml", "timezon", "timezone"]),
        ("an unknown table", format!("{good}[sytem]\ntimezone = \"UTC\"\n"), &["lab.toml", "sytem", "system"]),
        ("a key of an unknown name in a list", good.replace("suite =", "siute ="), &["lab.toml", "siute", "suite"]),
        ("a wrong type", format!("{good}[system]\ndocs = \"yes\"\n"), &["lab.toml", "docs"]),
        ("broken TOML", format!("{good}[system\n"), &["lab.toml"]),
        ("an unknown family", good.replace("\"deb\"", "\"dbe\""), &["lab.toml", "dbe", "deb"]),
        ("no such parent", "extends = \"debain\"\nname = \"x\"\n".into(), &["debain", "debian"]),
        ("itself as its parent", "extends = \"lab.toml\"\nname = \"x\"\n".into(), &["lab.toml"]),
        ("a key file that is not there", good.replace("lab.asc", "gone.asc"), &["gone.asc"]),
        ("an empty file", String::new(), &["lab.toml"]),
    ];
    for (what, text, texts) in cases {
        eprintln!("{what}");
        let recipe = place.write("lab.toml", text);
        place.build(&recipe, "image", &[]).run().fails(2, texts);
    }
    place.assert_nothing_left(&[]);
}

#[test]
fn mistakes_in_recipes_name_the_line() {
    let place = Place::new();
    place.write("lab.asc", Key::new("lab").public());
    let text = recipe_text(&refused_url(), &["lab-base"], "[system]\ntimezon = \"UTC\"");
    let line = 1 + text.lines().position(|l| l.starts_with("timezon ")).expect("the wrong line");
    let recipe = place.write("lab.toml", text);
    place.build(&recipe, "image", &[]).run().fails(2, &[&format!("lab.toml:{line}"), "timezon", "'timezone'"]);

    let text = recipe_text(&refused_url(), &["lab-base"], "[system]\ntimezone = UTC");
    let line = 1 + text.lines().position(|l| l.starts_with("timezone ")).expect("the broken line");
    let recipe = place.write("lab.toml", text);
    place.build(&recipe, "image", &[]).run().fails(2, &[&format!("lab.toml:{line}")]);
}

#[test]
fn unknown_names_and_their_nearest() {
    let place = Place::new();
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("debain", &[], &["debain", "did you mean 'debian'"]),
        ("no/such/recipe.toml", &[], &["no/such/recipe.toml"]),
        ("debian:trixi", &[], &["trixi", "did you mean 'trixie'"]),
        ("debian:42", &[], &["42"]),
        ("debian", &["--arch", "amd46"], &["amd46", "did you mean 'amd64'"]),
        ("debian", &["--variant", "minbas"], &["minbas", "did you mean 'minbase'"]),
    ];
    for (recipe, more, texts) in cases {
        eprintln!("{recipe} {more:?}");
        place.build(recipe, "image", more).run().fails(2, texts);
    }
    place.assert_nothing_left(&[]);
}

#[test]
fn unknown_package_and_its_nearest() {
    let place = Place::new();
    let lab = Lab::new(&[base()]);
    let recipe = lab.recipe(&place, &["lab-bsae"], "");
    place.build(&recipe, "image", &[]).run().fails(2, &["lab-bsae", "did you mean 'lab-base'"]);
    place.assert_nothing_left(&[]);
}

#[test]
fn unmet_dependency_names_both() {
    let place = Place::new();
    let lab = Lab::new(&[base(), Package::new("lab-needs").depends("lab-nowhere (>= 2)").build()]);
    let recipe = lab.recipe(&place, &["lab-needs"], "");
    refused(&place, &recipe, &["lab-needs", "lab-nowhere"]);
}

#[test]
fn unknown_timezone_and_locale() {
    let place = Place::new();
    let lab = Lab::complete(&[]);
    let zone = lab.recipe(&place, &[], "[system]\ntimezone = \"Asia/Shangai\"");
    place.build(&zone, "image", &[]).run().fails(2, &["Asia/Shangai", "Asia/Shanghai"]);
    let locale = lab.recipe(&place, &[], "[system]\nlocale = \"de_ED.UTF-8\"");
    place.build(&locale, "image", &[]).run().fails(2, &["de_ED.UTF-8", "de_DE.UTF-8"]);
    place.assert_nothing_left(&[]);
}

#[test]
fn output_that_cannot_be_written() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    let recipe = lab.recipe(&place, &[], "");
    let file = place.write("file", "in the way");
    let under_file = file.join("image");
    // /proc takes no new folders from anybody, root included.
    for out in [under_file.as_path(), Path::new("/proc/mkbase-image")] {
        let arguments = ["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), out.as_os_str()];
        place.mkbase(arguments).run().fails(1, &[out.to_str().expect("text")]);
        assert_eq!(lab.server.count("pool/"), 0, "it says so before it downloads anything");
    }
    assert_eq!(std::fs::read_to_string(file).expect("the file"), "in the way");
    place.assert_nothing_left(&[]);
}

#[test]
fn output_folder_of_something_else_is_left_alone() {
    let place = Place::new().with_own_cache();
    let lab = Lab::new(&[base()]);
    let recipe = lab.recipe(&place, &[], "");
    std::fs::create_dir(place.out("image")).expect("a folder");
    std::fs::write(place.out("image").join("thesis.txt"), "years of work").expect("a file");
    place.build(&recipe, "image", &[]).run().fails(2, &[place.out("image").to_str().expect("text"), "-o"]);
    assert_eq!(std::fs::read_to_string(place.out("image").join("thesis.txt")).expect("the file"), "years of work");
    place.assert_nothing_left(&["image"]);
}

#[test]
fn output_is_replaced_whole_or_not_at_all() {
    let place = Place::new();
    let lab = Lab::complete(&[Package::new("lab-fails").script("postinst", "exit 1").build()]);
    let good = lab.recipe(&place, &[], "");
    place.build(&good, "image", &[]).run().success();
    let before = folder(&place.out("image"));

    let text = std::fs::read_to_string(&good).expect("the recipe").replace("include = []", "include = [\"lab-fails\"]");
    let bad = place.write("bad.toml", text);
    place.build(&bad, "image", &[]).run().fails(1, &["lab-fails"]);
    assert_eq!(folder(&place.out("image")), before, "a failed build changes nothing");
    place.assert_nothing_left(&["image"]);

    place.build(&good, "image", &["--compress", "gzip"]).run().success();
    let after = folder(&place.out("image"));
    assert!(
        after.contains_key("rootfs.tar.gz") && !after.contains_key("rootfs.tar"),
        "replaced whole: {:?}",
        after.keys()
    );
    place.assert_nothing_left(&["image"]);
}

fn folder(path: &Path) -> std::collections::BTreeMap<String, String> {
    tree::of_folder(path).into_iter().map(|(name, node)| (name, node.content)).collect()
}
