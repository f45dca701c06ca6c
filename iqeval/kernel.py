"""What a process asks of the kernel that Python has no words for: Landlock, seccomp, capabilities, process settings.

Each binds the process that calls it, for good. Loaded by the child where its sandbox needs system calls, and only there:
ctypes costs a start more than anything else here.

Source: landlock(7), landlock_ruleset_attr and rights by ABI; seccomp(2); prctl(2).
"""

import ctypes
import os
import struct

TYPE_CHECKING = False  # what type checkers take for true; the real one costs milliseconds of every start
if TYPE_CHECKING:
    from collections.abc import Sequence

_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result: int = _LIBC.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def prctl(option: int, *arguments: int) -> int:
    """Set something of this process: up to four numbers after the option; returns -1 where the kernel refuses."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    result: int = _LIBC.prctl(option, *map(ctypes.c_ulong, padded))
    return result


# --- Landlock -----------------------------------------------------------------------------------------------------

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_BY_ABI = ((1, (1 << 13) - 1), (2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
_TCP, _SCOPES = 0b11, 0b11


def landlock_abi() -> int:
    """Return the kernel's Landlock version, 0 where there is none."""
    try:
        return _call(_CREATE, ctypes.c_void_p(None), ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError:
        return 0


def install_landlock(
    *, read: "Sequence[str]", names: "Sequence[str]", write: "Sequence[str]", network: bool
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
    abi = _call(_CREATE, ctypes.c_void_p(None), ctypes.c_size_t(0), ctypes.c_uint32(1))
    handled = 0
    for since, rights in _BY_ABI:
        if abi >= since:
            handled |= rights
    net = _TCP if abi >= 4 and not network else 0
    scope = _SCOPES if abi >= 6 else 0
    attributes = struct.pack("=QQQ", handled, net, scope)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = _call(
        _CREATE, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    try:
        for paths, rights in ((read, _READ), (names, _READ_DIR), (write, handled)):
            for path in paths:
                _allow_below(ruleset, path, rights & handled)
        prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return abi


def _allow_below(ruleset: int, path: str, rights: int) -> None:
    try:
        anchor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there cannot be read either
    try:
        if not os.path.isdir(path):  # noqa: PTH112  # the child starts without pathlib
            rights &= _ON_FILES
        rule = struct.pack("=Qi", rights, anchor)
        _call(_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), ctypes.c_char_p(rule), ctypes.c_uint32(0))
    finally:
        os.close(anchor)


# --- this process -------------------------------------------------------------------------------------------------

_PR_CAPBSET_DROP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 24, 22, 38
_CAPSET = {"x86_64": 126, "aarch64": 91}
_SECCOMP_MODE_FILTER = 2


def install_seccomp(program: bytes) -> None:
    """Put a filter on this process and all that it starts.

    Raises:
        OSError: the kernel refuses it.
    """
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    buffer = ctypes.create_string_buffer(program, len(program))
    filled = ctypes.create_string_buffer(
        struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    )
    if prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(filled)) < 0:
        raise OSError(ctypes.get_errno(), "the kernel refused a seccomp filter")


def drop_capabilities() -> None:
    """Give up root's powers for good, keeping the user id."""
    for capability in range(64):
        if prctl(_PR_CAPBSET_DROP, capability) < 0:
            break
    number = _CAPSET.get(os.uname().machine)
    if number is not None:
        _call(number, ctypes.c_char_p(struct.pack("=Ii", 0x20080522, 0)), ctypes.c_char_p(bytes(24)))
