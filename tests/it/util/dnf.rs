//! The real dnf, which RPM images are compared with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::mkbase::Place;
use super::rpm::Mini;

/// The real dnf, for a system of an architecture in a folder, with the kernel's file systems mounted there as for a
/// container and nothing of the host's caches and settings. Only root can.
pub fn dnf(place: &Place, root: &Path, conf: &Path, arch: &str, epoch: i64) -> Command {
    let home = place.path().join("home");
    std::fs::create_dir_all(&home).expect("a folder");
    std::fs::write(home.join(".rpmmacros"), "%_dbpath /usr/lib/sysimage/rpm\n%_install_langs C.UTF-8\n")
        .expect("a file");
    let script = "umask 022; for f in proc sys dev; do mkdir -p \"$1/$f\"; done; mount --bind /dev \"$1/dev\"; \
                  mount -t proc proc \"$1/proc\"; mount --bind /sys \"$1/sys\"; mount -t tmpfs tmpfs /var/cache; \
                  root=$1; shift; exec dnf -y -q --installroot \"$root\" --releasever 1 \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--uts", "--ipc", "sh", "-euc", script, "sh"]).arg(root);
    command.arg("--config").arg(conf).arg(format!("--setopt=persistdir={}", place.path().join("dnf-state").display()));
    if arch != std::env::consts::ARCH {
        command.args(["--forcearch", arch]);
    }
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", home).env("LANG", "C.UTF-8");
    command.env("TZ", "UTC").env("SOURCE_DATE_EPOCH", epoch.to_string());
    command
}

/// Has the real dnf install into an empty folder what is asked for, out of these repositories of the distribution.
#[track_caller]
pub fn install<S: AsRef<str>>(place: &Place, mini: &Mini, repositories: &[&str], asked: &[S], epoch: i64) -> PathBuf {
    let root = place.path().join("theirs");
    let mut conf = String::from(
        "[main]\nbest=1\ngpgcheck=1\ninstall_weak_deps=0\nskip_if_unavailable=0\ntsflags=nodocs\nreposdir=/\nplugins=0\n\
         module_platform_id=platform:mn1\n",
    );
    let folder = mini.folder.display();
    for name in repositories {
        let path = mini.path(name);
        let key = "RPM-GPG-KEY-mini-1";
        conf.push_str(&format!("[{name}]\nname={name}\nbaseurl=file://{folder}{path}\ngpgkey=file://{folder}/{key}\n"));
    }
    let conf = place.write("dnf.conf", conf);
    let output =
        dnf(place, &root, &conf, mini.arch, epoch).arg("install").args(asked.iter().map(AsRef::as_ref)).output();
    text(output.expect("unshare runs"));
    root
}

/// The standard output of a command that must not fail.
#[track_caller]
pub fn text(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "it failed:\n{}{error}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).expect("text")
}
