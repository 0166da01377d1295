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
