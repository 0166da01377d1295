//! Without root: the whole program goes on in a user namespace, where it is root over the user's subordinate ids.
//!
//! user_namespaces(7), subuid(5), newuidmap(1).

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, Uid, User};

use super::sys;

/// Ids an image may use: 0 to 65535, of which 65534 is `nobody`.
const IDS: u64 = 65_536;

/// Whether [`enter`] made a user namespace.
static ENTERED: AtomicBool = AtomicBool::new(false);
/// The user outside of it.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Whether this program runs in a user namespace that it made itself.
pub fn entered() -> bool {
    ENTERED.load(Ordering::Relaxed)
}

/// The user that this program runs for, as the host knows it.
pub fn owner() -> u32 {
    if entered() { OWNER.load(Ordering::Relaxed) } else { Uid::effective().as_raw() }
}

/// Makes this process root in a user namespace of its own, if it is not root already. Must be called while the
/// process has one thread.
pub fn enter() -> Result<()> {
    if Uid::effective().is_root() {
        return Ok(());
    }
    let uid = Uid::current();
    let name = User::from_uid(uid).context("looking up the current user")?.map(|u| u.name);
    let name = name.unwrap_or_else(|| uid.to_string());
    let subuid = subordinate("/etc/subuid", &name, uid.as_raw())?;
    let subgid = subordinate("/etc/subgid", &name, uid.as_raw())?;
    let gid = nix::unistd::Gid::current().as_raw();

    // The maps must be written from outside the namespace, so a child is made before it is entered.
    let (mut entered_read, mut entered_write) = std::io::pipe().context("making a pipe")?;
    let (mut said_read, mut said_write) = std::io::pipe().context("making a pipe")?;
    let parent = nix::unistd::getpid();
    match sys::fork().context("starting the helper that maps ids")? {
        ForkResult::Child => {
            drop(entered_write);
            let mut byte = [0];
            // End of file instead of a byte: the namespace could not be made, and there is nothing to map.
            let mapped = match entered_read.read(&mut byte) {
                Ok(1) => {
                    map(parent, "newuidmap", uid.as_raw(), subuid).and_then(|()| map(parent, "newgidmap", gid, subgid))
                }
                _ => Ok(()),
            };
            let code = match mapped {
                Ok(()) => 0,
                Err(error) => {
                    // Should the parent be gone, nobody is left to be told.
                    let _ = write!(said_write, "{error:#}");
                    1
                }
            };
            std::process::exit(code)
        }
        ForkResult::Parent { child } => {
            drop((entered_read, said_write));
            let unshared = nix::sched::unshare(CloneFlags::CLONE_NEWUSER);
            if unshared.is_ok() {
                entered_write.write_all(&[1]).context("telling the helper that maps ids to go on")?;
            }
            drop(entered_write);
            let mut said = String::new();
            said_read.read_to_string(&mut said).context("listening to the helper that maps ids")?;
            let ended = waitpid(child, None).context("waiting for the helper that maps ids")?;
            unshared.map_err(|error| {
                anyhow!(
                    "making a user namespace: {error}; allow it (sysctl user.max_user_namespaces, \
                     kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns) or run as root"
                )
            })?;
            if ended != WaitStatus::Exited(child, 0) {
                if said.is_empty() {
                    said = format!("the helper that maps ids ended early ({ended:?})");
                }
                bail!("giving the user namespace its ids: {said}");
            }
        }
    }
    nix::unistd::setresgid(0.into(), 0.into(), 0.into()).context("becoming root's group in the user namespace")?;
    nix::unistd::setresuid(0.into(), 0.into(), 0.into()).context("becoming root in the user namespace")?;
    OWNER.store(uid.as_raw(), Ordering::Relaxed);
    ENTERED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Runs `newuidmap` or `newgidmap`: the user is 0, the subordinate ids follow.
fn map(process: Pid, tool: &str, own: u32, first: u64) -> Result<()> {
    let numbers = [process.as_raw() as u64, 0, u64::from(own), 1, 1, first, IDS - 1];
    let output =
        Command::new(tool).args(numbers.map(|n| n.to_string())).stdin(Stdio::null()).output().map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::NotFound => anyhow!(
                    "{tool} is not installed, and without root mkbase needs it to use your subordinate ids; \
                 install it (apt-get install uidmap, dnf install shadow-utils, apk add shadow-subids) or run as root"
                ),
                _ => anyhow!("running {tool}: {error}"),
            }
        })?;
    if !output.status.success() {
        bail!("{tool} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The first of the user's subordinate ids.
fn subordinate(file: &str, name: &str, uid: u32) -> Result<u64> {
    let text = if Path::new(file).exists() {
        std::fs::read_to_string(file).with_context(|| format!("reading {file}"))?
    } else {
        String::new()
    };
    find_range(&text, name, uid).ok_or_else(|| {
        anyhow!(
            "{file} gives {name} fewer than {IDS} subordinate ids in one range, and without root mkbase needs them \
             to make files of other owners; as root run: usermod --add-subuids 100000-165535 --add-subgids \
             100000-165535 {name} (with ids that nobody has yet)"
        )
    })
}

/// Finds a range of at least [`IDS`] − 1 ids in the text of `/etc/subuid`: `NAME-OR-ID:FIRST:COUNT` lines.
fn find_range(text: &str, name: &str, uid: u32) -> Option<u64> {
    let uid = uid.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.trim().splitn(3, ':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let (first, count): (u64, u64) = (first.parse().ok()?, count.parse().ok()?);
        ((owner == name || owner == uid) && count >= IDS - 1).then_some(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ranges() {
        let text = "alice:100000:65536\nbob:1:1000\nbob:200000:65536\n1003:300000:65535\nbroken\nx:y:z\n";
        assert_eq!(find_range(text, "alice", 1000), Some(100_000));
        assert_eq!(find_range(text, "bob", 1001), Some(200_000));
        assert_eq!(find_range(text, "carol", 1003), Some(300_000));
        assert_eq!(find_range(text, "dave", 1004), None);
    }
}
