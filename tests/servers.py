"""Real servers on free loopback ports, for tests and benchmarks: vsftpd, ProFTPD, Pure-FTPd, OpenSSH, pyftpdlib.

Each runs as its own process with its files in a folder of its own, and is stopped by its own process id. The packages
of the first four are unpacked, not installed (`scripts/setup --tests`), so that no service appears on the machine.
"""

import contextlib
import dataclasses
import functools
import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iqdata.location import Location
from iqdata.transports.ssh import SshOptions

ROOT = Path(__file__).resolve().parent.parent
UNPACKED = ROOT / ".cache" / "servers"

USER = "team"
PASSWORD = "pw-9Kx"

_ACCOUNT = "daemon"
"""A system account that every Debian has, without powers, and whose home exists (vsftpd goes there first)."""

_START_PATIENCE_S = 15.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server in action.

    Attributes:
        root: the local folder that the space's root is.
        location: without password.
        ca_file: what to trust, where the server speaks TLS.
        host_key: the server's public key line, where it speaks SSH.
        client_key: a private key that opens the account, where it speaks SSH.
    """

    kind: str
    root: Path
    location: Location
    password: str
    process: subprocess.Popen[bytes]
    ca_file: Path | None = None
    host_key: str = ""
    client_key: Path | None = None

    @property
    def url(self) -> str:
        """The location as text."""
        return str(self.location)


def program(name: str) -> str:
    """Return an unpacked or installed program, or skip the test that asked for it."""
    for folder in ("usr/sbin", "usr/bin", "usr/lib/openssh"):
        found = UNPACKED / folder / name
        if found.is_file():
            return str(found)
    installed = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if installed is None:
        pytest.skip(f"{name} is not there; scripts/setup --tests unpacks it")
    return installed


def environment() -> dict[str, str]:
    """Return the environment in which unpacked programs find their libraries."""
    folders = [str(path) for path in UNPACKED.glob("usr/lib/*-linux-gnu")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)} if folders else dict(os.environ)


def need_root(what: str) -> None:
    """Skip where a server needs powers that this user has not."""
    if os.geteuid() != 0:
        pytest.skip(f"{what} can only be started by root")


def reachable(folder: Path) -> None:
    """Let accounts without powers into a test's folder: pytest makes its own for one user alone."""
    for above in (folder, *folder.parents[:4]):
        if above.stat().st_uid == os.geteuid() and above != Path(above.anchor):
            above.chmod(above.stat().st_mode | 0o755)


def free_port() -> int:
    """Return a port nobody listens on now, below those that the kernel hands to connections between our look and the start."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def started(
    command: list[str],
    *,
    port: int,
    log: Path,
    env: dict[str, str] | None = None,
    account: pwd.struct_passwd | None = None,
    host: str = "127.0.0.1",
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; enter it once the port answers."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env or environment(),
            start_new_session=True,
            **(
                {}
                if account is None
                else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            ),
        )
    try:
        _await_port(process, host, port, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _await_port(process: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(
                f"{process.args} ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}"
            )
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args} does not listen: {log.read_text(errors='replace')[-2000:]}")


@functools.cache
def certificate() -> tuple[Path, Path]:
    """Return a self-made certificate for localhost and 127.0.0.1 (its own authority), and a file with key and certificate."""
    folder = ROOT / ".cache" / "tls"
    folder.mkdir(parents=True, exist_ok=True)
    authority, both = folder / "ca.pem", folder / "server.pem"
    if not both.is_file():
        _make_certificate(authority, both)
    return authority, both


def _make_certificate(authority: Path, both: Path) -> None:
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Written beside and renamed: tests on several cores make it at the same time.
    for path, content in ((authority, public), (both, private + public)):
        part = path.with_suffix(f".{os.getpid()}")
        part.touch(mode=0o600)
        part.write_bytes(content)
        part.replace(path)


@contextlib.contextmanager
def vsftpd(folder: Path, *, tls: str = "", settings: str = "", host: str = "127.0.0.1") -> Iterator[Running]:
    """Run vsftpd. Its one account is the anonymous one with a password of its own, so that no system account is needed."""
    need_root("vsftpd")
    reachable(folder)
    root = folder / "root"
    root.mkdir()
    root.chmod(0o755)
    space = root / "space"
    space.mkdir()
    shutil.chown(space, _ACCOUNT)
    empty = folder / "empty"
    empty.mkdir()
    passwords = folder / "passwords"
    passwords.write_text(f"{PASSWORD}\n")
    port = free_port()
    config = folder / "vsftpd.conf"
    config.write_text(
        f"""listen=YES
listen_address={host}
listen_port={port}
background=NO
anonymous_enable=YES
local_enable=NO
ftp_username={_ACCOUNT}
anon_root={root}
secure_chroot_dir={empty}
secure_email_list_enable=YES
email_password_file={passwords}
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
file_open_mode=0666
max_per_ip=200
max_clients=200
xferlog_enable=NO
connect_from_port_20=NO
seccomp_sandbox=NO
pasv_min_port=0
pasv_max_port=0
{_vsftpd_tls(tls)}{settings}"""
    )
    with started([program("vsftpd"), str(config)], port=port, log=folder / "log", host=host) as process:
        yield Running(
            kind="vsftpd",
            root=space,
            location=Location.parse(f"{tls or 'ftp'}://anonymous@{host}:{port}/space"),
            password=PASSWORD,
            process=process,
            ca_file=certificate()[0] if tls else None,
        )


def _vsftpd_tls(tls: str) -> str:
    if not tls:
        return ""
    return f"""ssl_enable=YES
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=YES
require_ssl_reuse=YES
ssl_tlsv1=YES
ssl_ciphers=HIGH
implicit_ssl={"YES" if tls == "ftps" else "NO"}
rsa_cert_file={certificate()[1]}
rsa_private_key_file={certificate()[1]}
"""


_PYFTPDLIB = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer
root, port, user, password, pem = sys.argv[1:6]
handler = type("Handler", (TLS_FTPHandler if pem else FTPHandler,), {})
if pem:
    handler.certfile = pem
    handler.tls_control_required = handler.tls_data_required = True
handler.authorizer = DummyAuthorizer()
handler.authorizer.add_user(user, password, root, perm="elradfmwMT")
handler.auth_failed_timeout = 0
exec(sys.argv[6])
FTPServer(("127.0.0.1", int(port)), handler).serve_forever()
"""


@contextlib.contextmanager
def pyftpdlib(folder: Path, *, tls: str = "", settings: str = "") -> Iterator[Running]:
    """Run pyftpdlib; `settings` is Python that may change `handler`."""
    root = folder / "root"
    (root / "space").mkdir(parents=True)
    port = free_port()
    pem = str(certificate()[1]) if tls else ""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        _PYFTPDLIB,
        str(root),
        str(port),
        USER,
        PASSWORD,
        pem,
        settings,
    ]
    with started(command, port=port, log=folder / "log", env=dict(os.environ)) as process:
        yield Running(
            kind="pyftpdlib",
            root=root / "space",
            location=Location.parse(f"{tls or 'ftp'}://{USER}@127.0.0.1:{port}/space"),
            password=PASSWORD,
            process=process,
            ca_file=certificate()[0] if tls else None,
        )


@contextlib.contextmanager
def proftpd(folder: Path, *, tls: str = "", settings: str = "") -> Iterator[Running]:
    """Run ProFTPD with one account of its own; over TLS it wants the session resumed on data connections."""
    need_root("proftpd")
    reachable(folder)
    command = program("proftpd")
    root = folder / "root"
    (root / "space").mkdir(parents=True)
    identity = pwd.getpwnam(_ACCOUNT)
    shutil.chown(root, _ACCOUNT)
    shutil.chown(root / "space", _ACCOUNT)
    accounts = folder / "passwd"
    accounts.write_text(
        f"{USER}:{_hashed(PASSWORD)}:{identity.pw_uid}:{identity.pw_gid}::{root}:/bin/false\n"
    )
    accounts.chmod(0o600)
    port = free_port()
    modules = UNPACKED / "usr/lib/proftpd"
    config = folder / "proftpd.conf"
    config.write_text(
        f"""ModulePath {modules if modules.is_dir() else "/usr/lib/proftpd"}
ModuleControlsACLs insmod,rmmod allow user root
LoadModule mod_tls.c
LoadModule mod_digest.c
ServerType standalone
DefaultServer on
DefaultAddress 127.0.0.1
SocketBindTight on
Port {port}
User {_ACCOUNT}
Group {_ACCOUNT}
PidFile {folder}/pid
ScoreboardFile {folder}/scoreboard
DelayEngine off
WtmpLog off
SystemLog {folder}/system.log
TransferLog none
UseReverseDNS off
RequireValidShell off
AuthOrder mod_auth_file.c
AuthUserFile {accounts}
AuthPAM off
DefaultRoot {root}
Umask 022
MaxInstances 100
MaxClientsPerHost none
AllowOverwrite on
AllowStoreRestart on
AllowRetrieveRestart on
TimesGMT on
UseSendfile off
<IfModule mod_ctrls.c>
ControlsEngine off
ControlsSocket {folder}/ctrls
</IfModule>
<IfModule mod_digest.c>
DigestEngine on
</IfModule>
{_proftpd_sftp(folder) if tls == "sftp" else _proftpd_tls(tls)}{settings}
"""
    )
    with started([command, "-n", "-q", "-c", str(config)], port=port, log=folder / "log") as process:
        yield Running(
            kind="proftpd",
            root=root / "space",
            location=Location.parse(f"{tls or 'ftp'}://{USER}@127.0.0.1:{port}/space"),
            password=PASSWORD,
            process=process,
            ca_file=certificate()[0] if tls.startswith("ftp") else None,
            host_key=(folder / "host.pub").read_text() if tls == "sftp" else "",
        )


def _proftpd_sftp(folder: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")], check=True)
    return f"""LoadModule mod_sftp.c
SFTPEngine on
SFTPHostKey {folder}/host
SFTPLog none
SFTPAuthMethods password
SFTPOptions IgnoreSFTPUploadPerms
"""


def _proftpd_tls(tls: str) -> str:
    if not tls:
        return ""
    return f"""TLSEngine on
TLSRequired on
TLSRSACertificateFile {certificate()[0]}
TLSRSACertificateKeyFile {certificate()[1]}
TLSECCertificateFile {certificate()[0]}
TLSECCertificateKeyFile {certificate()[1]}
TLSOptions {"UseImplicitSSL" if tls == "ftps" else "NoEmptyFragments"}
TLSRenegotiate none
"""


def _hashed(password: str) -> str:
    """Return a password as account files want it (SHA-512 crypt)."""
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@contextlib.contextmanager
def pureftpd(folder: Path, *, tls: str = "", settings: str = "") -> Iterator[Running]:
    """Run Pure-FTPd with one virtual account; `settings` are further arguments."""
    need_root("pure-ftpd")
    reachable(folder)
    command, keeper = program("pure-ftpd"), program("pure-pw")
    root = folder / "root"
    (root / "space").mkdir(parents=True)
    identity = pwd.getpwnam(_ACCOUNT)
    shutil.chown(root, _ACCOUNT)
    shutil.chown(root / "space", _ACCOUNT)
    accounts, database = folder / "passwd", folder / "accounts.pdb"
    accounts.write_text(
        f"{USER}:{_hashed(PASSWORD)}:{identity.pw_uid}:{identity.pw_gid}::{root}/./::::::::::::\n"
    )
    accounts.chmod(0o600)
    subprocess.run(
        [keeper, "mkdb", str(database), "-f", str(accounts)],
        env=environment(),
        check=True,
        capture_output=True,
    )
    port = free_port()
    arguments = [
        command, "-S", f"127.0.0.1,{port}", "-l", f"puredb:{database}", "-E", "-A", "-H", "-j", "-u", "1",
        "-c", "100", "-C", "100", "-I", "15", "-L", "200000:64", "-D", "-U", "133:022", "-g", str(folder / "pid"), "-k", "100",
    ]  # fmt: skip
    if tls:
        arguments += ["-Y", "2", "-2", str(certificate()[1])]
    with started([*arguments, *settings.split()], port=port, log=folder / "log") as process:
        yield Running(
            kind="pureftpd",
            root=root / "space",
            location=Location.parse(f"{tls or 'ftp'}://{USER}@127.0.0.1:{port}/space"),
            password=PASSWORD,
            process=process,
            ca_file=certificate()[0] if tls else None,
        )


@contextlib.contextmanager
def openssh(folder: Path, *, settings: str = "", host: str = "127.0.0.1") -> Iterator[Running]:
    """Run OpenSSH's server with SFTP alone, under an account without powers: root would need a user of sshd's own."""
    command = program("sshd")
    reachable(folder)
    account = pwd.getpwnam(_ACCOUNT) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    root = folder / "space"
    root.mkdir()
    keys = folder / "keys"
    keys.mkdir()
    for name in ("host", "client"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(keys / name)], check=True
        )
    shutil.copy(keys / "client.pub", keys / "authorized")
    port = free_port()
    config = folder / "sshd_config"
    config.write_text(
        f"""ListenAddress {host}:{port}
HostKey {keys}/host
AuthorizedKeysFile {keys}/authorized
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding no
MaxStartups 100
MaxSessions 20
Subsystem sftp internal-sftp
ForceCommand internal-sftp
LogLevel ERROR
{settings}
"""
    )
    for path in (folder, root, keys, *keys.iterdir()):
        if os.geteuid() == 0:
            shutil.chown(path, account.pw_uid, account.pw_gid)
    env = environment()
    # sshd is called by its whole path, since it starts itself again for each connection; the copy lies where the account
    # may go.
    own = Path(shutil.copy(command, folder / "sshd"))
    with started(
        [str(own), "-D", "-e", "-f", str(config)],
        port=port,
        log=folder / "log",
        env=env,
        account=account,
        host=host,
    ) as process:
        yield Running(
            kind="openssh",
            root=root,
            location=Location.parse(f"sftp://{account.pw_name}@{host}:{port}{root}"),
            password=PASSWORD,
            process=process,
            host_key=(keys / "host.pub").read_text(),
            client_key=keys / "client",
        )


def ssh_options(running: Running) -> SshOptions:
    """Return what makes the server's host key known and opens its account."""
    known = running.root.parent / "known_hosts"
    known.write_text(f"[{running.location.host}]:{running.location.port} {running.host_key}")
    keys = (running.client_key,) if running.client_key is not None else ()
    return SshOptions(known_hosts=(known,), key_files=keys, agent=False)
