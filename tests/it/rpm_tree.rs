//! The tree of an RPM image: before customise and clean it is what the real dnf makes of the same packages, file by
//! file, its database included; finished, rpm finds nothing wrong with it, a container engine runs it, and rpm goes on
//! from its database.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::docker::{Image, engine_answers, run};
use crate::skip;
use crate::util::dnf::{self, text};
use crate::util::mkbase::Place;
use crate::util::rpm::{Mini, mini};
use crate::util::tree::{self, Node, Tree};
use crate::util::{is_root, now};

/// Paths that may differ, and why. One that ends with `/` stands for everything below it.
#[rustfmt::skip]
const ALLOWED: &[(&str, &str)] = &[
    ("var/cache/dnf/", "indexes and state of repositories"),
    ("var/lib/dnf/", "history of dnf, with clock values and user names"),
    ("etc/dnf", "a folder that dnf makes, for no package of these"),
    ("etc/dnf/modules.d", "the same"),
    ("var/log/dnf.log", "dnf logs its own work, with clock values"),
    ("var/log/dnf.librepo.log", "dnf logs its own work, with clock values"),
    ("var/log/dnf.rpm.log", "dnf logs its own work, with clock values"),
    ("var/log/hawkey.log", "dnf logs its own work, with clock values"),
    ("usr/lib/sysimage/rpm/rpmdb.sqlite", "its pages are compared by what rpm reads in them"),
    ("usr/lib/sysimage/rpm/rpmdb.sqlite-shm", "mkbase leaves the database as one file"),
    ("usr/lib/sysimage/rpm/rpmdb.sqlite-wal", "mkbase leaves the database as one file"),
    ("usr/lib/sysimage/rpm/.rpm.lock", "the lock of an rpm that has ended"),
    ("var/cache/ldconfig/aux-cache", "inode numbers"),
];
/// Files with random content, or with the clock in it: here and there, with the same owner and mode.
const RANDOM: &[(&str, &str)] = &[
    ("etc/ssh/ssh_host_", "random keys"),
    ("etc/shadow", "the day on which an account was added; compared without"),
    ("var/log/mini-hello.log", "a scriptlet writes the process id and the time of /proc and /dev into it"),
];

/// Folders whose modes differ, and why.
const MODES: &[(&str, &str)] = &[
    ("proc", "dnf leaves the mode of what is mounted there; mkbase gives it that of its package"),
    ("sys", "dnf leaves the mode of what is mounted there; mkbase gives it that of its package"),
];
/// Configuration files that rpm finds changed, and why.
const CHANGED: &[(&str, &str)] = &[
    ("/etc/group", "%pre of openssh-server adds an account"),
    ("/etc/gshadow", "%pre of openssh-server adds an account"),
    ("/etc/passwd", "%pre of openssh-server adds an account"),
    ("/etc/shadow", "%pre of openssh-server adds an account; clean sets the days of all to the image's time"),
    ("/etc/shells", "%post of bash adds it"),
];
/// What rpm finds changed besides in a container: the engine mounts it.
pub const MOUNTED: [&str; 4] = ["/dev", "/etc/hosts", "/proc", "/sys"];

/// A package set that has everything awkward in it: scriptlets of every kind, Lua, capabilities, set-id programs,
/// hard links, accounts made by a scriptlet, host keys, weak dependencies that are left out.
pub const PACKAGES: [&str; 4] = ["mini-hello", "mini-caps", "openssh-server", "tzdata"];

fn rpm_of_host(arguments: &[String]) -> Output {
    Command::new("rpm").args(arguments).output().expect("rpm runs")
}

/// How rpm is told to look at all files of a tree.
fn verify(tree: &Path) -> Vec<String> {
    let tree = tree.to_str().expect("text");
    ["--root", tree, "--dbpath", "/usr/lib/sysimage/rpm", "--verify", "--all"].map(str::to_owned).to_vec()
}

/// Builds up to some stage and gives the tree's folder.
pub fn stopped(place: &Place, mini: &Mini, recipe: &Path, stage: &str, more: &[&str]) -> PathBuf {
    let mut arguments = vec!["--stop-after", stage];
    arguments.extend(more);
    let ended = place.build(recipe, "image", &arguments).arguments(mini.mirrors()).run().success();
    PathBuf::from(ended.stdout().trim())
}

/// Names and versions of the lock, as dnf takes them.
fn locked(place: &Place, recipe: &Path, mini: &Mini, more: &[&str]) -> (PathBuf, Vec<String>) {
    let path = place.path().join("tree.lock");
    let lock = place.mkbase(["lock"]).arguments([recipe]).arguments(mini.mirrors()).arguments(more);
    lock.arguments(["-o"]).arguments([&path]).run().success();
    let text = std::fs::read_to_string(&path).expect("the lock");
    let lock = mkbase::lock::Lock::parse(&text, "tree.lock").expect("a lock");
    (path, lock.packages.iter().map(|p| format!("{}-{}.{}", p.name, p.version, p.arch)).collect())
}

/// What is compared of a tree: also the times of files that packages set. Whatever was written since `start` has the
/// time of the clock, and so have links and folders.
fn comparable(root: &Path, start: i64) -> Tree {
    let mut tree = tree::of_folder(root);
    tree.retain(|path, _| !listed(ALLOWED, path));
    for (path, node) in &mut tree {
        if node.kind != 'f' || node.mtime >= start {
            node.mtime = 0;
        }
        if listed(MODES, path) {
            node.mode = 0;
        }
        if path.starts_with("etc/shadow") {
            node.content = without_days(&root.join(path.as_str()));
        } else if RANDOM.iter().any(|(start, _)| path.starts_with(start)) {
            node.content.clear();
            node.size = 0;
        }
    }
    tree
}

fn without_days(shadow: &Path) -> String {
    let text = std::fs::read_to_string(shadow).expect("the passwords");
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if fields[2].parse::<i64>().is_ok_and(|day| day > 20_000) {
            fields[2] = "today";
        }
        fields.join(":")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn listed(list: &[(&str, &str)], path: &str) -> bool {
    let fits = |listed: &str| match listed.strip_suffix('/') {
        Some(folder) => path == folder || path.starts_with(listed),
        None => path == listed,
    };
    list.iter().any(|(listed, _)| fits(listed))
}

#[track_caller]
fn assert_equal(theirs: &Tree, ours: &Tree) {
    let show = |node: Option<&Node>| node.map_or("not there".to_owned(), |node| format!("{node:?}"));
    let paths: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    let differing: Vec<String> = paths
        .into_iter()
        .filter(|path| theirs.get(*path) != ours.get(*path))
        .map(|path| format!("{path}\n    theirs {}\n    ours   {}", show(theirs.get(path)), show(ours.get(path))))
        .collect();
    assert!(differing.is_empty(), "{} paths differ:\n{}", differing.len(), differing.join("\n"));
    assert!(ours.len() > 1500, "a tree of {} paths", ours.len());
}

/// What is of the release of rpm that imported a key, in which the database of an image has none.
const OF_RPM: [&str; 4] = ["Rpmversion", "Description", "Sha1header", "Sha256header"];

/// Everything that rpm reads in a database, by package: each tag with its values, but for the times of the installation
/// and its number.
fn database(root: &Path) -> BTreeMap<String, String> {
    let dbpath = root.join("usr/lib/sysimage/rpm");
    let xml = text(rpm_of_host(&["--dbpath", dbpath.to_str().expect("text"), "-qa", "--xml"].map(str::to_owned)));
    let mut packages = BTreeMap::new();
    for header in xml.split("</rpmHeader>").filter(|header| header.contains("<rpmTag")) {
        let tags: Vec<&str> = header.split("  <rpmTag name=").skip(1).collect();
        let value = |tag: &str| {
            let found = tags.iter().find(|text| text.starts_with(&format!("\"{tag}\">")));
            found.and_then(|text| text.split('>').nth(2)).and_then(|text| text.split('<').next()).unwrap_or_default()
        };
        let name = format!("{}-{}-{}", value("Name"), value("Version"), value("Release"));
        let mut passing = vec!["Installtime", "Installtid", "Dbinstance"];
        if name.starts_with("gpg-pubkey-") {
            passing.extend(OF_RPM);
        }
        let lasting = tags.iter().filter(|text| !passing.iter().any(|tag| text.starts_with(&format!("\"{tag}\""))));
        assert!(packages.insert(name, lasting.copied().collect::<String>()).is_none(), "{header}");
    }
    packages
}

#[test]
fn the_tree_is_that_of_the_real_dnf() {
    const TEST: &str = "the_tree_is_that_of_the_real_dnf";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    if !is_root() {
        skip!("{TEST}: dnf makes a system as root only");
    }
    assert_tree_of_dnf(&mini);
}

/// Has the real dnf install the packages, for the architecture of the distribution, and mkbase up to the installed tree.
#[track_caller]
pub fn assert_tree_of_dnf(mini: &Mini) {
    let place = Place::new();
    let recipe = mini.recipe(&place, "");
    let include = ["--include", &PACKAGES.join(",")];
    let start = now();
    let (lock, packages) = locked(&place, &recipe, mini, &include);
    let lock = lock.to_str().expect("text").to_owned();
    let ours = stopped(&place, mini, &recipe, "bootstrap", &[&include[..], &["--locked", "--lock", &lock]].concat());
    let text = std::fs::read_to_string(&lock).expect("the lock");
    let epoch = mkbase::lock::Lock::parse(&text, "tree.lock").expect("a lock").epoch;
    let theirs = dnf::install(&place, mini, &["BaseOS", "updates"], &packages, epoch);
    let trees = [comparable(&theirs, start), comparable(&ours, start)];
    assert_equal(&trees[0], &trees[1]);
    let caps = |tree: &Tree| tree["usr/bin/mini-capable"].xattrs.keys().cloned().collect::<Vec<_>>();
    assert_eq!(caps(&trees[1]), ["security.capability"]);
    let [theirs, ours] = [database(&theirs), database(&ours)];
    assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (name, tags) in &theirs {
        let differing: Vec<_> = tags.lines().zip(ours[name].lines()).filter(|(a, b)| a != b).take(5).collect();
        assert!(*tags == ours[name], "{name}: {differing:?}");
    }
    let with_states = ours.values().filter(|tags| tags.contains("\"Filestates\"")).count();
    assert!(with_states > 40, "{with_states} of {} packages have files", ours.len());
}

/// The lines of `rpm --verify` but for changed configuration files that are meant.
pub fn unexpected(verified: &str) -> Vec<&str> {
    // Its size need not change with its content.
    let is_meant = |line: &str| CHANGED.iter().any(|(path, _)| line[1..] == format!(".5....T.  c {path}"));
    verified.lines().filter(|line| !line.trim().is_empty() && !is_meant(line)).collect()
}

#[test]
fn rpm_finds_every_file_as_its_package_has_it() {
    const TEST: &str = "rpm_finds_every_file_as_its_package_has_it";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    if !is_root() {
        skip!("{TEST}: rpm changes its root as root only");
    }
    assert_verified_by_rpm(&mini);
}

/// Builds up to the clean tree, in which neither rpm nor the checks find a fault until there is one.
#[track_caller]
pub fn assert_verified_by_rpm(mini: &Mini) {
    let place = Place::new();
    let recipe = mini.recipe(&place, "");
    let tree = stopped(&place, mini, &recipe, "clean", &["--include", &PACKAGES.join(",")]);
    let path = tree.to_str().expect("text");
    place.mkbase(["check", path]).run().success();
    let output = rpm_of_host(&verify(&tree));
    assert_eq!(unexpected(&String::from_utf8_lossy(&output.stdout)), [""; 0], "{output:?}");
    // It would say so.
    std::fs::write(tree.join("usr/bin/mini-setuid"), "changed").expect("a file");
    let said = String::from_utf8(rpm_of_host(&verify(&tree)).stdout).expect("text");
    assert!(said.contains("  /usr/bin/mini-setuid"), "{said}");
    let check = place.mkbase(["check", path]).run().fails(11, &["1 fault"]);
    let fault = "/usr/bin/mini-setuid of mini-caps is not as the package shipped it";
    assert!(check.stdout().contains("rpm/files") && check.stdout().contains(fault), "{}", check.stdout());
}

#[test]
fn a_database_that_only_the_images_rpm_reads() {
    const TEST: &str = "a_database_that_only_the_images_rpm_reads";
    /// Stands in for an rpm with a database of its own: it has that name, and it locks even what it reads.
    const STAND_IN: &str = "#!/bin/sh\nset -eu\n[ \"$1 $3\" = '--dbpath --exportdb' ]\n: >\"$2/.dbenv.lock\"\n\
                            mv \"$2/Packages.db\" \"$2/rpmdb.sqlite\"\nexec /usr/bin/rpmdb.real \"$@\"\n";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    if !is_root() {
        skip!("{TEST}: what it changes belongs to a subordinate id");
    }
    let place = Place::new();
    let recipe = mini.recipe(&place, "");
    let tree = stopped(&place, &mini, &recipe, "clean", &[]);
    let rename = |from: &str, to: &str| std::fs::rename(tree.join(from), tree.join(to)).expect("a file of the tree");
    rename("usr/lib/sysimage/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/Packages.db");
    rename("usr/bin/rpmdb", "usr/bin/rpmdb.real");
    std::fs::write(tree.join("usr/bin/rpmdb"), STAND_IN).expect("a file");
    std::fs::set_permissions(tree.join("usr/bin/rpmdb"), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let before = tree::of_folder(&tree);
    let check = place.mkbase(["check", tree.to_str().expect("text")]).run().fails(11, &["1 fault"]);
    assert!(check.stdout().contains("/usr/bin/rpmdb of rpm is not as the package shipped it"), "{}", check.stdout());
    assert!(before == tree::of_folder(&tree), "the checks changed the tree");
}

/// Whoever adds packages from the outside to a finished image has its repositories, and nothing else.
#[test]
fn dnf_installs_from_the_repositories_that_the_image_has() {
    const TEST: &str = "dnf_installs_from_the_repositories_that_the_image_has";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    if !is_root() {
        skip!("{TEST}: dnf changes a system as root only");
    }
    let place = Place::new();
    let mirror = format!("{}/1/BaseOS/{}/os", mini.server.url(), std::env::consts::ARCH);
    let corp = format!("{}/corp/noarch", mini.server.url());
    let recipe = mini.recipe(
        &place,
        &format!(
            "[mirror]\nimage = {{ baseos = \"{mirror}\" }}\n[[repository]]\nname = \"corp\"\nurl = \"{corp}\"\n\
             key = \"RPM-GPG-KEY-corp\"\n[[repository]]\nname = \"only\"\nurl = \"{corp}\"\n\
             key = \"RPM-GPG-KEY-corp\"\nbuild_only = true\n"
        ),
    );
    let tree = stopped(&place, &mini, &recipe, "clean", &[]);
    let read = |name: &str| std::fs::read_to_string(tree.join("etc/yum.repos.d").join(name)).expect("repositories");
    let distribution = read("mini.repo");
    let addresses: Vec<&str> = distribution.lines().filter_map(|line| line.strip_prefix("baseurl=")).collect();
    assert_eq!(addresses, [&mirror, "https://mini.example.org/$releasever/updates/$basearch/os/"], "{distribution}");
    assert!(read("corp.repo").contains(&format!("baseurl={corp}\n")));
    assert_eq!(std::fs::read_dir(tree.join("etc/yum.repos.d")).expect("a folder").count(), 2);
    let verified = rpm_of_host(&verify(&tree));
    let verified = String::from_utf8(verified.stdout).expect("text");
    assert_eq!(unexpected(&verified), ["S.5....T.  c /etc/yum.repos.d/mini.repo"], "the one change that it takes");

    let conf = place.write("dnf.conf", "[main]\ngpgcheck=1\nbest=1\nskip_if_unavailable=0\nplugins=0\n");
    let repositories = format!("--setopt=reposdir={}", tree.join("etc/yum.repos.d").display());
    let dnf = |words: &[&str]| {
        text(dnf::dnf(&place, &tree, &conf, mini.arch, 0).arg(&repositories).args(words).output().expect("dnf runs"))
    };
    let listed = dnf(&["repolist", "--all"]);
    let ids: Vec<&str> = listed.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(ids, ["corp", "mini", "mini-updates"], "{listed}");
    // From the outside dnf looks for keys on the host, where the image's are elsewhere.
    let key = tree.join("etc/pki/rpm-gpg/corp-0.asc");
    let root = ["--root", tree.to_str().expect("text"), "--dbpath", "/usr/lib/sysimage/rpm"];
    text(Command::new("rpmkeys").args(root).arg("--import").arg(key).output().expect("rpmkeys runs"));
    // The updates are at an address that answers nobody.
    dnf(&["--disablerepo=mini-updates", "install", "mini-caps", "corp-agent"]);
    assert!(tree.join("usr/bin/mini-capable").exists() && tree.join("usr/bin/corp-agent").exists());
}

#[test]
fn rpm_works_in_a_container() {
    const TEST: &str = "rpm_works_in_a_container";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    if !engine_answers() {
        skip!("{TEST}: no docker engine");
    }
    let place = Place::new();
    let mut files = String::new();
    for (name, version, repository) in [("old", "1.0", "BaseOS"), ("new", "1.1", "updates")] {
        let file =
            format!("1/{repository}/{}/os/Packages/mini-hello-{version}-1.mn1.noarch.rpm", std::env::consts::ARCH);
        place.write(&format!("{name}.rpm"), std::fs::read(mini.folder.join(file)).expect("a package"));
        files.push_str(&format!("[[file]]\nsource = \"{name}.rpm\"\npath = \"/srv/{name}.rpm\"\n"));
    }
    files.push_str("[[user]]\nname = \"app\"\ngroups = [\"mail\"]\n");
    let recipe = mini.recipe(&place, &files);
    let settings = ["--set", "system.timezone=Europe/Rome", "--set", "system.locale=de_DE.UTF-8"];
    let include = [&["--include", "mini-caps,openssh-server,findutils,grep,tzdata"][..], &settings].concat();
    place.build(&recipe, "image", &include).arguments(mini.mirrors()).run().success();
    let image = Image::named("rpm");
    run(&["import", place.out("image").join("rootfs.tar").to_str().expect("text"), &image.0]);

    let said = image
        .shell("cat /etc/locale.conf; date +%Z; id app; LC_ALL=de_DE.UTF-8 locale charmap 2>&1; ls /etc/timezone || :");
    let settings = "LANG=de_DE.UTF-8\nCET\nuid=1000(app) gid=1000(app) groups=1000(app),12(mail)\nUTF-8\n";
    assert_eq!(said, settings);
    let names = image.shell("rpm -qa --qf '%{name}\\n'");
    let manifest = std::fs::read_to_string(place.out("image").join("manifest.json")).expect("the manifest");
    let packages = names.lines().filter(|name| *name != "gpg-pubkey").inspect(|name| {
        assert!(manifest.contains(&format!("\"{name}\"")), "{name}");
    });
    assert!(packages.count() > 40, "{names}");
    let verified = image.shell("rpm -Va || :");
    let odd = |line: &&str| !MOUNTED.iter().any(|path| line.ends_with(&format!(" {path}")));
    assert_eq!(unexpected(&verified).into_iter().filter(odd).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(image.shell("find / -xdev -nouser -o -xdev -nogroup"), "");
    assert_eq!(image.shell("ls /etc/ssh/ssh_host_* 2>/dev/null || :"), "", "no host keys");
    // As the documentation has it for a container without an init system.
    image.shell("ssh-keygen -A && mkdir -p /run/sshd /usr/share/empty.sshd && /usr/sbin/sshd -t");

    let said = image.shell(
        "rpm -K /srv/old.rpm; rpm -i /srv/old.rpm; rpm -V mini-hello; rpm -q mini-hello; cat /etc/mini-hello.conf; \
         ls /usr/share/doc/mini-hello /usr/share/man/man1 2>&1 || :; rpm -U /srv/new.rpm; rpm -q mini-hello; \
         cat /etc/mini-hello.conf; rpm -e mini-hello; rpm -q mini-hello || :; test ! -e /etc/mini-hello.conf",
    );
    for expected in [
        "/srv/old.rpm: digests signatures OK\n",
        "mini-hello-1.0-1.mn1.noarch\ngreeting=hello 1.0\n",
        "mini-hello-1.1-1.mn1.noarch\ngreeting=hello 1.1\n",
        "package mini-hello is not installed\n",
    ] {
        assert!(said.contains(expected), "no {expected:?} in:\n{said}");
    }
    assert!(!said.contains("README") && !said.contains("mini-hello.1"), "documentation stays out:\n{said}");
    place.assert_nothing_left(&["image"]);
}
