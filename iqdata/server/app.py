"""A space that runs: settings in, one event loop with its sessions, until told to stop.

Ties the parts together and refuses to contain any of their work.
"""

import contextlib
import dataclasses
import os
import resource
import socket
import stat
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from iqdata.extract import engine
from iqdata.extract.model import Limits
from iqdata.paths import RelPath
from iqdata.server.accounts import Account, Accounts
from iqdata.server.autoextract import AutoExtract, ExtractionSettings, Finished
from iqdata.server.doors import Tls, listen
from iqdata.server.executors import Executors, default_slots
from iqdata.server.ftp import FTPServer, IOLoop
from iqdata.server.handler import SecureSpaceSession, SpaceSession
from iqdata.server.happenings import Happening, Listener, What
from iqdata.server.jail import Identity, Jail, StoredFile, identity_of
from iqdata.server.jobs import AfterExtraction, to_json
from iqdata.server.journal import Journal
from iqdata.server.layout import Layout, SpaceProfile
from iqdata.server.lines import LineFile
from iqdata.server.logins import LoginGuard, PasswordCheck
from iqdata.server.mailbox import Mailbox
from iqdata.server.permissions import Standing
from iqdata.server.quota import QuotaKeeper
from iqdata.server.recovery import recover
from iqdata.server.worker import utc

_LOOK_AT_ACCOUNTS_S = 2.0
_COUNT_ANEW_S = 600.0
_WANTED_FILES = 8192


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpaceSettings:
    """All that a space needs to know.

    Attributes:
        users: accounts whose password comes from the command line, by name; passwords never enter a repr.
        quota_bytes: what each team may hold, unless its account says otherwise.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 2121
    users: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    tls: Tls | None = None
    quota_bytes: int | None = None
    passive_ports: range | None = None
    masquerade_address: str | None = None
    after: AfterExtraction = AfterExtraction.KEEP
    executors: Executors = dataclasses.field(default_factory=lambda: Executors(slots=default_slots()))
    limits: Limits = dataclasses.field(default_factory=Limits)
    max_connections: int = 1024
    max_per_address: int = 256
    max_per_account: int = 256
    idle_timeout_s: int = 300
    stall_timeout_s: int = 120
    login_guard: Callable[[], LoginGuard] = LoginGuard


class Space:
    """One running space."""

    def __init__(
        self,
        settings: SpaceSettings,
        *,
        door: socket.socket | None = None,
        on_event: Listener = lambda _event: None,
    ) -> None:
        """Prepare the root; nobody is served before `run`.

        Args:
            settings: what kind of space it is.
            door: a socket that listens; by default one for the host and port of the settings.
            on_event: told of everything that happens, on several threads.

        Raises:
            ConfigError: the root cannot be used, the port cannot be bound.
        """
        self.settings = settings
        self.idle_timeout_s = settings.idle_timeout_s
        self._on_event = on_event
        self.layout = Layout(root=settings.root.absolute())
        self.layout.prepare()
        # What workers of a killed run left; one that still works holds a lock on its own.
        engine.sweep(self.layout.stage, older_than_s=0, now=time.time())
        self.accounts = Accounts(self.layout)
        for name in settings.users:
            self.accounts.ensure(name)
        self._known: Mapping[str, Account] = self.accounts.all()
        self._passwords = PasswordCheck(settings.users)
        self._guard = settings.login_guard()
        self._audit = LineFile(
            self.layout.private / "audit.jsonl", limit_bytes=32 * 1024**2, keep=8, hold=True
        )
        self._audit_lock = threading.Lock()
        self._sessions: dict[SpaceSession, str] = {}
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="space")
        self._quota = QuotaKeeper()
        self._take_limits(self._known)
        door = door or listen(settings.host, settings.port)
        self._stop = threading.Event()
        self.recovered = threading.Event()
        self.journal = Journal(self.layout.private / "journal.sqlite")
        self.extractor = AutoExtract(
            ExtractionSettings(
                executors=settings.executors,
                limits=settings.limits,
                after=settings.after,
                stage=self.layout.stage,
            ),
            self.journal,
            on_finished=self._extracted,
            budget=self._quota,
        )
        self._loop = IOLoop()
        self._mailbox = Mailbox(self._loop, lambda _exc: self.note_error("event loop"))
        self._server = self._open(door)

    def _open(self, door: socket.socket) -> Any:
        settings = self.settings
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(_WANTED_FILES, hard) if hard != resource.RLIM_INFINITY else _WANTED_FILES
        if soft < wanted:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        base: Any = SpaceSession if settings.tls is None else SecureSpaceSession
        data = type("Data", (base.dtp_handler,), {"timeout": settings.stall_timeout_s})
        attributes: dict[str, object] = {
            "space": self,
            "dtp_handler": data,
            "masquerade_address": settings.masquerade_address,
        }
        if settings.tls is not None:
            attributes |= {
                "ssl_context": settings.tls.context,
                "certfile": str(settings.tls.certificate),
                "tls_control_required": settings.tls.required,
                "tls_data_required": settings.tls.required,
            }
        handler = type("Session", (base,), attributes)
        server = FTPServer(door, handler, ioloop=self._loop, backlog=512)
        # Each session may hold a control connection, a listener and a data connection.
        server.max_cons = settings.max_connections * 3
        server.max_cons_per_ip = settings.max_per_address
        return server

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.address
        return str(host), int(port)

    def enabled_accounts(self) -> list[str]:
        """Return the names of those who may log in."""
        return sorted(account.name for account in self._known.values() if account.enabled)

    # --- life

    def run(self, *, started: threading.Event | None = None) -> None:
        """Serve until `stop`, then let running extractions finish for a moment."""
        try:
            # Workers start while the first sessions log in.
            left = self.extractor.start(ready=False)
            self._pool.submit(self._recover, left)
            self._loop.call_every(_LOOK_AT_ACCOUNTS_S, self._look_at_accounts)
            self._loop.call_every(_COUNT_ANEW_S, self._count_anew)
            host, port = self.address
            self.note(What.STARTED, address=f"{host}:{port}")
            if started is not None:
                started.set()
            timeout: float | None = 1.0
            while not self._stop.is_set():
                timeout = self._loop.loop(
                    timeout=min(timeout if timeout is not None else 1.0, 1.0), blocking=False
                )
        finally:
            self._mailbox.close()
            self._server.close_all()
            self.extractor.stop()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self.note(What.STOPPED)
            self._audit.close()
            self.journal.close()

    def _recover(self, left: frozenset[str]) -> None:
        """Find what was uploaded without being queued, once what a former run began is done."""
        try:
            if not self.extractor.wait_for(left):
                return
            homes = [
                home
                for home in sorted(self.layout.homes.iterdir())
                if home.is_dir() and not home.is_symlink()
            ]
            found = recover(homes, self.journal, self.extractor, busy=self._is_busy)
            if found or left:
                count = found + len(left)
                self.note(What.RECOVERED, files=count, detail=f"{count} archives were left from the last run")
        except Exception:  # noqa: BLE001  the thread ends here
            self.note_error("recovery")
        finally:
            self.recovered.set()

    def _is_busy(self, home: Path, path: str) -> bool:
        return any(session.is_receiving(home, RelPath(path)) for session in list(self._sessions))

    def stop(self) -> None:
        """End `run`, from any thread or a signal handler."""
        self._stop.set()
        self._mailbox.post(lambda: None)

    # --- what sessions ask

    def offload(self, work: Callable[[], Any], back: Callable[[Any], None]) -> None:
        """Do `work` on another thread and call `back` with its result, or what it raised, on the loop's."""

        def do() -> None:
            try:
                result: Any = work()
            except Exception as exc:  # noqa: BLE001  handed over
                result = exc
            self._mailbox.post(lambda: back(result))

        with contextlib.suppress(RuntimeError):  # the space stops
            self._pool.submit(do)

    def home_of(self, team: str) -> Path:
        """Return a team's home."""
        return self.layout.home(team)

    def is_banned(self, address: str) -> bool:
        """Tell whether an address is turned away."""
        return self._guard.is_banned(address, now=time.monotonic())

    def admit(self, name: str, password: str) -> Standing | None:
        """Check a password; on a first login the home is made. Runs on a thread of the pool."""
        now = time.monotonic()
        # Read anew each time: an old password must not work for another moment.
        account = self.accounts.get(name)
        answer = self._passwords.quick(account, name, password, now=now)
        if answer is None:
            answer = self._passwords.slow(account, name, password, now=now)
        if not answer or account is None:
            return None
        quota = self._quota_of(account)
        profile = SpaceProfile(keeps_archive=self.settings.after is AfterExtraction.KEEP, quota_bytes=quota)
        home = self.layout.prepare_home(name, profile)
        self._quota.set_limit(home, quota)
        self._quota.count(home)
        return account.standing

    def login_failed(self, address: str, name: str) -> tuple[float, bool]:
        """Count a failed login; see `LoginGuard.failed`."""
        delay_s, banned = self._guard.failed(address, name, now=time.monotonic())
        self.note(What.LOGIN_FAILED, team=name[:64], address=address, outcome="failed")
        if banned:
            self.note(What.BANNED, address=address, detail="too many failed logins")
        return delay_s, banned

    def entered(self, session: SpaceSession, standing: Standing) -> str | None:
        """Count a session in; return why not when the account has too many."""
        self._guard.succeeded(session.remote_ip)
        if (
            sum(1 for team in self._sessions.values() if team == standing.team)
            >= self.settings.max_per_account
        ):
            self.note(
                What.TURNED_AWAY, team=standing.team, address=session.remote_ip, detail="too many sessions"
            )
            return f"Too many connections for this account (at most {self.settings.max_per_account})."
        self._sessions[session] = standing.team
        return None

    def left(self, session: SpaceSession, team: str) -> None:
        """Count a session out."""
        if self._sessions.pop(session, None) is not None:
            self.note(What.LOGOUT, team=team, address=session.remote_ip)

    def is_being_uploaded(self, home: Path, path: RelPath, *, but_by: SpaceSession) -> bool:
        """Tell whether another session writes that file."""
        return any(session is not but_by and session.is_receiving(home, path) for session in self._sessions)

    def extraction_status(self, home: Path, path: RelPath) -> str:
        """Return what SITE EXTRACT-STATUS says, as JSON."""
        state, line = self.extractor.status_of(home, path)
        return to_json({"state": state, "line": line}).decode()

    # --- quota

    def may_begin_upload(self, home: Path) -> bool:
        """Tell whether there is room for anything at all."""
        return self._quota.left(home) != 0

    def used_bytes(self, team: str) -> int | None:
        """Return what a team has drawn of its quota, None when it has none."""
        return self._quota.used(self.home_of(team))

    def take(self, home: Path, size_bytes: int) -> bool:
        """Draw bytes for an upload."""
        return self._quota.take(home, size_bytes)

    def give_back(self, home: Path, size_bytes: int) -> None:
        """Return bytes that are free again."""
        self._quota.give_back(home, size_bytes)

    @contextlib.contextmanager
    def replacing(self, jail: Jail, path: RelPath) -> Iterator[None]:
        """Take note of a file that loses its name to another one within the block."""
        gone = None
        if self._quota.is_limited(jail.home):
            with contextlib.suppress(OSError):
                gone = jail.stat(path, follow=False)
        yield
        self.removed(jail.home, gone)

    def removed(self, home: Path, gone: os.stat_result | None) -> None:
        """Take note of a name that is gone; bytes that are still being received are free when the last one has come."""
        if gone is None or not stat.S_ISREG(gone.st_mode) or gone.st_nlink > 1:
            return
        receiving = self._receiving(identity_of(gone))
        for file in receiving:
            file.lost_its_name = True
        if not receiving:
            self._quota.give_back(home, gone.st_size)

    def received(self, home: Path, file: StoredFile) -> None:
        """Take note that a session lets go of a file that it received; it is closed."""
        last = file.last
        if last is None or not self._quota.is_limited(home):
            return
        if file.lost_its_name:
            if not self._receiving(file.identity):
                self._quota.give_back(home, last.st_size)
        elif last.st_nlink == 0:
            # Something else than a session removed it, and has counted an unknown part of it.
            self._quota.doubt(home)
        if self._quota.is_in_doubt(home):
            self._settle_later([home])

    def _receiving(self, identity: Identity) -> list[StoredFile]:
        files = (session.receiving for session in self._sessions)
        return [file for file in files if file is not None and file.identity == identity]

    def _quota_of(self, account: Account) -> int | None:
        return account.quota_bytes if account.quota_bytes is not None else self.settings.quota_bytes

    def _take_limits(self, known: Mapping[str, Account], *, in_use: bool = False) -> None:
        for account in known.values():
            self._quota.set_limit(self.layout.home(account.name), self._quota_of(account), in_use=in_use)

    def _settle(self, home: Path, *, but_for: str = "") -> None:
        """Count a home anew if that is due and nothing comes or goes there; not on the loop's thread."""
        self._quota.settle(
            home,
            lambda: (
                not self.extractor.is_working_in(home, but_for=but_for)
                and not any(
                    session.receiving is not None and session.home_key == home
                    for session in list(self._sessions)
                )
            ),
        )

    def _count_anew(self) -> None:
        """Find out what was changed behind the space's back."""
        self._settle_later(self._quota.doubt_all())

    def _settle_later(self, homes: Iterable[Path]) -> None:
        def settle() -> None:
            for home in homes:
                self._settle(home)

        self.offload(settle, lambda _nothing: None)

    # --- what happened

    def note(self, what: What, **fields: Any) -> None:
        """Write a line of the audit log and tell whoever listens."""
        for name in ("path", "target"):
            if name in fields:
                fields[name] = str(fields[name])  # a subclass of str is no string to the encoder
        outcome = fields.pop("outcome", "ok")
        happening = Happening(time=utc(time.time_ns()), event=what, outcome=outcome, **fields)
        with contextlib.suppress(OSError):  # a full disk must not end sessions
            self._audit.append(to_json(happening))
        self._on_event(happening)

    def note_error(self, where: str) -> None:
        """Record a mistake of ours with its traceback."""
        self.note(What.ERROR, outcome="failed", path=where, detail=traceback.format_exc(limit=8))

    def _extracted(self, finished: Finished) -> None:
        self._settle(finished.home, but_for=finished.job.id)
        line = finished.line
        self.note(
            What.EXTRACTED,
            team=finished.home.name,
            path=line.archive,
            files=line.files,
            size_bytes=line.bytes,
            elapsed_s=line.elapsed_s,
            outcome=line.status,
            detail=line.error,
        )

    def refresh_accounts(self) -> None:
        """Read the accounts anew, at once."""
        self._known = self.accounts.all()

    def _look_at_accounts(self) -> None:
        """Take over what `iqdata user` and `iqdata group` changed; end sessions that may not go on."""

        def after(known: object) -> None:
            if isinstance(known, BaseException):
                return
            before, self._known = self._known, known  # type: ignore[assignment]
            for session, team in list(self._sessions.items()):
                old, new = before.get(team), self._known.get(team)
                if new is None or not new.enabled or (old is not None and old.hash != new.hash):
                    session.respond("421 This account was changed; log in again.")
                    session.close_when_done()
                elif session.standing is not None and session.standing != new.standing:
                    session.standing = new.standing

        self.offload(self._read_accounts, after)

    def _read_accounts(self) -> Mapping[str, Account]:
        known = self.accounts.all()
        self._take_limits(known, in_use=True)
        return known
