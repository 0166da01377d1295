//! What recipes say of where packages come from: mirrors, credentials, snapshots, priorities.

use super::tests::{STAND_ALONE, folder, load_in, with};
use super::*;

/// The address of each build mirror by repository, or the message.
fn build_urls(more: &str, change: fn(&mut Overrides)) -> Result<Vec<(String, Vec<String>)>, String> {
    let text = format!("{STAND_ALONE}\n{more}");
    let folder = folder(&[("mini.toml", &text)]);
    let plan = load_in(folder.path(), "mini.toml", &with(change)).map_err(|error| error.to_string())?;
    Ok(plan.repositories.into_iter().map(|r| (r.name, r.build_urls)).collect())
}

#[test]
fn mirrors_are_kept_in_turn() {
    let list = "[mirror]\nbuild.main = [\"http://a/\", \"http://u:p@b/{release}\"]\n";
    let urls = build_urls(list, |_| ()).expect("it is right");
    assert_eq!(urls[0], ("main".into(), vec!["http://a".into(), "http://u:p@b/two".into()]));
    assert_eq!(urls[1].1, urls[0].1, "updates are in the same archive as main");
    let given = |o: &mut Overrides| {
        o.mirrors = ["http://c/", "http://d/"].map(|url| ("main".into(), url.into())).into();
    };
    assert_eq!(build_urls(list, given).expect("it is right")[0].1, ["http://c", "http://d"]);
    let set = |o: &mut Overrides| o.sets = vec!["mirror.build.main=[\"http://e\", \"http://f\"]".into()];
    assert_eq!(build_urls("", set).expect("it is right")[0].1, ["http://e", "http://f"]);
    for bad in ["[]", "[1]", "{ a = \"http://x\" }", "[\"http://x\", \"y\"]"] {
        let error = build_urls(&format!("[mirror]\nbuild.main = {bad}\n"), |_| ()).expect_err(bad);
        assert!(error.contains("mini.toml:") && error.contains("mirror.build"), "{error}");
    }
}

/// A recipe of an RPM distribution with these lines in the place of where its repository is.
fn rpm(place: &str, more: &str, change: fn(&mut Overrides)) -> Result<Plan, String> {
    let text = format!(
        "name = \"mini\"\nfamily = \"rpm\"\nrelease = \"9\"\narch = \"amd64\"\n[[repository]]\nname = \"os\"\n{place}\n\
         trusted = true\n{more}"
    );
    let folder = folder(&[("mini.toml", &text)]);
    let mut overrides = Overrides::default();
    change(&mut overrides);
    load_in(folder.path(), "mini.toml", &overrides).map_err(|error| error.to_string())
}

#[test]
fn a_list_of_mirrors_stands_for_the_address() {
    const LIST: &str = "mirrorlist = \"https://u:p@h/list?release={release}&arch={arch}\"";
    let public = "https://h/list?release=9&arch=x86_64";
    let one = |plan: Plan| plan.repositories.into_iter().next().expect("it has one");
    let plan = rpm(LIST, "", |_| ()).expect("it is right");
    let digest = plan.digest.clone();
    let os = one(plan);
    let list = os.list().expect("it decides");
    assert_eq!((list.url.as_str(), list.full_url.as_str()), (public, "https://u:p@h/list?release=9&arch=x86_64"));
    assert_eq!((os.url.as_str(), os.image_url.as_str(), os.build_urls.len()), ("", "", 0));
    for (mirror, expected) in [
        ("https://h/os", "https://u:p@h/os"),
        ("https://h", "https://u:p@h"),
        ("http://h/os", "http://h/os"),
        ("https://h:444/os", "https://h:444/os"),
        ("https://h.example/os", "https://h.example/os"),
        ("https://other/https://h/", "https://other/https://h/"),
    ] {
        assert_eq!(list.with_credentials(mirror), expected, "credentials are for the server of the list");
    }
    let other = rpm(&LIST.replace("h/list", "h/other"), "", |_| ()).expect("it is right");
    assert_ne!(other.digest, digest);
    let auth = |o: &mut Overrides| o.auth = vec![("OS".into(), "a:b".into())];
    let os = one(rpm("mirrorlist = \"https://h/list\"", "", auth).expect("it is right"));
    assert_eq!(os.list().map(|list| list.full_url.as_str()), Some("https://a:b@h/list"));

    // Mirrors stand in for it, in the build and in the image.
    let given = |o: &mut Overrides| o.mirrors = vec![("os".into(), "http://m/".into())];
    let plan = rpm(LIST, "", given).expect("it is right");
    assert_eq!(plan.digest, digest, "where packages come from does not change them");
    let os = one(plan);
    assert!(os.list().is_none() && os.mirrorlist.is_some());
    assert_eq!((os.build_urls, os.url.as_str(), os.image_url.as_str()), (vec!["http://m".into()], "", ""));
    let os = one(rpm(LIST, "[mirror]\nimage.os = \"http://i\"\n", |_| ()).expect("it is right"));
    assert!(os.list().is_some() && os.image_url == "http://i");

    // A snapshot of the repository does too, but the image goes on with the list.
    let dated = format!("{LIST}\nsnapshot_url = \"http://snap/{{snapshot}}\"");
    let snapshot = |o: &mut Overrides| o.sets = vec!["snapshot=20261101T000000Z".into()];
    let os = one(rpm(&dated, "", snapshot).expect("it is right"));
    assert!(os.list().is_none() && os.mirrorlist.is_some() && os.image_url.is_empty());
    assert_eq!((os.url.as_str(), os.build_urls.len()), ("http://snap/20261101T000000Z", 1));
    let line = crate::lock::LockedRepository::new(&os, 1, String::new());
    assert_eq!((line.source(), line.mirrorlist.as_str()), ("http://snap/20261101T000000Z", ""));

    // Of an address and a list that which comes later counts.
    let set = |o: &mut Overrides| o.sets = vec!["repository.os.url=http://set".into()];
    let os = one(rpm(LIST, "", set).expect("it is right"));
    assert!(os.mirrorlist.is_none() && os.url == "http://set");
    let on = "[[on.9.repository]]\nname = \"os\"\nmirrorlist = \"http://on/list\"\n";
    let os = one(rpm("url = \"http://h\"", on, |_| ()).expect("it is right"));
    assert_eq!((os.url.as_str(), os.list().map(|list| list.url.as_str())), ("", Some("http://on/list")));
}

#[test]
fn a_list_of_mirrors_that_cannot_be_meant() {
    for (place, part) in [
        (
            "url = \"http://h\"\nmirrorlist = \"http://h/list\"",
            "mini.toml:8: repository.os.mirrorlist: this repository has a",
        ),
        ("priority = 1", "mini.toml:5: repository.os.url: this repository has neither url nor mirrorlist"),
        ("mirrorlist = \"ftp://u:secret@h/list\"", "mini.toml:7: repository.os.mirrorlist: ftp:// is not supported"),
        ("mirrorlist = \"http://h/list#x\"", "repository.os.mirrorlist: the address of a file has no '#'"),
        ("mirrorlist = \"http://h/{relase}\"", "unknown placeholder {relase}"),
        ("mirrorlist = [\"http://h\"]", "repository.os.mirrorlist must be a string"),
    ] {
        let error = rpm(place, "", |_| ()).map(|_| ()).expect_err(part);
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
    }
    let deb = STAND_ALONE.replacen("url        =", "mirrorlist =", 1);
    let folder = folder(&[("mini.toml", &deb)]);
    let error =
        load_in(folder.path(), "mini.toml", &with(|_| ())).map(|_| ()).expect_err("dpkg knows none").to_string();
    assert!(error.contains("mini.toml:15: repository.main.mirrorlist: only repositories of rpm have"), "{error}");
}

#[test]
fn credentials_of_the_environment_go_to_their_repository() {
    let auth = |o: &mut Overrides| o.auth = vec![("MAIN".into(), "al:p@ss".into()), ("OTHER".into(), "x:y".into())];
    let urls = build_urls("", auth).expect("it is right");
    assert_eq!(urls[0].1, ["http://al:p%40ss@example.org/mini"]);
    assert_eq!(urls[1].1, ["http://al:p%40ss@example.org/mini"], "updates are in the same archive as main");
    let urls = build_urls("[mirror]\nbuild.main = [\"http://a\", \"http://u:p@b\", \"file:///c\"]\n", auth);
    assert_eq!(urls.expect("it is right")[0].1, ["http://al:p%40ss@a", "http://u:p@b", "file:///c"]);
}

#[test]
fn a_snapshot_dates_the_addresses_and_the_files() {
    let dated = "[[repository]]\nname = \"main\"\nsnapshot_url = \"http://snap/{snapshot}/x\"\n";
    let child = |more: &str| {
        let text = format!("extends = \"./mini.toml\"\n{more}");
        let folder = folder(&[("mini.toml", STAND_ALONE), ("child.toml", &text)]);
        load_in(folder.path(), "child.toml", &with(|_| ())).map_err(|error| error.to_string())
    };
    let plan = child(&format!("snapshot = \"20261101T000000Z\"\n{dated}")).expect("it is right");
    let (main, updates) = (&plan.repositories[0], &plan.repositories[1]);
    assert_eq!((main.url.as_str(), main.snapshot), ("http://snap/20261101T000000Z/x", Some(1_793_491_200)));
    assert_eq!(main.build_urls, ["http://snap/20261101T000000Z/x"]);
    assert_eq!(main.image_url, "http://example.org/child", "the image goes on from there");
    assert_eq!((updates.url.as_str(), updates.snapshot), ("http://example.org/mini", None));
    assert_eq!(plan.epoch, Some(1_793_491_200));
    let ordinary = child(dated).expect("it is right");
    assert_eq!((ordinary.repositories[0].url.as_str(), ordinary.epoch), ("http://example.org/child", None));
    assert_ne!(ordinary.digest, plan.digest);

    let snapshot = "snapshot = \"20261101T000000Z\"\n";
    let mirror = child(&format!("{snapshot}{dated}[mirror]\nbuild.main = \"http://m/{{snapshot}}\"\n"));
    assert_eq!(mirror.expect("it is right").repositories[0].build_urls, ["http://m/20261101T000000Z"]);
    for (text, part) in [
        (snapshot.to_string(), "snapshot: no repository has a dated form"),
        (format!("snapshot = \"yesterday\"\n{dated}"), "'yesterday' is no moment"),
        (format!("{snapshot}{dated}[mirror]\nbuild.main = \"http://m\"\n"), "name a mirror that keeps them"),
        (format!("{snapshot}{}", dated.replace("{snapshot}", "x")), "it must have {snapshot}"),
        (format!("{dated}[mirror]\nbuild.main = \"http://m/{{snapshot}}\"\n"), "and it has none"),
    ] {
        let error = child(&text).map(|_| ()).expect_err(part);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn priorities_of_repositories() {
    let priority = |value: &str| {
        let text =
            STAND_ALONE.replace("components = [\"main\"]", &format!("components = [\"main\"]\npriority = {value}"));
        let folder = folder(&[("mini.toml", &text)]);
        load_in(folder.path(), "mini.toml", &with(|_| ())).map(|plan| plan.repositories[0].priority)
    };
    assert_eq!(priority("-1").expect("it is right"), Some(-1));
    assert_eq!(priority("990").expect("it is right"), Some(990));
    for bad in ["0", "32768", "\"100\"", "1.5"] {
        let error = priority(bad).expect_err(bad).to_string();
        assert!(error.contains("repository.main.priority must be a number from -32768 to 32767"), "{error}");
    }
}
