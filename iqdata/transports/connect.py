"""`Location` → a connection of the right kind; and the one place that decides whether a password may travel.

Refuses to send a password in clear to another machine unless told to.
"""

import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from iqdata.errors import ConfigError, ConnectFailed, LoginRefused
from iqdata.location import Location, Scheme
from iqdata.transports.base import Connector, Transport
from iqdata.transports.ftp import FtpTransport
from iqdata.transports.ftpcontrol import Control
from iqdata.transports.ftpreplies import BREAKS, Closing, login_failure
from iqdata.transports.ftpsession import Facts, Session
from iqdata.transports.tls import (
    SYSTEM_TRUST,
    TlsOptions,
    certificate_problem,
    check_pin,
    fingerprint_of,
    make_context,
)

if TYPE_CHECKING:
    from iqdata.transports.ssh import SshOptions  # paramiko takes a tenth of a second to import

Password = Callable[[], str | None] | str | None
"""A password, or how to get one: called only when the server asks for it."""


def connect(
    location: Location,
    *,
    password: Password = None,
    tls: TlsOptions = SYSTEM_TRUST,
    timeout_s: float = 30.0,
    insecure: bool = False,
    ssh: "SshOptions | None" = None,
) -> Transport:
    """Return a new connection to a space.

    Args:
        location: where.
        password: for the location's user; a location that carries one of its own wins.
        tls: how to check the server's certificate.
        timeout_s: how long the server may be silent.
        insecure: whether a password may travel in clear to another machine.
        ssh: known hosts and keys for SFTP; what ssh itself uses by default.

    Raises:
        ConfigError: the password would travel in clear, or a certificate file cannot be read.
        ConnectFailed: no such server there, or it takes no more connections (then `retryable`).
        LoginRefused: wrong name or password.
    """
    return connector(location, password=password, tls=tls, timeout_s=timeout_s, insecure=insecure, ssh=ssh)()


def connector(
    location: Location,
    *,
    password: Password = None,
    tls: TlsOptions = SYSTEM_TRUST,
    timeout_s: float = 30.0,
    insecure: bool = False,
    ssh: "SshOptions | None" = None,
) -> Connector:
    """Return what opens connections to a space; they share what they learn about the server."""
    secret = location.password if location.password is not None else password
    match location.scheme:
        case Scheme.FTP | Scheme.FTPES | Scheme.FTPS:
            context = make_context(tls) if location.scheme.encrypts else None
            facts = Facts()
            return lambda: _open_ftp(
                location, secret, facts, context=context, tls=tls, timeout_s=timeout_s, insecure=insecure
            )
        case Scheme.FILE:
            from iqdata.transports.local import LocalTransport

            return lambda: LocalTransport(Path(location.root))
        case Scheme.MEMORY:
            from iqdata.transports.memory import MemoryTransport, shared_space

            return lambda: MemoryTransport(shared_space(location.host, location.root))
        case Scheme.SFTP:
            from iqdata.transports.ssh import open_sftp

            return lambda: open_sftp(location, secret, ssh=ssh, timeout_s=timeout_s)


def _open_ftp(
    location: Location,
    password: Password,
    facts: Facts,
    *,
    context: ssl.SSLContext | None,
    tls: TlsOptions,
    timeout_s: float,
    insecure: bool,
) -> FtpTransport:
    """Connect, encrypt where the scheme says so, log in."""
    where = str(location)
    control = Control(location.host, location.port, timeout_s=timeout_s)
    try:
        try:
            greeting = control.open(tls=context if location.scheme is Scheme.FTPS else None)
        except ssl.SSLError:
            raise
        except OSError as exc:
            if control.sock is not None and isinstance(exc, BlockingIOError | TimeoutError):
                raise  # connected, and silent
            raise _unreachable(exc, where) from exc
        if not greeting.positive:
            raise login_failure(greeting, where=where)
        if location.scheme is Scheme.FTPES and context is not None:
            _start_tls(control, context, where)
        if control.tls is not None:
            check_pin(control.tls, tls)
        _log_in(control, location, password, insecure=insecure)
        if control.tls is not None:
            control.send(("PBSZ 0", "PROT P"))
            control.reply()
            protected = control.reply()
            if not protected.positive:
                raise ConnectFailed(
                    f"connect to {where}: the server will not encrypt data connections ({protected.text!r});"
                    " nothing is sent in clear over ftpes:// and ftps://",
                    op="connect",
                    reply=protected.text,
                )
        return FtpTransport.over(Session(control, facts, context=context, tls=tls), root=location.root)
    except ssl.SSLError as exc:
        control.close()
        fingerprint = None
        if isinstance(exc, ssl.SSLCertVerificationError):
            fingerprint = _peek_fingerprint(location, timeout_s)
        raise certificate_problem(exc, where=where, fingerprint=fingerprint) from exc
    except Closing as exc:
        control.close()
        raise login_failure(exc.reply, where=where) from exc
    except BREAKS as exc:
        control.close()
        silent = isinstance(exc, BlockingIOError | TimeoutError)
        why = (
            "it does not answer as an FTP server"
            if silent
            else f"it broke the connection ({exc or 'closed'})"
        )
        if silent and location.scheme is not Scheme.FTPS:
            why += "; does this port speak TLS from the first byte (ftps://)?"
        raise ConnectFailed(
            f"connect to {where}: {why}", op="connect", reply=str(exc), retryable=True
        ) from exc
    except BaseException:
        control.close()
        raise


def _start_tls(control: Control, context: ssl.SSLContext, where: str) -> None:
    reply = control.ask("AUTH TLS")
    if reply.code != 234:
        raise ConnectFailed(
            f"connect to {where}: the server offers no TLS ({reply.text!r}); ftp:// would send the password in clear",
            op="connect",
            reply=reply.text,
        )
    control.encrypt(context)


def _log_in(control: Control, location: Location, password: Password, *, insecure: bool) -> None:
    """Give user and password, in this order and only as far as asked.

    Raises:
        ConfigError: a password is wanted and would travel in clear.
        LoginRefused: no password is known, or it is wrong.
    """
    where = str(location)
    user = location.user or "anonymous"
    reply = control.ask(f"USER {user}")
    if reply.code in (331, 332):
        anonymous = user in ("anonymous", "ftp")
        exposed = control.tls is None and not insecure and not is_loopback(control.peer)
        if exposed and not anonymous:
            raise _in_clear(where)
        # A URL that names nobody asks for no password: anonymous accounts take any.
        secret = (password() if location.user else None) if callable(password) else password
        if secret is not None and exposed:
            raise _in_clear(where)
        if secret is None and anonymous:
            secret = "anonymous@"  # noqa: S105  # the customary one
        if secret is None:
            raise LoginRefused(
                f"log in to {where}: it wants a password and none is known; `iqdata login` keeps one, IQDATA_PASSWORD gives one",
                op="login",
            )
        if any(char in secret for char in "\r\n\0"):
            raise ConfigError(f"{where}: the password holds a line end, which FTP cannot carry")
        reply = control.ask(f"PASS {secret}")
        if reply.code == 332:
            raise LoginRefused(
                f"log in to {where}: the server wants an account (ACCT), which is not supported", op="login"
            )
    if not reply.positive:
        raise login_failure(reply, where=where)


def _in_clear(where: str) -> ConfigError:
    return ConfigError(
        f"{where}: the password would travel in clear; use ftpes:// or sftp://, or allow it with --insecure"
        " (setting: insecure = true)"
    )


def is_loopback(address: str) -> bool:
    """Tell whether an address is this machine's own loopback."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _unreachable(exc: OSError, where: str) -> ConnectFailed:
    match exc:
        case socket.gaierror():
            why, again = "no such host; check the spelling", exc.errno == socket.EAI_AGAIN
        case ConnectionRefusedError():
            why, again = "nothing listens there; check host and port, or is the server down?", True
        case TimeoutError():
            why, again = "no answer; check host, port and firewall", True
        case _:
            why, again = exc.strerror or str(exc), True
    return ConnectFailed(f"connect to {where}: {why}", op="connect", reply=str(exc), retryable=again)


def _peek_fingerprint(location: Location, timeout_s: float) -> str | None:
    """Return the fingerprint of the certificate that was not believed, for the message; nothing is sent to the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    control = Control(location.host, location.port, timeout_s=timeout_s)
    try:
        control.open(tls=context if location.scheme is Scheme.FTPS else None)
        if location.scheme is Scheme.FTPES:
            control.ask("AUTH TLS")
            control.encrypt(context)
        certificate = control.tls.getpeercert(binary_form=True) if control.tls is not None else None
    except BREAKS:
        return None
    finally:
        control.close()
    return fingerprint_of(certificate) if certificate else None
