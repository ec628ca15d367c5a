//! A phone whose kernel does not let Muzzle use the socket diagnosis, as a policy of SELinux may.

use nix::errno::Errno;
use nix::libc;

/// Refuses sockets of `NETLINK_SOCK_DIAG` to this thread from now on, and to what it starts.
#[allow(unsafe_code, reason = "nix knows no seccomp filters")]
pub(crate) fn refuse_socket_diagnosis() {
    const LOAD: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let number = |number: libc::c_long| u32::try_from(number).expect("a small number");
    // struct seccomp_data: the call's number, the architecture, 8 bytes, then its arguments.
    let mut program = [
        step(LOAD, 0, 0, 0),
        step(IF_EQUAL, 0, 5, number(libc::SYS_socket)),
        step(LOAD, 0, 0, 16),
        step(IF_EQUAL, 0, 3, number(libc::AF_NETLINK.into())),
        step(LOAD, 0, 0, 32),
        step(IF_EQUAL, 0, 1, number(libc::NETLINK_SOCK_DIAG.into())),
        step(
            RETURN,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EACCES.cast_unsigned(),
        ),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a few steps"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: `filter` and the program that it points to live until the call is over, and the
    // kernel copies both.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    Errno::result(result).expect("the kernel has seccomp filters");
}
