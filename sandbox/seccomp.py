"""The system-call filter: a classic BPF program that denies what no build, test or server needs.

Most of these calls want a capability that nothing inside has; they are denied all the same, because kernels
were broken through them. The rules stand alone, one after the other, each jumping over its own answer only,
so that no rule can let a later one slip.

Sources: seccomp(2), linux/filter.h, linux/seccomp.h; numbers from the kernel's syscall tables.
"""

from __future__ import annotations

import errno
import platform
import struct
import sys
from dataclasses import dataclass

ALLOW = 0x7FFF0000
KILL = 0x80000000
ERRNO = 0x00050000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, tuple(range(16, 64, 8))
"""Offsets in `struct seccomp_data`; of an argument, the low half of a little-endian machine."""

NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET; the flag for time is no flag of clone(2)."""
FAMILIES = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16}
"""Sockets that may be made. The network namespace has but a loopback; netlink lists its addresses."""
SET_USER_ID = 0o4000
"""S_ISUID: who starts such a program, inside or outside, has the rights of its owner."""
CREATES = 0o100 | 0o20000000
"""O_CREAT, __O_TMPFILE: with one of them, a call that opens a file takes a mode."""
TERMINAL_INPUT = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C}
"""They type into a terminal that is shared with the caller."""


@dataclass(frozen=True)
class Machine:
    """What the filter has to know of a processor."""

    architecture: int
    """AUDIT_ARCH_*"""
    denied: dict[str, int]
    clone: int
    socket: int
    socketpair: int
    ioctl: int
    modes: dict[str, tuple[int, int]]
    """Calls that set a file's mode, with the place of it among their arguments."""
    opens: dict[str, tuple[int, int, int]]
    """Calls that may make a file, with the places of their flags and of the mode."""
    shared: dict[str, int]
    """Calls for what all processes of a user share where there are no namespaces."""
    attributes: dict[str, int]
    """Calls that set what a file has beside its content, by a path that nobody has to open."""
    others: dict[str, int]
    """Calls on any process of the user's: its number comes first, 0 is the caller itself."""
    ranks: dict[str, tuple[int, int]]
    """Calls that set priorities, with the kind that means all of a user: the kind comes first, then whose."""
    foreign_from: int | None = None
    """Numbers from here on are of another calling convention."""


_NEW = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438,
    "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443, "open_tree_attr": 467,
}  # fmt: skip
"""The same on every processor, as all calls since Linux 5.0 are."""
_NEW_ATTRIBUTES = {"setxattrat": 463, "removexattrat": 466, "file_setattr": 469}
_CLONE3, _OPENAT2 = 435, 437
_OF_A_USER, _OF_A_USER_FOR_DISKS = 2, 3
"""PRIO_USER, IOPRIO_WHO_USER"""

MACHINES = {
    "x86_64": Machine(
        architecture=0xC000003E,
        denied=_NEW
        | {
            "ptrace": 101, "syslog": 103, "uselib": 134, "vhangup": 153, "modify_ldt": 154, "pivot_root": 155,
            "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168,
            "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
            "init_module": 175, "delete_module": 176, "quotactl": 179, "lookup_dcookie": 212,
            "clock_settime": 227, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250,
            "unshare": 272, "perf_event_open": 298, "fanotify_init": 300, "open_by_handle_at": 304,
            "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
            "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
        },
        clone=56, socket=41, socketpair=53, ioctl=16, foreign_from=0x40000000,
        modes={
            "creat": (85, 1), "chmod": (90, 1), "fchmod": (91, 1), "mknod": (133, 1), "mknodat": (259, 2),
            "fchmodat": (268, 2), "fchmodat2": (452, 2),
        },
        opens={"open": (2, 1, 2), "openat": (257, 2, 3)},
        shared={
            "shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "semop": 65, "semctl": 66, "msgget": 68,
            "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "semtimedop": 220, "mq_open": 240, "mq_unlink": 241,
            "mq_timedsend": 242, "mq_timedreceive": 243, "mq_notify": 244, "mq_getsetattr": 245,
        },
        attributes=_NEW_ATTRIBUTES
        | {
            "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198,
            "fremovexattr": 199,
        },
        others={
            "sched_setparam": 142, "sched_setscheduler": 144, "sched_setaffinity": 203,
            "prlimit64": 302, "sched_setattr": 314,
        },
        ranks={"setpriority": (141, _OF_A_USER), "ioprio_set": (251, _OF_A_USER_FOR_DISKS)},
    ),
    "aarch64": Machine(
        architecture=0xC00000B7,
        denied=_NEW
        | {
            "lookup_dcookie": 18, "umount2": 39, "mount": 40, "pivot_root": 41, "vhangup": 58, "quotactl": 60,
            "acct": 89, "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106,
            "clock_settime": 112, "syslog": 116, "ptrace": 117, "reboot": 142, "sethostname": 161,
            "setdomainname": 162, "settimeofday": 170, "add_key": 217, "request_key": 218, "keyctl": 219,
            "swapon": 224, "swapoff": 225, "perf_event_open": 241, "fanotify_init": 262,
            "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
            "kcmp": 272, "finit_module": 273, "bpf": 280, "userfaultfd": 282, "kexec_file_load": 294,
        },
        clone=220, socket=198, socketpair=199, ioctl=29,
        modes={"mknodat": (33, 2), "fchmod": (52, 1), "fchmodat": (53, 2), "fchmodat2": (452, 2)},
        opens={"openat": (56, 2, 3)},
        shared={
            "mq_open": 180, "mq_unlink": 181, "mq_timedsend": 182, "mq_timedreceive": 183, "mq_notify": 184,
            "mq_getsetattr": 185, "msgget": 186, "msgctl": 187, "msgrcv": 188, "msgsnd": 189, "semget": 190,
            "semctl": 191, "semtimedop": 192, "semop": 193, "shmget": 194, "shmctl": 195, "shmat": 196,
        },
        attributes=_NEW_ATTRIBUTES
        | {
            "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15,
            "fremovexattr": 16,
        },
        others={
            "sched_setparam": 118, "sched_setscheduler": 119, "sched_setaffinity": 122,
            "prlimit64": 261, "sched_setattr": 274,
        },
        ranks={"setpriority": (140, _OF_A_USER), "ioprio_set": (30, _OF_A_USER_FOR_DISKS)},
    ),
}  # fmt: skip


def program(machine: str | None = None, *, sockets: bool = True, set_user_id: bool = False) -> bytes | None:
    """The filter as an array of `struct sock_filter`; None for a processor whose calls are not known here.

    Without `sockets` it stands where there are no namespaces: only connected pairs can be made, and nothing
    is shared with, or done to, the user's other processes. With `set_user_id` a file may be given that bit,
    as Ostro's own program does that puts files back as they were.
    """
    if not sys.platform.startswith("linux") or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        return None
    known = MACHINES.get(machine or platform.machine())
    if known is None:
        return None
    steps = _steps(known, sockets, set_user_id)
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


Step = tuple[int, int, int, int]
"""Code, steps to jump where the test holds, and where not, operand."""


def _steps(machine: Machine, sockets: bool, set_user_id: bool) -> list[Step]:
    steps: list[Step] = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, machine.architecture), _answer(KILL)]
    steps.append((_LOAD, 0, 0, _NUMBER))
    if machine.foreign_from is not None:
        steps += _when((_AT_LEAST, machine.foreign_from), KILL)
    for number in sorted(machine.denied.values()):
        steps += _when((_EQUAL, number), ERRNO | errno.EPERM)
    # Their flags lie in memory, where a filter cannot look; who hears that they are missing uses older ones.
    for number in (_CLONE3,) if set_user_id else (_CLONE3, _OPENAT2):
        steps += _when((_EQUAL, number), ERRNO | errno.ENOSYS)
    steps += _of(machine.clone, 0, _when((_ANY_BIT, NEW_NAMESPACES), ERRNO | errno.EPERM))
    families = sorted(FAMILIES.values())
    for number, allowed in ((machine.socket, families if sockets else []), (machine.socketpair, families)):
        steps += _of(number, 0, _unless(allowed, ERRNO | errno.EAFNOSUPPORT))
    typing = [_when((_EQUAL, request), ERRNO | errno.EPERM) for request in TERMINAL_INPUT.values()]
    steps += _of(machine.ioctl, 1, [step for rule in typing for step in rule])
    if not set_user_id:
        steps += _no_set_user_id(machine)
    if not sockets:
        steps += _nothing_of_others(machine)
    return [*steps, _answer(ALLOW)]


def _no_set_user_id(machine: Machine) -> list[Step]:
    steps: list[Step] = []
    denied = _when((_ANY_BIT, SET_USER_ID), ERRNO | errno.EPERM)
    for number, mode in machine.modes.values():
        steps += _of(number, mode, denied)
    for number, flags, mode in machine.opens.values():
        with_mode = [(_LOAD, 0, 0, _ARGUMENTS[mode]), *denied]
        steps += _of(number, flags, [(_ANY_BIT, 0, len(with_mode), CREATES), *with_mode])
    return steps


def _nothing_of_others(machine: Machine) -> list[Step]:
    """What Landlock does not know of: it looks at files that are opened, and at signals."""
    steps: list[Step] = []
    for number in sorted(machine.shared.values()):
        steps += _when((_EQUAL, number), ERRNO | errno.EPERM)
    for number in sorted(machine.attributes.values()):
        # As where a file system has none, which whoever copies files is ready for.
        steps += _when((_EQUAL, number), ERRNO | errno.EOPNOTSUPP)
    for number in machine.others.values():
        steps += _of(number, 0, _unless([0], ERRNO | errno.EPERM))
    for number, of_a_user in machine.ranks.values():
        whose = [(_LOAD, 0, 0, _ARGUMENTS[1]), *_unless([0], ERRNO | errno.EPERM)]
        steps += _of(number, 0, [*_when((_EQUAL, of_a_user), ERRNO | errno.EPERM), *whose])
    return steps


def _answer(action: int) -> Step:
    return (_RETURN, 0, 0, action)


def _when(test: tuple[int, int], action: int) -> list[Step]:
    """Answers where the test of the loaded value holds, and else goes on."""
    return [(test[0], 0, 1, test[1]), _answer(action)]


def _unless(values: list[int], action: int) -> list[Step]:
    """Answers where the loaded value is none of these; goes on behind its answer else."""
    return [*((_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)), _answer(action)]


def _of(number: int, argument: int, rules: list[Step]) -> list[Step]:
    """The rules on an argument of one call; any other call goes past them, the call itself on to the end."""
    body = [(_LOAD, 0, 0, _ARGUMENTS[argument]), *rules, (_LOAD, 0, 0, _NUMBER)]
    return [(_EQUAL, 0, len(body), number), *body]
