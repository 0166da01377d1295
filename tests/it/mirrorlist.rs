//! Repositories of which the recipe has a list of mirrors, and whose packages lie beside them, as Amazon's do.

use std::path::PathBuf;

use crate::rpm_dnf::inside;
use crate::rpm_tree::stopped;
use crate::skip;
use crate::util::mkbase::{Ended, Place};
use crate::util::rpm::{Mini, mini};
use crate::util::server::{Server, refused_url};
use crate::util::{is_root, now, sha256, tree};

const LIST: &str = "/vendor/core/mirrors/latest/mirror.list";

/// Mini Linux as one repository with a list of its mirrors, and a recipe for that.
struct Case {
    place: Place,
    mini: Mini,
    recipe: PathBuf,
}

impl Case {
    fn new() -> Result<Case, String> {
        let (mini, place) = (mini()?, Place::new().with_own_cache());
        mini.recipe(&place, "");
        let url = mini.server.url().replace("http://", "http://user:secret@");
        // Its release package has the id of the one, and a definition of the other that leads elsewhere.
        let text = format!(
            "extends = \"./mini.toml\"\nname = \"listed\"\n[[repository]]\nname = \"mini\"\n\
             mirrorlist = \"{url}{LIST}\"\nkey = \"RPM-GPG-KEY-mini-1\"\n[[repository]]\nname = \"baseos\"\n\
             enabled = false\n[[repository]]\nname = \"updates\"\nenabled = false\n[packages]\n\
             include = [\"mini-hello\"]\n"
        );
        let recipe = place.write("listed.toml", text);
        Ok(Case { place, mini, recipe })
    }

    /// Publishes a version with the packages of these repositories, and gives its address.
    fn version(&self, name: &str, repositories: &[&str], time: i64) -> String {
        let folders: Vec<String> = repositories.iter().map(|name| self.mini.path(name)).collect();
        let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
        format!("{}{}", self.mini.server.url(), self.mini.publish_version(name, &folders, time))
    }

    fn list(&self, text: impl AsRef<str>) {
        self.mini.server.put(LIST, text.as_ref().as_bytes().to_vec());
    }

    fn run(&self, command: &str, more: &[&str]) -> Ended {
        let mut words = vec![command.to_owned(), self.recipe.display().to_string()];
        if command == "build" {
            let output = self.place.out("image").display().to_string();
            words.extend(["--compress".into(), "none".into(), "-o".into(), output]);
        }
        words.extend(more.iter().map(|word| word.to_string()));
        let ended = self.place.mkbase(words).run();
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
        ended
    }

    fn lock_path(&self) -> PathBuf {
        self.place.path().join("listed.lock")
    }

    /// The line of the repository in the lock.
    fn locked(&self) -> String {
        let text = std::fs::read_to_string(self.lock_path()).expect("the lock");
        assert!(!text.contains("secret"), "{text}");
        text.lines().find(|line| line.contains("name = \"mini\"") && line.contains("index")).expect("a line").to_owned()
    }

    fn image(&self) -> String {
        sha256(&std::fs::read(self.place.out("image").join("rootfs.tar")).expect("the image"))
    }

    fn forget_downloads(&self) {
        std::fs::remove_dir_all(self.place.cache()).expect("the cache of this test");
        std::fs::create_dir(self.place.cache()).expect("the cache of this test");
    }
}

/// The case, or the end of a test that cannot have the distribution.
macro_rules! case_or_skip {
    ($test:literal) => {
        match Case::new() {
            Ok(case) => case,
            Err(why) => skip!("{}: {why}", $test),
        }
    };
}

/// `user:secret`, RFC 7617.
const AUTHORIZATION: &str = "Basic dXNlcjpzZWNyZXQ=";

#[test]
fn a_list_leads_to_packages_beside_their_repository() {
    let case = case_or_skip!("a_list_leads_to_packages_beside_their_repository");
    let url = case.version("0123", &["BaseOS"], now() - 3000);
    let (dead, elsewhere) = (refused_url(), Server::new());
    case.list(format!("# for you\nftp://example.org/os\n{}/os\n{dead}/os\n{url}/\n", elsewhere.url()));
    // Whoever has the list needs a password, and nobody else gets it.
    case.mini.server.require(AUTHORIZATION);
    let ended = case.run("build", &[]).success();
    for mirror in [elsewhere.url(), dead] {
        let warning = format!("repository 'mini': {mirror}/os: ");
        assert!(ended.stderr.contains(&warning) && ended.stderr.contains("going on with the next mirror"), "{warning}");
    }
    let requests = elsewhere.requests();
    assert!(!requests.is_empty() && requests.iter().all(|request| request.authorization.is_none()), "{requests:?}");
    assert_eq!(case.mini.server.count(LIST), 1);

    let output = case.place.out("image");
    let text = std::fs::read_to_string(output.join("mkbase.lock")).expect("the lock");
    let packages = mkbase::lock::Lock::parse(&text, "mkbase.lock").expect("a lock").packages.len();
    assert_eq!(case.mini.server.count("/vendor/blobstore/"), packages, "each is fetched from beside the repository");
    for file in ["mkbase.lock", "manifest.json"] {
        let text = std::fs::read_to_string(output.join(file)).expect("a file of the output");
        assert!(text.contains(&url) && text.contains(&format!("{}{LIST}", case.mini.server.url())), "{file}: {text}");
        assert!(text.contains("../../../../blobstore/") && !text.contains("secret"), "{file}: {text}");
    }
    // dnf in the image has the list too, in the definition of the release package.
    let tar = tree::unpacked(&output.join("rootfs.tar"));
    let text = tree::file_in_tar(&tar, "etc/yum.repos.d/mini.repo").expect("a definition");
    let text = String::from_utf8_lossy(&text);
    let section = text.split("[mini-updates]").next().expect("a section");
    let list = format!("\nmirrorlist={}{LIST}\n", case.mini.server.url());
    assert!(section.contains(&list) && section.contains("\n#baseurl="), "{text}");
    assert!(tree::file_in_tar(&tar, "etc/mini-hello.conf").is_some());
    case.place.mkbase(["check".as_ref(), output.as_os_str()]).run().success();
    case.place.assert_nothing_left(&["image"]);
}

#[test]
fn dnf_in_the_image_goes_by_the_list() {
    const TEST: &str = "dnf_in_the_image_goes_by_the_list";
    let case = case_or_skip!("dnf_in_the_image_goes_by_the_list");
    if !is_root() {
        skip!("{TEST}: changing the root takes root");
    }
    case.list(case.version("0123", &["BaseOS", "AppStream"], now() - 3000));
    let tree = stopped(&case.place, &case.mini, &case.recipe, "clean", &["--include", "dnf"]);
    case.list(case.version("4567", &["BaseOS", "AppStream", "updates"], now() - 2000));
    let said = inside(&tree, &case.mini.folder, "dnf -y --repo mini upgrade mini-hello; rpm -q mini-hello", &[]);
    assert!(said.contains("Complete!") && said.ends_with("mini-hello-1.1-1.mn1.noarch\n"), "{said}");
    assert!(case.mini.server.count("/mini-hello-1.1-1.mn1.noarch.rpm") > 0, "from beside the repository");
}

#[test]
fn lists_that_lead_nowhere() {
    let case = case_or_skip!("lists_that_lead_nowhere");
    let (own, nobody) = (case.mini.server.url(), refused_url());
    let refused = |texts: &[&str]| {
        case.run("build", &[]).fails(1, &[&["reading the repository 'mini'"], texts].concat());
        case.place.assert_nothing_left(&[]);
    };
    let place = format!("reading the list of mirrors {own}{LIST}");
    refused(&[&place, "not found"]);
    for (text, reason) in [
        (String::new(), "it names no mirror with http:// or https://"),
        ("# none today\nftp://example.org/os\nfile:///etc\n".into(), "it names no mirror with http:// or https://"),
        ("<!DOCTYPE html>\n<title>Log in</title>\n".into(), "its line 1 is \"<!DOCTYPE html>\": this is no address"),
        ("<?xml version=\"1.0\"?>\n<metalink version=\"3.0\"/>\n".into(), "it is a metalink, which is not read"),
        (format!("{own}/os\n").repeat(20_000), "it is longer than 262144 bytes"),
    ] {
        case.list(text);
        refused(&[&place, reason]);
    }
    case.list(format!("{nobody}/a\n{own}/b\n"));
    refused(&["none of its 2 mirrors has it", &format!("{nobody}/a"), "/b/repodata/repomd.xml: not found"]);
    assert_eq!(case.mini.server.count(".rpm"), 0);

    // The repository of a server may have its packages beside it, as long as they are on the server. One of this
    // machine may not.
    let path = case.version("0123", &["BaseOS"], now());
    let path = path.strip_prefix(&own).expect("it is there");
    let shallow = case.place.path().join("shallow");
    for file in ["repomd.xml", "primary.xml", "filelists.xml"] {
        let content = case.mini.server.body(&format!("{path}/repodata/{file}")).read();
        case.mini.server.put(format!("/shallow/repodata/{file}"), content.clone());
        case.place.write(&format!("shallow/repodata/{file}"), content);
    }
    case.list(format!("{own}/shallow"));
    refused_package(&case, &[], "leads above the root of the server");
    let local = format!("mini=file://{}", shallow.display());
    refused_package(&case, &["--mirror", &local], "leads out of it, which it may on a server only");
    // Another mirror that can have them does for both.
    let asked = case.mini.server.count(LIST);
    let both = ["--mirror", &format!("mini={own}/shallow"), "--mirror", &format!("mini={own}{path}")];
    case.run("lock", &both).success();
    case.run("fetch", &both).success();
    assert_eq!(case.mini.server.count(LIST), asked, "a mirror stands in for the list");
    case.place.assert_nothing_left(&[]);
}

/// A package of the repository cannot be where its metadata says.
#[track_caller]
fn refused_package(case: &Case, more: &[&str], reason: &str) {
    case.run("build", more).fails(1, &["repository 'mini': the package \"", "blobstore", reason]);
    case.place.assert_nothing_left(&[]);
}

#[test]
fn a_lock_stays_with_the_version_it_was_made_of() {
    let case = case_or_skip!("a_lock_stays_with_the_version_it_was_made_of");
    let start = now();
    let old = case.version("0123", &["BaseOS"], start - 3000);
    case.list(&old);
    case.run("lock", &[]).success();
    let locked = case.locked();
    assert!(locked.contains(&format!("url = \"{old}\"")) && !locked.contains("mirrors ="), "{locked}");
    case.run("build", &["--locked"]).success();
    let image = case.image();

    // The list leads to a newer one, and is not asked for.
    let new = case.version("4567", &["BaseOS", "updates"], start - 2000);
    case.list(&new);
    case.forget_downloads();
    let asked = case.mini.server.count(LIST);
    case.run("fetch", &[]).success();
    assert!(case.mini.server.count("/vendor/blobstore/") > 0);
    case.run("build", &["--locked"]).success();
    assert_eq!(case.image(), image);
    case.mini.server.remove(LIST);
    case.run("build", &["--offline"]).success();
    assert_eq!((case.image(), case.mini.server.count(LIST)), (image.clone(), asked));

    // Until it is renewed.
    case.run("lock", &["--update"]).fails(1, &["reading the list of mirrors", "not found"]);
    assert_eq!(case.locked(), locked);
    case.list(&new);
    let ended = case.run("lock", &["--update"]).success();
    assert!(ended.stdout().contains("upgraded mini-hello 1.0-1.mn1 -> 1.1-1.mn1\n"), "{}", ended.stdout());
    assert!(case.locked().contains(&format!("url = \"{new}\"")), "{}", case.locked());
    case.run("build", &["--locked"]).success();
    assert_ne!(case.image(), image);
    // Somebody who gives the list of last week keeps updates away.
    case.list(&old);
    case.run("lock", &["--update"]).fails(1, &["the index of the repository 'mini'", "--allow-rollback"]);

    // Of several mirrors that have the same, the locked one stays while it is listed, and the others stand in for it.
    let mirror = Server::new();
    for path in case.mini.server.paths().into_iter().filter(|path| path.starts_with("/vendor/")) {
        mirror.put_body(path.clone(), case.mini.server.body(&path));
    }
    let other = new.replace(&case.mini.server.url(), &mirror.url());
    case.list(format!("{other}\n{new}\n"));
    let ended = case.run("lock", &["--update"]).success();
    assert!(ended.stdout.is_empty() && ended.stderr.contains("up to date"), "{}", ended.stderr);
    std::fs::remove_file(case.lock_path()).expect("the lock");
    case.run("lock", &[]).success();
    assert!(case.locked().contains(&format!("mirrors = [\"{new}\"]")), "{}", case.locked());
    drop(mirror);
    case.forget_downloads();
    case.run("fetch", &[]).success();

    // One that was made with a mirror of the build has no address of its own.
    std::fs::remove_file(case.lock_path()).expect("the lock");
    let given = ["--mirror", &format!("mini={new}")];
    let asked = case.mini.server.count(LIST);
    case.run("lock", &given).success();
    assert!(case.locked().contains("url = \"\""), "{}", case.locked());
    case.run("build", &["--locked"]).fails(2, &["no address of the repository 'mini'", "--mirror mini=URL"]);
    case.run("build", &[&["--locked"][..], &given].concat()).success();
    case.run("build", &["--offline"]).success();
    assert_eq!(case.mini.server.count(LIST), asked);
    case.place.assert_nothing_left(&["image"]);
}

#[test]
fn an_address_and_a_list() {
    let place = Place::new();
    let text = "name = \"x\"\nfamily = \"rpm\"\nrelease = \"1\"\n[[repository]]\nname = \"os\"\nurl = \"http://h/os\"\n\
                mirrorlist = \"http://h/list\"\ntrusted = true\n";
    let recipe = place.write("both.toml", text);
    place.build(&recipe, "image", &[]).run().fails(2, &["both.toml:7: repository.os.mirrorlist", "one of the two"]);
    place.assert_nothing_left(&[]);
}
