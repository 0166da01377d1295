//! Programs that stand in for those of packages while packages are configured.

use anyhow::Result;

use crate::root::Root;

/// A program, and the script in its place.
struct Stub {
    program: &'static str,
    text: &'static str,
}

const STUBS: [Stub; 3] = [
    // Scripts that start a daemon without asking policy-rc.d use it.
    Stub {
        program: "usr/sbin/start-stop-daemon",
        text: "#!/bin/sh\necho 'start-stop-daemon: nothing is started while packages are installed'\n",
    },
    // Renaming and removing configuration files of earlier versions begins with the question what version that was
    // (dpkg-maintscript-helper(1)). Where there was none, its answer is nothing, after three programs.
    Stub {
        program: "usr/bin/dpkg-maintscript-helper",
        text: r#"#!/bin/sh
if [ -n "$DPKG_MAINTSCRIPT_PACKAGE" ] && [ -z "$DPKG_ROOT" ]; then
    case "$DPKG_MAINTSCRIPT_NAME:$*" in
    preinst:rm_conffile\ *\ --\ install | preinst:mv_conffile\ *\ --\ install | \
    postinst:rm_conffile\ *\ --\ configure\  | postinst:mv_conffile\ *\ --\ configure\ ) exit 0 ;;
    esac
fi
exec "$0.REAL" "$@"
"#,
    },
    // Of a unit that nothing was recorded of, it says that it was enabled, and finds nothing to unmask
    // (deb-systemd-helper(1)). It is asked both for every unit, and needs 25 ms of perl each time to say so: a sixth of
    // the time in which a small system is configured. Everything else, and any other form of the question, it is left
    // to do itself.
    Stub {
        program: "usr/bin/deb-systemd-helper",
        text: r#"#!/bin/sh
state=/var/lib/systemd/deb-systemd
if [ -n "$DPKG_MAINTSCRIPT_PACKAGE" ] && [ -z "$DPKG_ROOT$_DEB_SYSTEMD_HELPER_DEBUG" ]; then
    case "$#:$1:$2" in
    2:unmask:[!-]*)
        [ -e $state-helper-masked ] || [ -e $state-user-helper-masked ] || exit 0 ;;
    3:--quiet:was-enabled)
        case "$3" in
        -* | */*) ;;
        *) [ -e "$state-helper-enabled/$3.dsh-also" ] || exit 0 ;;
        esac ;;
    esac
fi
exec "$0.REAL" "$@"
"#,
    },
];

/// Where a program is while its stub is in its place.
fn real(stub: &Stub) -> String {
    format!("{}.REAL", stub.program)
}

/// The stubs that are in place.
#[must_use]
pub struct Stubs(Vec<&'static Stub>);

impl Stubs {
    /// Puts a stub in place of every such program that is in the tree.
    pub fn place(root: &Root) -> Result<Stubs> {
        let mut placed = Vec::new();
        for stub in &STUBS {
            if root.lstat(stub.program)?.is_some() {
                root.rename(stub.program, real(stub))?;
                root.write(stub.program, stub.text, 0o755)?;
                placed.push(stub);
            }
        }
        Ok(Stubs(placed))
    }

    /// Puts the programs back.
    pub fn remove(self, root: &Root) -> Result<()> {
        self.0.into_iter().try_for_each(|stub| root.rename(real(stub), stub.program))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    /// Runs a stub in place of a program that only says how it was called.
    fn answer(stub: &Stub, variables: &[(&str, &str)], arguments: &[&str], state: &[&str]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| {
            std::fs::write(path(name), text).expect("a file");
            std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        };
        // What the stub looks for in the tree it finds in this folder.
        let root = folder.path().to_str().expect("text");
        write("program", &stub.text.replace("/var/lib/systemd", root));
        write("program.REAL", "#!/bin/sh\necho real \"$@\"\n");
        for name in state {
            std::fs::create_dir_all(path(name).parent().expect("a parent")).expect("a folder");
            std::fs::write(path(name), "").expect("a file");
        }
        let mut command = Command::new("/bin/sh");
        command.arg(path("program")).args(arguments).env_clear().env("PATH", "/usr/bin:/bin");
        command.envs(variables.iter().copied());
        let output = command.output().expect("it runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn stub(program: &str) -> &'static Stub {
        STUBS.iter().find(|stub| stub.program.ends_with(program)).expect("a stub")
    }

    #[test]
    fn questions_about_versions_that_never_were_are_answered() {
        let stub = stub("dpkg-maintscript-helper");
        let rm = |end: &[&'static str]| [&["rm_conffile", "/etc/a b", "1~", "--"], end].concat();
        for (name, arguments, answered) in [
            ("preinst", rm(&["install"]), true),
            ("postinst", rm(&["configure", ""]), true),
            ("preinst", vec!["mv_conffile", "/etc/a", "/etc/b", "1~", "a", "--", "install"], true),
            ("preinst", rm(&["install", "1"]), false),
            ("preinst", rm(&["upgrade", "1"]), false),
            ("postinst", rm(&["configure", "1"]), false),
            ("postinst", rm(&["install"]), false),
            ("preinst", rm(&["configure", ""]), false),
            ("postrm", rm(&["purge"]), false),
            ("preinst", vec!["dir_to_symlink", "/a", "b", "1~", "--", "install"], false),
            ("preinst", vec!["supports", "rm_conffile"], false),
        ] {
            let variables = [("DPKG_MAINTSCRIPT_NAME", name), ("DPKG_MAINTSCRIPT_PACKAGE", "x")];
            let said = answer(stub, &variables, &arguments, &[]);
            assert_eq!(said.is_empty(), answered, "{name} {arguments:?}: {said}");
            let elsewhere = [variables[0], variables[1], ("DPKG_ROOT", "/x")];
            assert!(answer(stub, &elsewhere, &arguments, &[]).starts_with("real "), "{arguments:?}");
            assert!(answer(stub, &variables[..1], &arguments, &[]).starts_with("real "), "{arguments:?}");
        }
    }

    #[test]
    fn questions_about_unknown_units_are_answered() {
        let stub = stub("deb-systemd-helper");
        let package = [("DPKG_MAINTSCRIPT_PACKAGE", "x")];
        let enabled = "deb-systemd-helper-enabled/a.timer.dsh-also";
        let masked = "deb-systemd-helper-masked/b.service";
        for (arguments, state, answered) in [
            (&["unmask", "a.timer"][..], &[][..], true),
            (&["--quiet", "was-enabled", "a.timer"], &[], true),
            (&["unmask", "a.timer"], &[enabled], true),
            (&["--quiet", "was-enabled", "b.timer"], &[enabled], true),
            (&["unmask", "a.timer"], &[masked], false),
            (&["unmask", "a.timer"], &["deb-systemd-user-helper-masked/b"], false),
            (&["--quiet", "was-enabled", "a.timer"], &[enabled], false),
            (&["was-enabled", "a.timer"], &[], false),
            (&["--quiet", "was-enabled", "a.timer", "b.timer"], &[], false),
            (&["--user", "unmask", "a.timer"], &[], false),
            (&["unmask", "a.timer", "b.timer"], &[], false),
            (&["unmask", "--user"], &[], false),
            (&["enable", "a.timer"], &[], false),
        ] {
            let said = answer(stub, &package, arguments, state);
            let expected = if answered { String::new() } else { format!("real {}\n", arguments.join(" ")) };
            assert_eq!(said, expected, "{arguments:?} with {state:?}");
            assert!(answer(stub, &[], arguments, state).starts_with("real "), "{arguments:?}");
        }
    }

    #[test]
    fn programs_are_put_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::open(folder.path()).expect("it opens");
        root.create_dir_all("usr/bin", 0o755).expect("a folder");
        root.create_dir_all("usr/sbin", 0o755).expect("a folder");
        root.write("usr/bin/deb-systemd-helper", "the program", 0o755).expect("a file");
        let stubs = Stubs::place(&root).expect("they are placed");
        assert!(root.read_text("usr/bin/deb-systemd-helper").expect("there").starts_with("#!/bin/sh\n"));
        assert!(!root.exists("usr/sbin/start-stop-daemon"));
        stubs.remove(&root).expect("they go");
        assert_eq!(root.read_text("usr/bin/deb-systemd-helper").expect("there"), "the program");
        assert!(!root.exists("usr/bin/deb-systemd-helper.REAL"));
    }
}
