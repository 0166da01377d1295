//! With openssh-server in the image: no host key is in it, and every container makes its own.

use crate::docker::{Image, engine_answers, run};
use crate::skip;
use crate::util::mkbase::Place;
use crate::util::tree;

#[test]
fn no_host_key_in_the_image_and_new_ones_in_a_container() {
    let place = Place::new();
    place.build("debian:trixie", "image", &["--include", "openssh-server"]).run().success();
    let rootfs = place.out("image").join("rootfs.tar");
    let image = tree::of_tar(&rootfs);
    assert!(image.contains_key("usr/sbin/sshd"), "the server is in the image");
    let keys: Vec<_> = image.keys().filter(|path| path.contains("ssh_host_")).collect();
    assert!(keys.is_empty(), "host keys in the image: {keys:?}");
    if !engine_answers() {
        skip!("no_host_key_in_the_image_and_new_ones_in_a_container: no docker engine");
    }
    let imported = Image::named("ssh");
    run(&["import", rootfs.to_str().expect("text"), &imported.0]);
    // The way that containers without an init start it.
    let script = "service ssh start >/dev/null\nfor try in 1 2 3 4 5 6 7 8 9 10; do\n\
                  ssh-keyscan -T 2 127.0.0.1 2>/dev/null | grep -o 'ssh-ed25519 .*' && exit 0\nsleep 0.5\ndone\nexit 1";
    let keys = [imported.shell(script), imported.shell(script)];
    assert!(keys[0].starts_with("ssh-ed25519 "), "sshd answers with a key: {keys:?}");
    assert_ne!(keys[0], keys[1], "two containers, two keys");
}
