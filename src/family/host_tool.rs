//! What programs of the host that install a system need around them: devices of the target that are no files of it.

/// A shell script that makes a private `/dev` in the folder that is its first argument, and then runs the rest of its
/// arguments. It has everything a tool would make with mknod(2), which only real root may, and nothing of it is left
/// in the tree. To be run in mount namespaces of its own, on the host's file system; the folder must have a `dev`.
pub const PREPARE: &str = r#"set -e
target=$1
shift
mount -t tmpfs -o mode=755 tmpfs "$target/dev"
for device in null zero full random urandom tty; do
    : > "$target/dev/$device"
    mount --bind "/dev/$device" "$target/dev/$device"
done
mkdir "$target/dev/pts" "$target/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$target/dev/pts"
ln -s pts/ptmx "$target/dev/ptmx"
: > "$target/dev/console"
exec "$@"
"#;
