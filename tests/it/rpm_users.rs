//! Users and groups that packages provide, rpm-sysusers(7).

use std::path::Path;
use std::process::Command;

use crate::skip;
use crate::util::mkbase::Place;
use crate::util::rpm::mini;
use crate::util::{has_program, is_root, tree};

#[test]
fn files_belong_to_the_users_that_their_package_provides() {
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("files_belong_to_the_users_that_their_package_provides: {why}"),
    };
    let place = Place::new();
    let recipe = mini.recipe(&place, "");
    place.build(&recipe, "image", &["--include", "mini-daemon"]).arguments(mini.mirrors()).run().success();
    let path = place.out("image").join("rootfs.tar");
    let tree = tree::of_tar(&path);
    let bytes = tree::unpacked(&path);
    let text_of = |name: &str| {
        let content = tree::file_in_tar(&bytes, &format!("etc/{name}")).expect("it is there");
        String::from_utf8(content).expect("text")
    };
    let folder = &tree["var/lib/mini-daemon"];
    assert_eq!((folder.uid, folder.gid, folder.mode & 0o7777), (999, 999, 0o750));
    let data = &tree["var/lib/mini-daemon/data"];
    assert_eq!((data.uid, data.gid, data.mode & 0o7777), (0, 987, 0o640));
    for (name, line) in [
        ("passwd", "mini-daemon:x:999:999:Mini daemon:/var/lib/mini-daemon:/usr/sbin/nologin"),
        ("group", "mini-daemon:x:999:"),
        ("group", "mini-data:x:987:mini-daemon"),
    ] {
        let text = text_of(name);
        assert!(text.lines().any(|known| known == line), "{name} has no {line}:\n{text}");
    }
    let shadow = text_of("shadow");
    assert!(shadow.lines().any(|line| line.starts_with("mini-daemon:!*:")), "{shadow}");
    for name in ["passwd", "group", "shadow", "gshadow"] {
        assert!(!tree.contains_key(&format!("etc/{name}.rpmnew")), "{name}");
    }
    place.assert_nothing_left(&["image"]);
}

/// What mkbase's own program makes of lines is what that of systemd does.
#[test]
fn lines_are_followed_as_by_systemd() {
    if !has_program("systemd-sysusers") || !is_root() {
        skip!("lines_are_followed_as_by_systemd: it takes root and systemd-sysusers");
    }
    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbin:x:1:1:bin:/bin:/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\nbin:x:1:\nmail:x:12:\n";
    let place = Place::new();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/src/family/rpm/driver/sysusers.py");
    for (passwd, group, lines) in [
        ("", "", "u dnsmasq - \"Dnsmasq DHCP and DNS server\" /var/lib/dnsmasq\n"),
        ("", "", "u web 48 \"Web\" /srv /bin/sh\nu db 26:mail 'DB'\ng video 39\n"),
        ("", "", "u x 1\ng y 12\nu z 12\n"),
        ("", "", "g a -\nu a -\nu b -:a\nu c 77:12\nu s 12:1\nu t 1:1\n"),
        ("", "", "m bin mail\nm new newgroup\nu dd -\nm dd mail\n"),
        ("", "", "m a b\nm a mail\nm root b\ng q 999\nu r 998\n"),
        ("", "", "u zz -\nu aa -\ng mm -\nu mm2 -\n"),
        ("", "", "u bin 7 Other /x\ng mail 3\n# nothing\n\n  u  sp   -   \"A  b\"  - -\n"),
        ("", "", "g of /etc/passwd\nu by /etc/nosuch\n"),
        ("", "web:x:48:\nx:x:999:\n", "u web -\nu q 1:web\nu a -\nu b -\n"),
        ("w:x:555:12:::\n", "", "g w -\nu k 555\ng z 555\n"),
        ("+::::::\n", "+:::\n", "u a -\n"),
    ] {
        let of = |name: &str, command: &mut Command| {
            let root = place.path().join(name);
            std::fs::create_dir_all(root.join("etc")).expect("a folder");
            std::fs::write(root.join("etc/passwd"), format!("{PASSWD}{passwd}")).expect("a file");
            std::fs::write(root.join("etc/group"), format!("{GROUP}{group}")).expect("a file");
            let input = place.write("lines", lines);
            command.args(["--replace", "/usr/lib/sysusers.d/x.conf", "--root"]).arg(&root).arg("-");
            command.stdin(std::fs::File::open(input).expect("a file")).env("SOURCE_DATE_EPOCH", "1700000000");
            let output = command.output().expect("it runs");
            assert!(output.status.success(), "{name}: {lines}{}", String::from_utf8_lossy(&output.stderr));
            let files = ["passwd", "group", "shadow", "gshadow"].map(|file| account_file(&root.join("etc").join(file)));
            std::fs::remove_dir_all(root).expect("it goes");
            files
        };
        let ours = of("ours", Command::new("python3").args(["-I", program]));
        let theirs = of("theirs", &mut Command::new("systemd-sysusers"));
        assert_eq!(ours, theirs, "{lines}");
    }
}

/// Mode and content of a file, if it is there.
fn account_file(path: &Path) -> Option<(u32, String)> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = std::fs::metadata(path).ok()?.mode() & 0o7777;
    Some((mode, std::fs::read_to_string(path).expect("text")))
}
