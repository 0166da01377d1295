//! The system calls that have no safe wrapper.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::unistd::ForkResult;

/// `fork(2)`.
pub fn fork() -> nix::Result<ForkResult> {
    // SAFETY: only called by a process of one thread, so the child may do what the parent may.
    unsafe { nix::unistd::fork() }
}

/// The calling process gets SIGKILL when the thread that made it ends, `PR_SET_PDEATHSIG(2const)`.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: takes two integers, touches no memory of ours.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

/// Capabilities that no maintainer script needs, and that reach beyond the tree for real root, capabilities(7).
/// A user namespace lacks most of them anyway, so root and user see the same.
const DROPPED: &[u32] = &[
    2,  // DAC_READ_SEARCH: open_by_handle_at(2) leaves any chroot
    9,  // LINUX_IMMUTABLE
    12, // NET_ADMIN
    16, // SYS_MODULE
    17, // SYS_RAWIO
    20, // SYS_PACCT
    21, // SYS_ADMIN
    22, // SYS_BOOT
    25, // SYS_TIME
    26, // SYS_TTY_CONFIG
    27, // MKNOD
    30, // AUDIT_CONTROL
    32, // MAC_OVERRIDE
    33, // MAC_ADMIN
    34, // SYSLOG
    35, // WAKE_ALARM
    36, // BLOCK_SUSPEND
    37, // AUDIT_READ
    38, // PERFMON
    39, // BPF
    40, // CHECKPOINT_RESTORE
];

/// Takes capabilities out of the bounding set, so that the next program does not get them.
pub fn limit_capabilities() -> io::Result<()> {
    for capability in DROPPED {
        // SAFETY: takes two integers, touches no memory of ours.
        let result = check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(*capability)) });
        match result {
            // A kernel older than the capability does not know it.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            other => other?,
        }
    }
    Ok(())
}

/// The system calls that wait for the disk: `fsync`, `fdatasync`, `sync`, `syncfs`, `sync_file_range`. The tree is
/// packed and thrown away; a crash throws it away as well.
const SYNC_CALLS: [u32; 5] = [
    libc::SYS_fsync as u32,
    libc::SYS_fdatasync as u32,
    libc::SYS_sync as u32,
    libc::SYS_syncfs as u32,
    libc::SYS_sync_file_range as u32,
];

/// `AUDIT_ARCH_*` of `<linux/audit.h>` with the numbers that [`SYNC_CALLS`] have there: the architecture this program
/// is compiled for, and the one of 32 bits that its kernel runs as well. For others nothing but speed is lost. An
/// emulator's calls are those of the host.
const FILTERED: &[(u32, [u32; 5])] = if cfg!(target_arch = "x86_64") {
    &[(0xc000_003e, SYNC_CALLS), (0x4000_0003, [118, 148, 36, 344, 314])]
} else if cfg!(target_arch = "aarch64") {
    // 341 is sync_file_range2, with the arguments in another order.
    &[(0xc000_00b7, SYNC_CALLS), (0x4000_0028, [118, 148, 36, 373, 341])]
} else if cfg!(target_arch = "riscv64") {
    &[(0xc000_00f3, SYNC_CALLS)]
} else {
    &[]
};

/// Makes the calls of [`SYNC_CALLS`] succeed at once, with a seccomp filter that all children inherit.
pub fn ignore_fsync() -> io::Result<()> {
    let mut program = sync_filter();
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `filter` points to `program`, which lives until after the call; the kernel copies it.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) })
}

/// For each architecture: is it this one, else on to the next; is it one of the calls, then done with success.
fn sync_filter() -> Vec<libc::sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // struct seccomp_data: the call's number at offset 0, the architecture at 4.
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![step(LOAD, ARCHITECTURE, 0, 0)];
    for (architecture, calls) in FILTERED {
        let count = calls.len() as u8;
        program.push(step(JUMP_EQUAL, *architecture, 0, count + 3));
        program.push(step(LOAD, NUMBER, 0, 0));
        for (i, call) in calls.iter().enumerate() {
            program.push(step(JUMP_EQUAL, *call, count - i as u8, 0));
        }
        program.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
        program.push(step(RETURN, libc::SECCOMP_RET_ERRNO, 0, 0)); // errno 0: the call returns 0
    }
    program.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    program
}

/// Makes a mount and all mounts below it read-only, `mount_setattr(2)`.
pub fn mount_read_only(mounted: &OwnedFd) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the descriptor is open; the path is an empty string that ends with a zero; the kernel reads as much of
    // `attributes` as it is told, which is its size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mounted.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result as libc::c_int)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call: the three instructions it is made of, played.
    fn verdict(program: &[libc::sock_filter], architecture: u32, number: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match u32::from(step.code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    value = if step.k == 0 { number } else { architecture };
                }
                code if code == libc::BPF_RET | libc::BPF_K => return step.k,
                _ => at += usize::from(if value == step.k { step.jt } else { step.jf }),
            }
        }
    }

    #[test]
    fn only_calls_that_wait_for_the_disk_are_left_out() {
        let program = sync_filter();
        for (architecture, calls) in FILTERED {
            for call in 0..500 {
                let expected = if calls.contains(&call) { libc::SECCOMP_RET_ERRNO } else { libc::SECCOMP_RET_ALLOW };
                assert_eq!(verdict(&program, *architecture, call), expected, "{architecture:x} {call}");
            }
        }
        assert_eq!(verdict(&program, 0x1234, SYNC_CALLS[0]), libc::SECCOMP_RET_ALLOW, "an unknown architecture");
    }
}
