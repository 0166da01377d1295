//! What is wrong with a recipe or with the command line, and how it is said.

use super::*;

#[test]
fn faults_name_file_line_and_key() {
    // What is added to a recipe that extends mini.toml, from line 2 on, and what the message must hold.
    let cases = [
        ("release = \"three\"", "corp.toml:2: release: unknown release 'three'"),
        ("release = \"tow\"", "did you mean 'two'?"),
        ("aliases.x = \"tow\"", "corp.toml:2: aliases.x: unknown release 'tow'; did you mean 'two'?"),
        ("family = \"dep\"", "corp.toml:2: family: unknown family 'dep'; did you mean 'deb'?"),
        ("arch = \"amd46\"", "corp.toml:2: arch: unknown architecture 'amd46'; did you mean 'amd64'?"),
        ("arch = \"s390x\"", "two does not exist for s390x (there are amd64, arm64)"),
        ("archs = [\"x\"]", "corp.toml:2: archs: unknown architecture 'x'"),
        ("name = \"a/b\"", "corp.toml:2: name: 'a/b' is no name"),
        ("[on.tow]", "corp.toml:2: on.tow: unknown release 'tow'; did you mean 'two'?"),
        (
            "[mirror]\nbuild.mian = \"http://x\"",
            "corp.toml:3: mirror.build: no repository is called 'mian'; did you mean",
        ),
        ("[mirror]\nbuild.main = \"x\"", "corp.toml:3: mirror.build.main: this is no address"),
        ("[mirror]\nimage.main = \"http://u:secret@x\"", "corp.toml:3: mirror.image.main: the image would hold"),
        ("[[repository]]\nname = \"x\"", "corp.toml:2: repository.x.url: this repository has no url"),
        ("[[repository]]\nname = \"x\"\nurl = \"ftp://x\"", "corp.toml:4: repository.x.url: ftp:// is not supported"),
        ("[[repository]]\nname = \"x\"\nurl = \"http://x\"", "repository.x.suite: this repository has no suite"),
        (
            "[[repository]]\nname = \"x\"\nurl = \"http://x\"\nsuite = \"{realease}\"",
            "corp.toml:5: repository.x.suite: unknown placeholder {realease}; did you mean 'release'?",
        ),
        ("[[repository]]\nname = \"x\"\nurl = \"http://x\"\nsuite = \"a\"", "repository.x.components: this repository"),
        ("[[repository]]\nname = \"x\"\nurl = \"http://x\"\nsuite = \"./\"\ncomponents = [\"a\"]", "has no components"),
        (
            "[[repository]]\nname = \"x\"\nurl = \"http://x\"\nsuite = \"./\"",
            "repository.x.key: this repository has no key",
        ),
        ("[[repository]]\nname = \"main\"\nkey = \"keys/x\"", "corp.toml:4: repository.main.key: "),
        ("[[repository]]\nname = \"main\"\nkey = \"keys/x\"", "keys/x: there is no such file"),
        (
            "[[repository]]\nname = \"main\"\nimage_key = \"x\"",
            "corp.toml:4: repository.main.image_key: 'x' must be abs",
        ),
        (
            "[[repository]]\nname = \"main\"\nreleases = [\"tow\"]",
            "corp.toml:4: repository.main.releases: unknown release",
        ),
        (
            "[[repository]]\nname = \"main\"\nkey = { url = \"http://x\" }",
            "repository.main.key.fingerprint: a key that",
        ),
        ("[packages]\ninclude = [\"-o x\"]", "corp.toml:3: packages.include: '-o x' is no package name"),
        ("[packages]\npriorities = [\"requird\"]", "unknown priority 'requird'; did you mean 'required'?"),
        ("[packages]\nfiles = [\"x.deb\"]", "x.deb: there is no such file"),
        ("[packages]\nfiles = [\"keys\"]", "keys: this is no ordinary file"),
        ("[system]\ntimezone = \"../x\"", "corp.toml:3: system.timezone: '../x' is no time zone"),
        ("[system]\nlocale = \"a b\"", "corp.toml:3: system.locale: 'a b' is no locale"),
        ("[[user]]\nname = \"A\"", "corp.toml:3: user.A.name: 'A' is no account name"),
        ("[[user]]\nname = \"a\"\nhome = \"x\"", "corp.toml:4: user.a.home: 'x' must be absolute"),
        (
            "[[user]]\nname = \"a\"\nuid = 5\n[[user]]\nname = \"b\"\nuid = 5",
            "corp.toml:5: user.b.uid: a has the same id",
        ),
        ("[[file]]\npath = \"/a/../b\"\ncontent = \"\"", "corp.toml:2: file.path: '/a/../b' has an empty, '.' or '..'"),
        ("[[file]]\npath = \"/a\"", "corp.toml:2: file.\"/a\": give either source or content"),
        ("[[file]]\npath = \"/a\"\ncontent = \"\"\nsource = \"a\"", "give either source or content"),
        ("[[file]]\npath = \"/a\"\nsource = \"gone\"", "file.\"/a\".source: "),
        ("[[file]]\npath = \"/a\"\ncontent = \"\"\nmode = \"rw\"", "corp.toml:5: file.\"/a\".mode: 'rw' is no mode"),
        (
            "[[file]]\npath = \"/a\"\ncontent = \"\"\nowner = \"a b\"",
            "corp.toml:5: file.\"/a\".owner: 'a b' is no account",
        ),
        ("[[script]]\nrun = \" \"", "corp.toml:2: script.0.run: there is nothing to run"),
        ("[[script]]\nrun = \"x\"\nenv = { \"A=B\" = \"\" }", "corp.toml:4: script.0.env: 'A=B' is no name of an env"),
        ("[image]\nworkdir = \"x\"", "corp.toml:3: image.workdir: 'x' must be absolute"),
        ("[image]\nuser = \"A b\"", "corp.toml:3: image.user: 'A b' is no account name"),
        (
            "[image]\nlabels.a = \"{nam}\"",
            "corp.toml:3: image.labels.a: unknown placeholder {nam}; did you mean 'name'?",
        ),
    ];
    for (text, expected) in cases {
        let folder = folder(&[("corp.toml", &format!("extends = \"mini.toml\"\n{text}\n"))]);
        let error = load_in(folder.path(), "corp.toml", &with(|_| ())).expect_err(text);
        assert_eq!(exit_code(&error), Exit::Usage, "{text}");
        let message = format!("{error:#}");
        assert!(message.contains(expected), "{text}\n gave {message}\n not  {expected}");
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn faults_of_the_command_line_name_the_option() {
    type Change = fn(&mut Overrides);
    let cases: [(&str, Change, &str); 12] = [
        ("mini.toml:tow", |_| (), "unknown release 'tow'; did you mean 'two'? (there are one, two)"),
        ("mini.toml:one", |o| o.release = Some("two".into()), "two releases are asked for: one and two"),
        ("mini.toml", |o| o.variant = Some("cor".into()), "unknown variant 'cor'; did you mean 'core'?"),
        ("mini.toml", |o| o.variant = None, "choose a variant: there are core"),
        ("mini.toml", |o| o.arch = Some("x".into()), "unknown architecture 'x'"),
        ("mini.toml", |o| o.include = vec!["a b".into()], "--include: packages.include: 'a b' is no package name"),
        ("mini.toml", |o| o.mirrors = vec![("mian".into(), "http://x".into())], "did you mean 'main'?"),
        (
            "mini.toml",
            |o| o.mirrors = vec![("main".into(), "secret".into())],
            "--mirror main: mirror.build.main: this is",
        ),
        ("mini.toml", |o| o.sets = vec!["name=a b".into()], "--set name: name: 'a b' is no name"),
        ("mini.toml", |o| o.sets = vec!["nam=secret".into()], "--set nam: unknown key nam; did you mean 'name'?"),
        ("gone.toml", |_| (), "there is no such file"),
        ("keys", |_| (), "no ordinary file"),
    ];
    let folder = folder(&[]);
    for (spec, change, expected) in cases {
        let error = load_in(folder.path(), spec, &with(change)).expect_err(expected);
        assert_eq!(exit_code(&error), Exit::Usage, "{expected}");
        let message = format!("{error:#}");
        assert!(message.contains(expected), "{spec}\n gave {message}\n not  {expected}");
        assert!(!message.contains("secret"), "{message}");
    }
}
