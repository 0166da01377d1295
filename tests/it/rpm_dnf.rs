//! dnf inside an image: it finds nothing wrong, goes on from the database, and installs as the image was made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::docker::{Image, engine_answers, run};
use crate::rpm_tree::{self, stopped, unexpected};
use crate::skip;
use crate::util::dnf::text;
use crate::util::is_root;
use crate::util::mkbase::Place;
use crate::util::rpm::{Mini, mini};

/// Where the repositories are in the image.
const MOUNTED: &str = "/srv/mini";
/// What is done in the image, each under a title.
const SCRIPT: &str = "
echo '= check'; dnf check
echo '= version'; dnf --version | head -n 1
echo '= history before'; dnf -q history | tail -n +3
echo '= modules'; dnf -q module list --enabled
echo '= unneeded'; dnf autoremove --assumeno
echo '= verify'; rpm -Va || :
echo '= install'; dnf -y install mini-hello mini-greeter-devel
echo '= installed'
rpm -q mini-hello mini-weak mini-greeter-devel || :
ls /usr/share/doc/mini-hello /usr/share/man/man1/mini-hello.1.gz || :
ls /var/lib/dnf/modulefailsafe
echo '= unsigned'; dnf -y --repofrompath=broken,file://$BROKEN install mini-unsigned || echo refused
echo '= another key'; dnf -y --repofrompath=broken,file://$BROKEN install mini-otherkey || echo refused
echo '= history'; dnf -q history
echo '= undo'; dnf -y history undo 1
rpm -q mini-hello mini-greeter-devel mini-greeter || :
echo '= unneeded afterwards'; dnf autoremove --assumeno
echo '= check afterwards'; dnf check
";

/// A recipe of an image with dnf and a stream of a module, whose repositories are in the image.
fn recipe(place: &Place, mini: &Mini) -> PathBuf {
    let of = |(name, folder): (&str, &str)| format!("{name} = \"file://{MOUNTED}{}\"", mini.path(folder));
    let image = [("baseos", "BaseOS"), ("updates", "updates"), ("appstream", "AppStream")].map(of).join(", ");
    let more = format!(
        "{}\n[mirror]\nimage = {{ {image} }}\n\n[rpm]\nmodule_platform_id = \"platform:mn1\"\n",
        mini.repository("AppStream")
    );
    mini.recipe(place, &more)
}

const INCLUDE: [&str; 2] = ["--include", "dnf,@greeter:2/common"];

/// The script with the address of the packages that fail.
fn script(mini: &Mini) -> String {
    format!("exec 2>&1\necho\nBROKEN={MOUNTED}{}\n{SCRIPT}", mini.path("broken"))
}

/// What the script said must be so.
#[track_caller]
fn judge(said: &str, mounted: &[&str]) {
    let parts: BTreeMap<&str, &str> =
        said.split("\n= ").map(|part| part.split_once('\n').unwrap_or((part, ""))).collect();
    let has = |title: &str, texts: &[&str]| {
        for text in texts {
            assert!(parts[title].contains(text), "{title}: no {text:?} in:\n{said}");
        }
    };
    assert_eq!((parts["check"], parts["check afterwards"]), ("", ""), "{said}");
    has("version", &["4."]);
    // Its history begins in the image.
    assert_eq!(parts["history before"], "", "{said}");
    has("modules", &["greeter", "2 [e]", "common [d] [i]"]);
    has("unneeded", &["Nothing to do."]);
    has("unneeded afterwards", &["Nothing to do."]);
    let known = [" c /etc/dnf/dnf.conf", " c /etc/yum.repos.d/mini.repo"];
    let odd = unexpected(parts["verify"]).into_iter();
    let odd = odd.filter(|line| !known.iter().chain(mounted).any(|path| line.ends_with(path)));
    assert_eq!(odd.collect::<Vec<_>>(), [""; 0], "{said}");
    has("install", &["mini-hello-1.1-1.mn1.noarch", "mini-greeter-devel-2.0-1.mn1.noarch", "Complete!"]);
    // The keys are in the database.
    assert!(!parts["install"].contains("Importing") && !parts["install"].contains("mini-weak"), "{said}");
    has(
        "installed",
        &[
            "mini-hello-1.1-1.mn1.noarch",
            "package mini-weak is not installed",
            "mini-greeter-devel-2.0-1.mn1.noarch",
            "'/usr/share/doc/mini-hello': No such file",
            "'/usr/share/man/man1/mini-hello.1.gz': No such file",
            // What hides other streams where a repository is out of reach, made anew.
            "greeter:2:",
        ],
    );
    has("unsigned", &["mini-unsigned-1.0-1.mn1.noarch.rpm is not signed", "refused"]);
    has("another key", &["mini-otherkey-1.0-1.mn1.noarch.rpm", "refused"]);
    has("history", &["1 | -y install mini-hello"]);
    let undone = ["package mini-hello is not", "package mini-greeter-devel is not", "mini-greeter-2.0-1.mn1.noarch"];
    has("undo", &undone);
}

#[test]
fn dnf_works_in_the_tree() {
    const TEST: &str = "dnf_works_in_the_tree";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    if !is_root() {
        skip!("{TEST}: changing the root takes root");
    }
    let place = Place::new();
    let tree = stopped(&place, &mini, &recipe(&place, &mini), "clean", &INCLUDE);
    judge(&inside(&tree, &mini.folder, &script(&mini), &["--net"]), &[]);
}

/// Runs a script in a tree that has the repositories mounted. `apart` are namespaces besides: `--net` is one without a
/// network.
pub fn inside(tree: &Path, repositories: &Path, script: &str, apart: &[&str]) -> String {
    let enter = "mkdir -p \"$1/srv/mini\"; mount --rbind /dev \"$1/dev\"; mount -t proc proc \"$1/proc\"; \
                 mount --bind /sys \"$1/sys\"; mount --bind \"$2\" \"$1/srv/mini\"; \
                 exec chroot \"$1\" sh -euc \"$3\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--uts", "--ipc"]).args(apart).args(["sh", "-euc", enter, "sh"]);
    command.arg(tree).arg(repositories).arg(script).env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root").env("LANG", "C.UTF-8");
    text(command.output().expect("unshare runs"))
}

#[test]
fn dnf_works_in_a_container() {
    const TEST: &str = "dnf_works_in_a_container";
    let mini = match mini() {
        Ok(mini) => mini,
        Err(why) => skip!("{TEST}: {why}"),
    };
    if !engine_answers() {
        skip!("{TEST}: no docker engine");
    }
    let place = Place::new();
    let build = place.build(recipe(&place, &mini), "image", &INCLUDE).arguments(mini.mirrors());
    build.run().success();
    let image = Image::named("dnf");
    run(&["import", place.out("image").join("rootfs.tar").to_str().expect("text"), &image.0]);
    let volume = format!("{}:{MOUNTED}:ro", mini.folder.display());
    let script = script(&mini);
    let said = run(&["run", "--rm", "--network", "none", "--volume", &volume, &image.0, "sh", "-euc", &script]);
    judge(&said, &rpm_tree::MOUNTED);
    place.assert_nothing_left(&["image"]);
}
