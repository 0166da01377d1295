//! Packages that are damaged, lead out of the root, or are none.

use std::path::Path;

use super::{base, refused};
use crate::util::deb::{Deb, Package};
use crate::util::lab::Lab;
use crate::util::mkbase::Place;
use crate::util::repo::change_deb;

#[test]
fn broken_packages() {
    type Break = fn(&Lab, &Deb);
    let cases: [(&str, Break); 4] = [
        ("one changed byte", |lab, deb| change_deb(&lab.server, deb, |bytes| bytes[100] ^= 1)),
        ("too long", |lab, deb| change_deb(&lab.server, deb, |bytes| bytes.push(b'\n'))),
        ("too short", |lab, deb| change_deb(&lab.server, deb, |bytes| bytes.truncate(bytes.len() - 1))),
        ("missing", |lab, deb| lab.server.remove(&format!("/{}", deb.path))),
    ];
    for (what, fault) in cases {
        eprintln!("{what}");
        let place = Place::new().with_own_cache();
        let deb = base();
        let lab = Lab::new(std::slice::from_ref(&deb));
        fault(&lab, &deb);
        let recipe = lab.recipe(&place, &[], "");
        refused(&place, &recipe, &["lab-base"]);
        assert!(lab.server.count("pool/lab-base") > 0, "{what}: it was asked for");
    }
}

/// Builds with a package whose paths lead out; whatever the program does, the host must be as it was.
fn hostile(name: &str, make: impl Fn(Package, &Path) -> Package, texts: &[&str]) {
    let place = Place::new().with_own_cache();
    let victim = place.path().join("victim");
    std::fs::create_dir(&victim).expect("a folder");
    std::fs::write(victim.join("file"), "untouched").expect("a file");
    let package = make(Package::new(name), &victim).build();
    let lab = Lab::complete(&[package]);
    let recipe = lab.recipe(&place, &[name], "");
    let ended = place.build(&recipe, "image", &["--keep"]).run();
    let names: Vec<_> = std::fs::read_dir(&victim).expect("the folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["file"], "{name}: nothing was added");
    assert_eq!(std::fs::read_to_string(victim.join("file")).expect("the file"), "untouched", "{name}");
    assert!(!Path::new("/mkbase-escaped").exists(), "{name}: written to the host's root");
    if !texts.is_empty() {
        ended.fails(1, texts);
    }
}

#[test]
fn package_with_parent_folders_in_its_paths() {
    hostile(
        "lab-dots",
        |p, _| p.file("./../../../../../../../../mkbase-escaped", b"x"),
        &["lab-dots", "out of the root"],
    );
    hostile(
        "lab-dots2",
        |p, _| p.file("usr/../../../../../../../mkbase-escaped", b"x"),
        &["lab-dots2", "out of the root"],
    );
}

#[test]
fn package_with_absolute_paths() {
    let absolute = |p: Package, victim: &Path| p.file(victim.join("new").to_str().expect("text"), b"x");
    hostile("lab-absolute", absolute, &[]);
}

#[test]
fn package_that_writes_through_its_own_link() {
    let through = |p: Package, victim: &Path| {
        p.symlink("./usr/share/door", victim.to_str().expect("text"))
            .file("./usr/share/door/file", b"changed")
            .file("./usr/share/door/new", b"x")
    };
    hostile("lab-door", through, &[]);
    let replaced = |p: Package, victim: &Path| {
        p.symlink("./usr/share/name", victim.join("file").to_str().expect("text")).file("./usr/share/name", b"changed")
    };
    hostile("lab-name", replaced, &[]);
    let relative = |p: Package, _: &Path| {
        p.symlink("./usr/share/up", "../../../../../../../../..").file("./usr/share/up/mkbase-escaped", b"x")
    };
    hostile("lab-up", relative, &[]);
}

#[test]
fn package_that_links_to_a_file_of_the_host() {
    let hard = |p: Package, victim: &Path| {
        p.hardlink("./usr/share/grab", victim.join("file").to_str().expect("text")).file("./usr/share/grab", b"changed")
    };
    hostile("lab-grab", hard, &["lab-grab"]);
    let dots = |p: Package, _: &Path| p.hardlink("./usr/share/grab", "../../../../../../../../etc/passwd");
    hostile("lab-grab-dots", dots, &["lab-grab-dots"]);
}

#[test]
fn files_that_are_no_packages() {
    let junk = [
        ("empty", Vec::new()),
        ("text", b"this is no package\n".to_vec()),
        ("no members", b"!<arch>\n".to_vec()),
        ("garbage members", crate::util::deb::archive(b"garbage", b"garbage")),
        ("a control archive that is a bomb", {
            let zeros = crate::util::deb::gzip(&vec![0; 256 << 20]);
            crate::util::deb::archive(&zeros, &zeros)
        }),
        ("members of other length", {
            let mut bytes = base().bytes.read();
            bytes.truncate(bytes.len() - 40);
            bytes
        }),
    ];
    for (what, bytes) in junk {
        eprintln!("{what}");
        let mut deb = base();
        let stanza: Vec<String> = deb
            .stanza
            .lines()
            .map(|line| match line.split(':').next() {
                Some("Size") => format!("Size: {}", bytes.len()),
                Some("SHA256") => format!("SHA256: {}", crate::util::sha256(&bytes)),
                _ => line.to_string(),
            })
            .collect();
        deb.stanza = stanza.join("\n") + "\n";
        deb.bytes = bytes.into();
        let place = Place::new().with_own_cache();
        let lab = Lab::new(&[deb]);
        let recipe = lab.recipe(&place, &[], "");
        refused(&place, &recipe, &["lab-base"]);
    }
}
