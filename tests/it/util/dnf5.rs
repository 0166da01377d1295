//! A host whose only dnf is dnf 5, with rpm 6: the programs of Debian's testing in the place of those of this machine.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use super::mkbase::Place;
use super::{is_root, sha256};

/// Where they are from: trixie has no dnf 5. A mirror of testing that has stood still for a while does no harm here.
const RECIPE: &str = "debian:forky";
const OPTIONS: [&str; 6] =
    ["--variant", "minbase", "--include", "dnf5,passwd,python3-libdnf5,rpm", "--set", "check_valid_until=false"];
/// Mounts the programs over those of this machine, and nothing over the part `HIDDEN` of them.
const ENTER: &str = "for name in ld.so.cache alternatives; do\n\
                     mount --bind \"$TREE/etc/$name\" \"/etc/$name\" || exit 99\ndone\n\
                     test -z \"$HIDDEN\" || mount -t tmpfs tmpfs \"$TREE/$HIDDEN\" || exit 99\n\
                     mount --rbind \"$TREE/usr\" /usr || exit 99\nexec \"$@\"";

/// Such a host.
pub struct Host {
    tree: PathBuf,
}

/// The host, made at first use by the program itself from the real archive; or what is missing for it.
pub fn host() -> Result<Host, String> {
    if !is_root() {
        return Err("needs root to mount the programs of another host".into());
    }
    if !Path::new("/bin").is_symlink() {
        return Err("the programs of this machine are not below /usr alone".into());
    }
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(|e| e.into_inner());
    Ok(Host { tree: MADE.get_or_init(made).clone() })
}

/// The tree; one that an earlier run made of the same packages serves.
fn made() -> PathBuf {
    let place = Place::new();
    let lock = place.path().join("host.lock");
    place.mkbase(["lock", RECIPE, "-o"]).arguments([&lock]).arguments(OPTIONS).run().success();
    let text = std::fs::read(&lock).expect("the lock");
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let tree = parent.join(format!("dnf5-{}", &sha256(&text)[..16]));
    // Two runs at once make it once.
    let alone = File::create(parent.join("dnf5.lock")).expect("a lock");
    alone.lock().expect("a lock");
    if !tree.exists() {
        place.build(RECIPE, "host", &OPTIONS).arguments(["--lock".as_ref(), lock.as_os_str()]).run().success();
        let unpacked = tempfile::tempdir_in(parent).expect("a folder");
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(place.out("host").join("rootfs.tar")).arg("-C").arg(unpacked.path());
        assert!(tar.status().expect("tar runs").success());
        std::fs::rename(unpacked.keep(), &tree).expect("it is put in place");
    }
    tree
}

impl Host {
    /// What a program is started through to be on it, as of `Mkbase::through`; `hidden` is a folder that it lacks.
    pub fn enter(&self, hidden: &str) -> Vec<OsString> {
        let tree = format!("TREE={}", self.tree.display());
        let words = ["env", &tree, &format!("HIDDEN={hidden}"), "unshare", "--mount", "--propagation", "private"];
        words.into_iter().chain(["sh", "-c", ENTER, "sh"]).map(OsString::from).collect()
    }

    /// The folder of the Python interface of dnf 5.
    pub fn interface(&self) -> String {
        let folder = "usr/lib/python3/dist-packages/libdnf5";
        assert!(self.tree.join(folder).is_dir(), "no /{folder}");
        folder.to_owned()
    }
}
