"""The filter of system calls that a child lives under, as the bytes the kernel takes. Refuses to install it: the child does.

Source: seccomp(2); linux/filter.h; asm/unistd_64.h and asm-generic/unistd.h.
"""

import errno
import struct

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Each: system call → number on x86_64, on aarch64. None of them is of use to a model; each reaches the kernel or other
# processes in a way that neither namespaces nor Landlock decide about.
_NEVER: dict[str, tuple[int, int]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "setns": (308, 268),
    "unshare": (272, 97), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265),
    "init_module": (175, 105), "delete_module": (176, 106), "finit_module": (313, 273), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "quotactl": (179, 60), "syslog": (103, 116), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}  # fmt: skip
# Without a process namespace the group is how everything a model started is found again, so nothing may leave it.
_LEAVES_GROUP = {"setsid": (112, 157), "setpgid": (109, 154)}
_SOCKET = (41, 198)
_CLONE, _CLONE3 = (56, 220), (435, 435)
_CLONE_NEWUSER = 0x10000000
_FAMILIES = (
    1,
    2,
    10,
    16,
)  # unix, inet, inet6, netlink: all of them belong to a network namespace; vsock, say, does not

_LOAD, _JEQ, _JGE, _JSET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def seccomp_program(machine: str, *, sockets: bool, leave_group: bool) -> bytes | None:
    """Return a filter that refuses what no model needs, or None on a machine whose numbers are not known here.

    Args:
        machine: as `os.uname().machine` has it.
        sockets: whether sockets may be made (a network namespace then decides where they lead).
        leave_group: whether processes may leave the child's process group.
    """
    if machine not in _AUDIT_ARCH:
        return None
    column = 0 if machine == "x86_64" else 1
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4),
        (_JEQ, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        code += [
            (_JGE, 0, 1, 0x40000000),
            (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        ]  # the x32 numbers name the same calls again
    refused = dict(_NEVER) if leave_group else _NEVER | _LEAVES_GROUP
    for numbers in refused.values():
        code += [(_JEQ, 0, 1, numbers[column]), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    code += [
        (_JEQ, 0, 1, _CLONE3[column]),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]  # libc then uses clone, whose flags can be seen
    code += [
        (_JEQ, 0, 4, _CLONE[column]),
        (_LOAD, 0, 0, 16),
        (_JSET, 0, 1, _CLONE_NEWUSER),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code += [(_JEQ, 0, len(_FAMILIES) + 2 if sockets else 1, _SOCKET[column])]
    if sockets:
        code += [(_LOAD, 0, 0, 16)]
        code += [(_JEQ, len(_FAMILIES) - place, 0, family) for place, family in enumerate(_FAMILIES)]
    code += [(_RETURN, 0, 0, _ERRNO | errno.EACCES), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in code)
