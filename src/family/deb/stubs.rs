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
