//! The system calls that have no safe wrapper.
#![allow(unsafe_code)]

use std::io;

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

/// The system calls that wait for the disk. The tree is packed and thrown away; a crash throws it away as well.
const SYNC_CALLS: &[libc::c_long] =
    &[libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync, libc::SYS_syncfs, libc::SYS_sync_file_range];

/// `AUDIT_ARCH_*` of `<linux/audit.h>` for the architecture this program is compiled for; without one the filter is
/// left out and nothing but speed is lost.
const AUDIT_ARCH: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else if cfg!(target_arch = "riscv64") {
    Some(0xc000_00f3)
} else {
    None
};

/// Makes the calls of [`SYNC_CALLS`] succeed at once, with a seccomp filter that all children inherit.
pub fn ignore_fsync() -> io::Result<()> {
    let Some(arch) = AUDIT_ARCH else { return Ok(()) };
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    // struct seccomp_data: the call's number at offset 0, the architecture at 4.
    let calls = SYNC_CALLS.len() as u8;
    let mut program = vec![step(LOAD, 4, 0, 0), step(JUMP_EQUAL, arch, 0, calls + 1), step(LOAD, 0, 0, 0)];
    for (i, call) in SYNC_CALLS.iter().enumerate() {
        program.push(step(JUMP_EQUAL, *call as u32, calls - i as u8, 0));
    }
    program.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    program.push(step(RETURN, libc::SECCOMP_RET_ERRNO, 0, 0)); // errno 0: the call returns 0
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `filter` points to `program`, which lives until after the call; the kernel copies it.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
