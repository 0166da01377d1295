//! Images whose own rpm is older than 4.16, and keeps its database in Berkeley DB: Mini Linux with the programs of Debian
//! 11, whose rpm does so as that of EL 8.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::docker::{self, Image};
use crate::skip;
use crate::util::mkbase::{Place, test_user};
use crate::util::rpm::{Mini, mini_with_old_rpm};
use crate::util::{is_root, note_skip, sha256, tree};

/// What a recipe for such an image says.
const RPM: &str = "[rpm]\ndbpath = \"/var/lib/rpm\"\nrebuild_database = true\n";
/// The same, with an rpm that imports no headers, as that of EL 7.
const OLDER: &str = "mini-old-rpm";
/// The time of the image.
const EPOCH: &str = "1750000000";
const DATABASE: &str = "var/lib/rpm";

fn older(mini: &Mini) -> String {
    format!(
        "{RPM}[packages]\ninclude = [\"{OLDER}\"]\n[[repository]]\nname = \"standin\"\nurl = \"{}/standin/noarch\"\n\
         key = \"RPM-GPG-KEY-mini-1\"\n",
        mini.server.url()
    )
}

/// The recipe of Mini Linux with more at its end; a table that it has already is that of another recipe.
fn recipe(mini: &Mini, place: &Place, more: &str) -> PathBuf {
    mini.recipe(place, "");
    place.write("old.toml", format!("extends = \"./mini.toml\"\nname = \"old\"\n{more}"))
}

fn build(mini: &Mini, place: &Place, recipe: &Path, more: &[&str]) {
    let build = place.build(recipe, "image", more).arguments(mini.mirrors()).env("SOURCE_DATE_EPOCH", EPOCH);
    build.run().success();
}

fn image(place: &Place) -> PathBuf {
    place.out("image").join("rootfs.tar")
}

fn hash(place: &Place) -> String {
    sha256(&std::fs::read(image(place)).expect("the image"))
}

/// Unpacks the image, with its owners.
fn unpack(place: &Place) -> PathBuf {
    let folder = place.path().join("tree");
    std::fs::create_dir(&folder).expect("a folder");
    let tar = Command::new("tar").arg("-C").arg(&folder).arg("-xf").arg(image(place)).status();
    assert!(tar.expect("tar runs").success(), "unpacking the image");
    folder
}

/// Runs a script of the shell in an unpacked image, and gives what it prints.
#[track_caller]
fn inside(tree: &Path, script: &str) -> String {
    let mut command = Command::new("chroot");
    command.arg(tree).args(["/bin/sh", "-euc", script]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.output().expect("chroot runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{script}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// What must hold of the database of an image, by the image's own rpm.
#[track_caller]
fn assert_sound(tree: &Path) {
    let count = inside(tree, "rpm -qa").lines().count();
    assert!(count > 25, "{count} packages");
    let verified = inside(tree, "rpm -Va || :");
    assert!(verified.lines().all(|line| line.contains("  c /etc/")), "{verified}");
    inside(tree, "rpmdb --verifydb");
    // Each by another index.
    for query in ["-q bash", "-qf /usr/bin/bash", "-q --whatprovides /bin/sh", "-q --whatrequires bash"] {
        assert!(!inside(tree, &format!("rpm {query}")).is_empty(), "{query}");
    }
    // rpm counts on from the time of the image, a second a package.
    let times = inside(tree, "rpm -qa --qf '%{INSTALLTIME} %{INSTALLTID}\\n'");
    let epoch: usize = EPOCH.parse().expect("a number");
    for line in times.lines() {
        let (time, transaction) = line.split_once(' ').expect("two times");
        assert!((epoch..epoch + count).contains(&time.parse().expect("a number")) && transaction == EPOCH, "{line}");
    }
    assert_eq!(inside(tree, "rpm -q gpg-pubkey").lines().count(), 1, "the key of the distribution");
    // It can be worked with. Debian's rpm has an option for those who mean it.
    inside(tree, "rpm --force-debian -e ca-certificates && rpmdb --verifydb");
    assert_eq!(inside(tree, "rpm -qa").lines().count(), count - 1);
}

/// The headers of a tree's database but for one package, as rpm shows them, in the order of their installation.
fn headers(tree: &Path) -> Vec<String> {
    let time = "  <rpmTag name=\"Installtime\">";
    let xml = inside(tree, "rpm -qa --xml");
    let is_other = |header: &&str| header.contains("<rpmTag") && !header.contains(&format!("<string>{OLDER}</string>"));
    let mut headers: Vec<(&str, String)> = xml
        .split("</rpmHeader>")
        .filter(is_other)
        .map(|header| {
            let (before, rest) = header.split_once(time).expect("a time");
            let (time, after) = rest.split_once("</rpmTag>").expect("the end of the time");
            (time, [before, after].concat())
        })
        .collect();
    headers.sort();
    headers.into_iter().map(|(_, header)| header).collect()
}

#[test]
fn the_images_rpm_reads_its_database_and_the_same_lock_gives_the_same_bytes() {
    const TEST: &str = "the_images_rpm_reads_its_database_and_the_same_lock_gives_the_same_bytes";
    let mini = match mini_with_old_rpm() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    let first = Place::new();
    let own = recipe(&mini, &first, RPM);
    build(&mini, &first, &own, &["--compress", "none"]);
    let lock = std::fs::read(first.out("image").join("mkbase.lock")).expect("the lock");
    let mut second = Place::new();
    match test_user() {
        Some(user) if is_root() => second = second.of_user(user),
        _ => note_skip(&format!("{TEST}: no user besides")),
    }
    let own = recipe(&mini, &second, RPM);
    second.write("old.lock", lock);
    build(&mini, &second, &own, &["--compress", "none", "--locked"]);
    assert_eq!(hash(&first), hash(&second));
    second.assert_nothing_left(&["image"]);

    let files = tree::of_tar(&image(&first));
    let database: Vec<&str> = files.keys().filter_map(|path| path.strip_prefix(DATABASE)?.strip_prefix('/')).collect();
    assert!(database.contains(&"Packages") && database.contains(&"Name") && database.len() > 12, "{database:?}");
    let bytes = std::fs::read(image(&first)).expect("the image");
    for name in database {
        let file = tree::file_in_tar(&bytes, &format!("{DATABASE}/{name}")).expect("a file");
        // A hash table or a tree of Berkeley DB, magic(5).
        assert!(
            [[0x61, 0x15, 0x06, 0], [0x62, 0x31, 0x05, 0]].contains(&[file[12], file[13], file[14], file[15]]),
            "{name}"
        );
    }
    if docker::engine_answers() {
        let image_of = Image::named("old-rpm");
        docker::run(&["import", image(&first).to_str().expect("text"), &image_of.0]);
        assert!(image_of.shell("rpm -qa && rpm -V bash && rpmdb --verifydb").contains("mini-release-1-1.mn1"));
    } else {
        note_skip(&format!("{TEST}: no docker engine"));
    }
    if !is_root() {
        skip!("{TEST}: a root file system is entered as root only");
    }
    let tree = unpack(&first);
    let path = tree.to_str().expect("text").to_owned();
    first.mkbase(["check", &path]).run().success();
    // Whoever works with the database leaves traces, which the check finds.
    assert_sound(&tree);
    let check = first.mkbase(["check", &path]).run().fails(11, &[]);
    assert!(check.stdout().contains("the clean step dnf/database is not done"), "{}", check.stdout());
    // An index without its packages.
    let packages = tree.join(DATABASE);
    std::fs::copy(packages.join("Conflictname"), packages.join("Name")).expect("a file");
    let check = first.mkbase(["check", &path]).run().fails(11, &[]);
    assert!(
        check.stdout().contains("rpm/database") && check.stdout().contains("has 0 packages, of"),
        "{}",
        check.stdout()
    );
    // Headers that were cut off: what the image has cannot be told.
    let bytes = std::fs::read(packages.join("Packages")).expect("the headers");
    std::fs::write(packages.join("Packages"), &bytes[..bytes.len() - 4096]).expect("a file");
    first.mkbase(["check", &path]).run().fails(1, &["reading /var/lib/rpm/Packages", "and by its first page"]);
}

#[test]
fn an_rpm_that_imports_no_headers_gets_the_same_ones() {
    const TEST: &str = "an_rpm_that_imports_no_headers_gets_the_same_ones";
    let mini = match mini_with_old_rpm() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    let places = [Place::new(), Place::new(), Place::new()];
    for (place, more) in places.iter().zip([older(&mini), older(&mini), RPM.to_owned()]) {
        build(&mini, place, &recipe(&mini, place, &more), &["--compress", "none"]);
    }
    assert_eq!(hash(&places[0]), hash(&places[1]));
    if !is_root() {
        skip!("{TEST}: a root file system is entered as root only");
    }
    let [older, newer] = [&places[0], &places[2]].map(unpack);
    let both = [headers(&older), headers(&newer)];
    assert!(both[0].len() > 25 && both[0] == both[1], "{} and {} headers", both[0].len(), both[1].len());
    inside(&older, &format!("rpm -q {OLDER}"));
    assert_sound(&older);
}

/// Berkeley DB makes pages as large as the blocks of the file system.
#[test]
fn the_file_system_of_the_build_has_no_say() {
    const TEST: &str = "the_file_system_of_the_build_has_no_say";
    let mini = match mini_with_old_rpm() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    if !is_root() {
        skip!("{TEST}: needs root to mount one");
    }
    // Its blocks are those of large pages of memory.
    let script = "mount -t tmpfs -o mode=1777,size=1g,huge=always tmpfs \"$TMPDIR\" || exit 99; exec \"$@\"";
    let places = [Place::new(), Place::new()];
    let large = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
    for (place, wrapper) in places.iter().zip([&[][..], &large]) {
        let build = place.build(recipe(&mini, place, RPM), "image", &["--compress", "none"]);
        let build = build.arguments(mini.mirrors()).env("SOURCE_DATE_EPOCH", EPOCH).through(wrapper);
        let ended = build.run();
        if ended.code == Some(99) {
            skip!("{TEST}: the kernel has no large pages for files in memory");
        }
        ended.success();
    }
    assert_eq!(hash(&places[0]), hash(&places[1]));
}

#[test]
fn an_image_without_rpm_cannot_make_its_database() {
    const TEST: &str = "an_image_without_rpm_cannot_make_its_database";
    let mini = match mini_with_old_rpm() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    let place = Place::new();
    let recipe = recipe(&mini, &place, &format!("{RPM}[variant.bare]\npackages.include = [\"coreutils\"]\n"));
    let build = place.build(&recipe, "image", &["--variant", "bare"]).arguments(mini.mirrors());
    build.run().fails(1, &["the image has no rpmdb", "include the package rpm"]);
    place.assert_nothing_left(&[]);
}
