use super::*;
use crate::error::{Exit, exit_code};

/// 2025-08-09, day 20309.
const EPOCH: i64 = 1_754_700_000;

fn tree() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let root = Root::open(dir.path()).expect("it opens");
    for folder in ["etc/skel/.config", "usr/bin", "usr/sbin", "home"] {
        root.create_dir_all(folder, 0o755).expect("a folder");
    }
    root.symlink("usr/bin", "bin").expect("a link");
    for (path, text, mode) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n", 0o644),
        ("etc/group", "root:x:0:\nadm:x:4:\nsudo:x:27:syslog\nwww-data:x:33:\nusers:x:1001:\n", 0o644),
        ("etc/shadow", "root:*:20000:0:99999:7:::\n", 0o640),
        ("etc/gshadow", "root:*::\nadm:*::\nsudo:*::syslog\n", 0o640),
        ("etc/subuid", "", 0o644),
        ("etc/subgid", "x:100000:65536\n", 0o644),
        ("etc/shells", "# shells\n/bin/sh\n/bin/bash\n/bin/zsh\n", 0o644),
        ("etc/login.defs", "# HOME_MODE 0777\nHOME_MODE\t0750\nPASS_MAX_DAYS 90\n", 0o644),
        ("etc/skel/.profile", "skel", 0o644),
        ("etc/skel/.config/run", "skel", 0o755),
        ("usr/bin/dash", "", 0o755),
        ("usr/bin/bash", "", 0o755),
        ("usr/sbin/nologin", "", 0o755),
        ("usr/bin/text", "", 0o644),
    ] {
        root.write(path, text, mode).expect(path);
    }
    root.symlink("dash", "usr/bin/sh").expect("a link");
    root.symlink(".profile", "etc/skel/.link").expect("a link");
    (dir, root)
}

fn user(name: &str) -> UserAccount {
    UserAccount { name: name.into(), uid: None, gid: None, groups: vec![], home: None, shell: None, system: false }
}

/// An id that this process may give files to: its own, unless it is root.
fn own_id() -> (u32, u32) {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    if uid == 0 { (4711, 4712) } else { (uid, gid) }
}

fn last_line(root: &Root, path: &str) -> String {
    root.read_text(path).expect(path).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn account_and_home_folder() {
    let (_dir, root) = tree();
    let (uid, gid) = own_id();
    let app = UserAccount {
        uid: Some(uid),
        gid: Some(gid),
        groups: vec!["sudo".into(), "adm".into(), "app".into()],
        shell: Some("/bin/bash".into()),
        ..user("app")
    };
    add(&[app], EPOCH, &root).expect("added");
    assert_eq!(last_line(&root, "etc/passwd"), format!("app:x:{uid}:{gid}::/home/app:/bin/bash"));
    assert_eq!(
        root.read_text("etc/group").expect("there"),
        format!("root:x:0:\nadm:x:4:app\nsudo:x:27:syslog,app\nwww-data:x:33:\nusers:x:1001:\napp:x:{gid}:\n")
    );
    assert_eq!(last_line(&root, "etc/shadow"), "app:!:20309:0:90:7:::");
    assert_eq!(root.read_text("etc/gshadow").expect("there"), "root:*::\nadm:*::app\nsudo:*::syslog,app\napp:!::\n");
    for (path, mode) in [
        ("home/app", 0o750),
        ("home/app/.profile", 0o644),
        ("home/app/.config", 0o755),
        ("home/app/.config/run", 0o755),
    ] {
        let stat = root.lstat(path).expect("stat").expect(path);
        assert_eq!((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid), (mode, uid, gid), "{path}");
    }
    assert_eq!(root.read_link("home/app/.link").expect("a link"), Path::new(".profile"));
    assert_eq!(root.stat("etc/shadow").expect("stat").expect("there").st_mode & 0o7777, 0o640);
    assert!(root.lstat("etc/.mkbase-passwd").expect("stat").is_none());
}

#[test]
fn ids_are_the_next_free_ones() {
    let (_dir, root) = tree();
    let accounts = Accounts::read(&root).expect("it reads");
    let mut system = user("svc");
    system.system = true;
    let mut pinned = user("pinned");
    pinned.uid = Some(1000);
    let mut group = user("grouped");
    group.gid = Some(50);
    let all = [user("a"), system.clone(), pinned.clone(), group.clone()];
    // 1000 is asked for by another user, 1001 is a group of the image.
    assert_eq!(accounts.ids(&user("a"), &all, "user[0]").expect("free"), (1002, 1002));
    assert_eq!(accounts.ids(&system, &all, "user[0]").expect("free"), (999, 999));
    assert_eq!(accounts.ids(&pinned, &all, "user[0]").expect("free"), (1000, 1000));
    assert_eq!(accounts.ids(&group, &all, "user[0]").expect("free"), (1001, 50));
}

#[test]
fn system_accounts_and_subordinate_ids() {
    let (_dir, root) = tree();
    let mut accounts = Accounts::read(&root).expect("it reads");
    let mut svc = user("svc");
    svc.system = true;
    let users = [svc, user("one"), user("two")];
    for user in &users {
        let account = accounts.decide(user, &users, "user[0]", &root).expect("right");
        accounts.append(&account, EPOCH);
    }
    accounts.write(&root).expect("written");
    let passwd = root.read_text("etc/passwd").expect("there");
    assert!(passwd.ends_with(
        "svc:x:999:999::/nonexistent:/usr/sbin/nologin\none:x:1000:1000::/home/one:/bin/sh\n\
         two:x:1002:1002::/home/two:/bin/sh\n"
    ));
    assert!(root.read_text("etc/shadow").expect("there").contains("\nsvc:*:20309::::::\n"));
    assert_eq!(root.read_text("etc/subuid").expect("there"), "one:100000:65536\ntwo:165536:65536\n");
    assert_eq!(last_line(&root, "etc/subgid"), "two:231072:65536");
}

#[test]
fn trees_without_shadow_files() {
    let (_dir, root) = tree();
    for path in ["etc/shadow", "etc/gshadow", "etc/subuid", "etc/subgid", "etc/login.defs"] {
        root.remove_file(path).expect(path);
    }
    let (uid, gid) = own_id();
    let app = UserAccount { uid: Some(uid), gid: Some(gid), home: Some("/srv/app".into()), ..user("app") };
    add(&[app], 0, &root).expect("added");
    assert_eq!(last_line(&root, "etc/passwd"), format!("app:*:{uid}:{gid}::/srv/app:/bin/sh"));
    assert!(!root.exists("etc/shadow") && !root.exists("etc/gshadow") && !root.exists("etc/subuid"));
    assert_eq!(root.lstat("srv/app").expect("stat").expect("there").st_mode & 0o7777, 0o700);
}

#[test]
fn a_folder_that_is_there_is_left_alone() {
    let (_dir, root) = tree();
    root.create_dir("home/app", 0o711).expect("a folder");
    add(&[user("app")], EPOCH, &root).expect("added");
    let stat = root.lstat("home/app").expect("stat").expect("there");
    assert_eq!(stat.st_mode & 0o7777, 0o711);
    assert!(root.read_dir("home/app").expect("a folder").is_empty());
}

#[test]
fn mistakes_name_the_key_and_write_nothing() {
    type Change = fn(&mut UserAccount);
    let cases: &[(Change, &str)] = &[
        (|u| u.name = "1a".into(), "user[1].name: '1a' is no user name"),
        (|u| u.name = "a:b".into(), "user[1].name: 'a:b' is no user name"),
        (|u| u.name = "a\nb".into(), "user[1].name: "),
        (|u| u.name = String::new(), "user[1].name: "),
        (|u| u.name = "x".repeat(32), "user[1].name: "),
        (|u| u.name = "www-data".into(), "user[1].name: the image already has a user 'www-data'"),
        (|u| u.name = "adm".into(), "user[1].name: the image already has a group 'adm'"),
        (|u| u.name = "first".into(), "user[1].name: the image already has a user 'first'"),
        (|u| u.uid = Some(33), "user[1].uid: 33 belongs to 'www-data'"),
        (|u| u.uid = Some(2000), "user[1].uid: 2000 belongs to 'first'"),
        (|u| u.uid = Some(4), "user[1].uid: 4 is the id of the group 'adm' in the image; set user[1].gid"),
        (|u| u.gid = Some(27), "user[1].gid: 27 belongs to 'sudo'"),
        (|u| u.uid = Some(u32::MAX), "user[1].uid: 4294967295 means 'no id'"),
        (
            |u| u.groups = vec!["adm".into(), "sdo".into()],
            "user[1].groups[1]: no group 'sdo' in the image; did you mean 'sudo'?",
        ),
        (
            |u| u.shell = Some("/bin/bsh".into()),
            "user[1].shell: no program /bin/bsh in the image; did you mean '/bin/bash'?",
        ),
        (
            |u| u.shell = Some("/usr/bin/fish".into()),
            "user[1].shell: no program /usr/bin/fish in the image; add the package",
        ),
        (|u| u.shell = Some("/bin/text".into()), "user[1].shell: no program /bin/text"),
        (|u| u.shell = Some("bash".into()), "user[1].shell: 'bash' is not an absolute path"),
        (|u| u.home = Some("/a:b".into()), "user[1].home: '/a:b' is not an absolute path"),
        (|u| u.home = Some("/home/../x".into()), "user[1].home: "),
    ];
    for (change, says) in cases {
        let (_dir, root) = tree();
        let before = root.read_text("etc/passwd").expect("there");
        let mut first = user("first");
        first.uid = Some(2000);
        let mut second = user("app");
        change(&mut second);
        let error = add(&[first, second], EPOCH, &root).expect_err(says);
        assert_eq!(exit_code(&error), Exit::Usage, "{error}");
        assert!(error.to_string().starts_with(says), "{says}: {error}");
        assert_eq!(root.read_text("etc/passwd").expect("there"), before);
        assert!(root.read_dir("home").expect("a folder").is_empty());
    }
}
