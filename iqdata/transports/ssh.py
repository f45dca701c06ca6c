"""An SSH connection for SFTP: the host's key checked, the account opened by agent, key file or password.

Refuses a host whose key is not known: accepting one unseen is how a password is handed to a stranger.
"""

import base64
import contextlib
import dataclasses
import getpass
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko

from iqdata.errors import ConfigError, ConnectFailed, LoginRefused, TooManyConnections
from iqdata.location import Location
from iqdata.transports.ftpcontrol import keep_alive
from iqdata.transports.sftp import SftpTransport
from iqdata.transports.sftpwire import BREAKS, Malformed, Wire

_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
"""GCM first: one pass for secrecy and integrity, 1.2 times the rate of CTR with a hash beside it."""

_WINDOW_BYTES = 16 * 1024 * 1024
_PACKET_BYTES = 128 * 1024
"""What the server may send at once. Larger packets cost fewer turns of the interpreter for the same bytes."""

_AGENT_KEYS = 4
"""Servers hang up after six attempts by default; a full agent must not keep the password from its turn."""

_KEY_FILES = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SshOptions:
    """How to know the host and open the account.

    Attributes:
        known_hosts: files of known host keys; the first is where an accepted key is written.
        key_files: private keys to try.
        agent: whether to ask the SSH agent for keys.
    """

    known_hosts: tuple[Path, ...]
    key_files: tuple[Path, ...]
    agent: bool = True


def usual_options(home: Path | None = None) -> SshOptions:
    """Return what ssh itself uses: `~/.ssh/known_hosts`, `/etc/ssh/ssh_known_hosts`, the usual keys and the agent."""
    folder = (home or Path.home()) / ".ssh"
    return SshOptions(
        known_hosts=(folder / "known_hosts", Path("/etc/ssh/ssh_known_hosts")),
        key_files=tuple(folder / name for name in _KEY_FILES),
    )


def open_sftp(
    location: Location,
    password: Callable[[], str | None] | str | None,
    *,
    ssh: SshOptions | None = None,
    timeout_s: float,
) -> SftpTransport:
    """Connect, check the host, open the account and begin SFTP.

    Raises:
        ConnectFailed: no SSH server there, or its key is unknown or another than known.
        LoginRefused: neither key nor password opens the account.
    """
    ssh = ssh or usual_options()
    where = str(location)
    transport: paramiko.Transport | None = None
    try:
        transport = _shake_hands(location, ssh, timeout_s)
        _log_in(transport, location, password, ssh)
        channel = transport.open_session(
            window_size=_WINDOW_BYTES, max_packet_size=_PACKET_BYTES, timeout=timeout_s
        )
        channel.settimeout(timeout_s)
        channel.invoke_subsystem("sftp")
        return SftpTransport(Wire(channel), transport, root=location.root)
    except BREAKS as exc:
        if transport is not None:
            transport.close()
        if transport is None and isinstance(exc, paramiko.SSHException | EOFError):
            # sshd drops connections unread when too many are not logged in yet (MaxStartups).
            raise TooManyConnections(
                f"connect to {where}: the server hung up before it said anything ({exc}); use fewer jobs or try later",
                op="connect",
                reply=str(exc),
                retryable=True,
            ) from exc
        if isinstance(exc, paramiko.ChannelException):
            why = "the server opens no session; too many are open, or it offers no SFTP"
        elif isinstance(exc, TimeoutError):
            why = "it does not answer as an SSH server"
        elif isinstance(exc, Malformed):
            why = "it offers no SFTP"
        else:
            why = str(exc) or "it closed the connection"
        raise ConnectFailed(
            f"connect to {where}: {why}", op="connect", reply=str(exc), retryable=True
        ) from exc
    except BaseException:
        if transport is not None:
            transport.close()
        raise


def _shake_hands(location: Location, ssh: SshOptions, timeout_s: float) -> paramiko.Transport:
    """Connect and check the host's key."""
    where = str(location)
    try:
        sock = socket.create_connection((location.host, location.port), timeout=timeout_s)
    except socket.gaierror as exc:
        again = exc.errno == socket.EAI_AGAIN
        message = f"connect to {where}: no such host; check the spelling"
        raise ConnectFailed(message, op="connect", reply=str(exc), retryable=again) from exc
    except OSError as exc:
        why = (
            "nothing listens there; is the server down?"
            if isinstance(exc, ConnectionRefusedError)
            else str(exc)
        )
        raise ConnectFailed(
            f"connect to {where}: {why}", op="connect", reply=str(exc), retryable=True
        ) from exc
    # Without it each small request waits for the answer to the one before: a hundredth of the rate.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_alive(sock)
    known = _known_keys(location, ssh)
    try:
        transport = paramiko.Transport(
            sock, default_window_size=_WINDOW_BYTES, default_max_packet_size=_PACKET_BYTES
        )
    except BaseException:
        sock.close()
        raise
    try:
        options = transport.get_security_options()
        options.ciphers = tuple(name for name in _CIPHERS if name in options.ciphers)
        # A known kind of key is asked for first; another kind would look like a changed host.
        kinds = {key.get_name() for key in known}
        options.key_types = sorted(options.key_types, key=lambda name: _family(name) not in kinds)
        transport.banner_timeout = transport.auth_timeout = timeout_s
        transport.start_client(timeout=timeout_s)
        _check_host(transport.get_remote_server_key(), known, location, ssh)
    except BaseException:
        transport.close()
        raise
    return transport


def _family(algorithm: str) -> str:
    """Return the kind of key that a signature algorithm is made with."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def host_name(location: Location) -> str:
    """Return a host as known_hosts names it. Source: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"."""
    return location.host if location.port == 22 else f"[{location.host}]:{location.port}"


def _known_keys(location: Location, ssh: SshOptions) -> list[paramiko.PKey]:
    keys: list[paramiko.PKey] = []
    for path in ssh.known_hosts:
        hosts = paramiko.HostKeys()
        with contextlib.suppress(FileNotFoundError):
            try:
                hosts.load(str(path))
            except (OSError, paramiko.SSHException) as exc:
                if isinstance(exc, FileNotFoundError):
                    raise
                raise ConfigError(f"known hosts in {path} cannot be read: {exc}") from exc
        keys += (hosts.lookup(host_name(location)) or {}).values()
    return keys


def fingerprint_of(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as ssh shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def _check_host(key: paramiko.PKey, known: list[paramiko.PKey], location: Location, ssh: SshOptions) -> None:
    if key in known:
        return
    found = f"{key.get_name()} {fingerprint_of(key)}"
    if any(one.get_name() == key.get_name() for one in known):
        raise ConnectFailed(
            f"connect to {location}: THE HOST'S KEY HAS CHANGED: it shows {found}, and another one is known."
            " Someone may stand in between. If the organizer confirms the new key, remove the old one"
            f" (ssh-keygen -R '{host_name(location)}') and accept the new one",
            op="connect",
        )
    raise ConnectFailed(
        f"connect to {location}: the host's key is not known: {found}. Compare it with what the organizer says; then"
        f" `iqdata login --accept-host-key {fingerprint_of(key)}` accepts it (it goes to {ssh.known_hosts[0]})",
        op="connect",
    )


def accept_host_key(
    location: Location, fingerprint: str, *, ssh: SshOptions | None = None, timeout_s: float
) -> Path:
    """Write the host's key to the first file of known hosts if it has this fingerprint, and return the file.

    Raises:
        ConnectFailed: no SSH server there, or it shows another key.
        ConfigError: the file cannot be written.
    """
    ssh = ssh or usual_options()
    try:
        sock = socket.create_connection((location.host, location.port), timeout=timeout_s)
        transport = paramiko.Transport(sock)
        try:
            transport.start_client(timeout=timeout_s)
            key = transport.get_remote_server_key()
        finally:
            transport.close()
    except BREAKS as exc:
        raise ConnectFailed(f"connect to {location}: {exc}", op="connect", reply=str(exc)) from exc
    if fingerprint_of(key) != fingerprint.rstrip("="):
        raise ConnectFailed(
            f"connect to {location}: the host shows {key.get_name()} {fingerprint_of(key)}, not {fingerprint};"
            " nothing was accepted",
            op="connect",
        )
    path = ssh.known_hosts[0]
    line = f"{host_name(location)} {key.get_name()} {key.get_base64()}\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = path.read_bytes() if path.exists() else b""
        with path.open("ab") as file:
            file.write((b"" if not before or before.endswith(b"\n") else b"\n") + line.encode())
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc
    return path


def _log_in(
    transport: paramiko.Transport,
    location: Location,
    password: Callable[[], str | None] | str | None,
    ssh: SshOptions,
) -> None:
    """Try keys, then the password; each is offered only while the server still takes its kind."""
    user = location.user or getpass.getuser()
    allowed = {"publickey", "password", "keyboard-interactive"}
    tried = []
    for key in _keys(ssh):
        if "publickey" not in allowed:
            break
        tried.append("key")
        try:
            transport.auth_publickey(user, key)
        except paramiko.BadAuthenticationType as exc:
            allowed = set(exc.allowed_types)
        except paramiko.AuthenticationException:
            continue
        if transport.is_authenticated():
            return
    secret = password() if callable(password) else password
    if secret is not None:
        tried.append("password")
        for method in ("password", "keyboard-interactive"):
            if method not in allowed:
                continue
            try:
                if method == "password":
                    transport.auth_password(user, secret, fallback=False)
                else:
                    _answer_questions(transport, user, secret)
            except paramiko.BadAuthenticationType as exc:
                allowed = set(exc.allowed_types)
            except paramiko.AuthenticationException:
                break
            if transport.is_authenticated():
                return
    what = " and ".join(dict.fromkeys(tried)) or "nothing (no key and no password is known)"
    raise LoginRefused(
        f"log in to {location} as {user}: refused after offering {what}; the server takes {', '.join(sorted(allowed))}."
        " `iqdata login` keeps a password; a key belongs in ~/.ssh or the agent",
        op="login",
    )


def _answer_questions(transport: paramiko.Transport, user: str, secret: str) -> list[str]:
    """Answer every hidden question with the password: what servers that only know keyboard-interactive ask."""
    return transport.auth_interactive(
        user, lambda _title, _text, prompts: ["" if echo else secret for _prompt, echo in prompts]
    )


def _keys(ssh: SshOptions) -> Iterator[paramiko.PKey]:
    """Yield the agent's keys and those in files; one behind a passphrase is the agent's business."""
    if ssh.agent and os.environ.get("SSH_AUTH_SOCK"):
        with contextlib.suppress(paramiko.SSHException, OSError):
            yield from paramiko.Agent().get_keys()[:_AGENT_KEYS]
    for path in ssh.key_files:
        for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
            try:
                key: paramiko.PKey = kind(filename=str(path))
            except (OSError, paramiko.SSHException, ValueError):
                continue
            yield key
            break
