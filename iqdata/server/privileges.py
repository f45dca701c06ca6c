"""Who a space runs as: an ordinary account, also where root starts it.

Root may be needed to bind a low port and to read a certificate's key; everything after that is done as the account that
the folder of the space belongs to, and there is no way back. Refuses to change the owner of anything that exists.
"""

import contextlib
import ctypes
import os
import pwd
import sys
from pathlib import Path

import iqdata
from iqdata.errors import ConfigError

_PR_SET_NO_NEW_PRIVS = 38


def work_as_owner(root: Path, *, run_as: str | None = None) -> str | None:
    """Give up root's powers for good and return the name of the account that this process is now, None where it stays who it is.

    Args:
        root: the folder of the space. Its owner is who works from now on; where it is missing it is made for `run_as`.
        run_as: the account to become. Without it root stays root in a folder of its own, or a missing one.

    Raises:
        ConfigError: there is no such account, the folder belongs to another, or the account cannot read this program.
    """
    if os.geteuid() != 0:
        if run_as is not None and run_as != _name_of(os.geteuid()):
            raise ConfigError(f"--run-as {run_as} takes root, who can become another user")
        return None
    account = _account(run_as) if run_as is not None else None
    if account is not None and not root.exists():
        try:
            root.mkdir(mode=0o755)
            os.chown(root, account.pw_uid, account.pw_gid)
        except OSError as exc:
            raise ConfigError(f"cannot make {root} for {run_as}: {exc.strerror}") from exc
    try:
        owner = root.lstat().st_uid
    except FileNotFoundError:
        return None
    if account is None:
        if owner == 0:
            return None
        account = _account(
            _name_of(owner), why=f"{root} belongs to user {owner}, and there is no such account"
        )
    elif owner != account.pw_uid:
        raise ConfigError(
            f"{root} belongs to {_name_of(owner)} and not to {run_as}: chown -R {run_as}: {root}, or --run-as {_name_of(owner)}"
        )
    if account.pw_uid == 0:
        return None
    _become(account)
    return account.pw_name


def _account(name: str, *, why: str | None = None) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(
            why
            or f"there is no user {name!r} on this machine: useradd --system --shell /usr/sbin/nologin {name}"
        ) from None


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _become(account: pwd.struct_passwd) -> None:
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    # No program that this process starts gains anything by a set-user-id bit.
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.environ |= {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
    with contextlib.suppress(OSError):
        os.setuid(0)
        raise ConfigError(f"root's powers could not be given up; start this as {account.pw_name} instead")
    for needed in (Path(sys.executable), Path(iqdata.__file__)):
        if not os.access(needed, os.R_OK):
            raise ConfigError(
                f"{account.pw_name} cannot read {needed}: install iqdata where every user may read it, for instance in /opt/iqdata"
            )
