"""What a process does to itself before it runs a stranger's code: limits, Landlock, seccomp, no capabilities.

Also tries the doors that are said to be locked, because a kernel that silently does less is the dangerous one.
Loaded by the child, so it imports the standard library only, and ctypes only where system calls are needed.

Source: landlock(7), landlock_ruleset_attr and rights by ABI; seccomp(2); linux/filter.h; asm/unistd_64.h and asm-generic/unistd.h.
"""

import contextlib
import errno
import os
import resource
import struct
from collections.abc import Callable, Mapping, Sequence

# --- seccomp ------------------------------------------------------------------------------------------------------

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


# --- Landlock -----------------------------------------------------------------------------------------------------

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_BY_ABI = ((1, (1 << 13) - 1), (2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
_TCP, _SCOPES = 0b11, 0b11

Syscall = Callable[..., int]


def _syscalls() -> Syscall:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int, *arguments: object) -> int:
        result: int = libc.syscall(ctypes.c_long(number), *arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    return call


def landlock_abi() -> int:
    """Return the kernel's Landlock version, 0 where there is none."""
    import ctypes

    try:
        return _syscalls()(_CREATE, ctypes.c_void_p(None), ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError:
        return 0


def install_landlock(
    *, read: Sequence[str], names: Sequence[str], write: Sequence[str], network: bool
) -> int:
    """Leave this process (and what it starts) only these files; returns the Landlock version used.

    Args:
        read: to be read, with all below them.
        names: folders that may be listed; what is in them stays closed.
        write: to be read and written, with all below them.
        network: whether TCP stays open.

    Binds the calling thread alone, so it comes before any other thread starts.

    Raises:
        OSError: the kernel has no Landlock, or refuses it.
    """
    import ctypes

    call = _syscalls()
    abi = call(_CREATE, ctypes.c_void_p(None), ctypes.c_size_t(0), ctypes.c_uint32(1))
    handled = 0
    for since, rights in _BY_ABI:
        if abi >= since:
            handled |= rights
    net = _TCP if abi >= 4 and not network else 0
    scope = _SCOPES if abi >= 6 else 0
    attributes = struct.pack("=QQQ", handled, net, scope)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = call(_CREATE, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for paths, rights in ((read, _READ), (names, _READ_DIR), (write, handled)):
            for path in paths:
                _allow_below(call, ruleset, path, rights & handled)
        _no_new_privileges()
        call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return abi


def _allow_below(call: Syscall, ruleset: int, path: str, rights: int) -> None:
    import ctypes

    try:
        anchor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there cannot be read either
    try:
        if not os.path.isdir(path):  # noqa: PTH112  # the child starts without pathlib
            rights &= _ON_FILES
        rule = struct.pack("=Qi", rights, anchor)
        call(_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), ctypes.c_char_p(rule), ctypes.c_uint32(0))
    finally:
        os.close(anchor)


# --- this process -------------------------------------------------------------------------------------------------

_PR_CAPBSET_DROP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 24, 22, 38


def _prctl(option: int, *arguments: object) -> int:
    import ctypes

    result: int = ctypes.CDLL(None, use_errno=True).prctl(option, *(arguments or (0, 0, 0, 0)))
    return result


def _no_new_privileges() -> None:
    import ctypes

    _prctl(_PR_SET_NO_NEW_PRIVS, *(ctypes.c_ulong(value) for value in (1, 0, 0, 0)))


def install_seccomp(program: bytes) -> None:
    """Put a filter on this process and all that it starts.

    Raises:
        OSError: the kernel refuses it.
    """
    import ctypes

    _no_new_privileges()
    buffer = ctypes.create_string_buffer(program, len(program))
    filled = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    if (
        _prctl(
            _PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.c_char_p(filled), ctypes.c_ulong(0), ctypes.c_ulong(0)
        )
        < 0
    ):
        raise OSError(ctypes.get_errno(), "the kernel refused a seccomp filter")


def drop_capabilities() -> None:
    """Give up root's powers for good, keeping the user id."""
    import ctypes

    for capability in range(64):
        if _prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break
    call = _syscalls()
    numbers = {"x86_64": 126, "aarch64": 91}
    number = numbers.get(os.uname().machine)
    if number is not None:
        call(number, ctypes.c_char_p(struct.pack("=Ii", 0x20080522, 0)), ctypes.c_char_p(bytes(24)))


def limit_resources(limits: Mapping[str, int]) -> None:
    """Set hard limits, by the names of `resource` without `RLIMIT_`; a lower one that stands already stays."""
    for name, value in limits.items():
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is None:
            continue
        _, hard = resource.getrlimit(which)
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (wanted, wanted))


# --- trying the doors ---------------------------------------------------------------------------------------------


def try_doors(doors: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """Try what must not work; returns the names that were refused and those that were not.

    Args:
        doors: any of `read` (a file outside), `write` (folders that are for reading), `port` (one that listens on
            the loopback outside), `process` (an id outside).
    """
    refused: list[str] = []
    allowed: list[str] = []

    def attempt(name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError:
            refused.append(name)
        else:
            allowed.append(name)

    hidden = doors.get("read")
    if isinstance(hidden, str):
        attempt("read", lambda: os.close(os.open(hidden, os.O_RDONLY)))
        attempt("stat", lambda: _stat(hidden))
    for folder in _texts(doors.get("write")):
        attempt("write", lambda folder=folder: _write_in(folder))  # type: ignore[misc]  # mypy cannot type a bound default
    port = doors.get("port")
    if isinstance(port, int):
        attempt("network", lambda: _connect(port))
    process = doors.get("process")
    if isinstance(process, int):
        attempt("signal", lambda: os.kill(process, 0))
    return refused, allowed


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _stat(path: str) -> None:
    os.stat(path)  # noqa: PTH116  # the child starts without pathlib


def _write_in(folder: str) -> None:
    path = f"{folder}/iqeval-must-not-exist-{os.getpid()}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)  # noqa: PTH108  # the child starts without pathlib


def _connect(port: int) -> None:
    import _socket

    with contextlib.closing(_socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)) as outward:
        outward.settimeout(2)
        outward.connect(("127.0.0.1", port))
