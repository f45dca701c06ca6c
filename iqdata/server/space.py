"""A space inside another program: for tests, the demo and whoever wants one for the length of a `with`.

The same server as `iqdata serve`, on a thread of its own; extraction runs in worker processes as there.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from iqdata.errors import ConfigError, IqDataError
from iqdata.server.app import Space, SpaceSettings
from iqdata.server.executors import Executors
from iqdata.server.happenings import Happening, Listener
from iqdata.server.layout import hold_root

_START_TIMEOUT_S = 60.0


class EmbeddedSpace:
    """A running space.

    Example:
        with EmbeddedSpace(root, users={"alpha": "secret"}) as space:
            push(space.url("alpha"))
    """

    def __init__(
        self,
        root: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        users: Mapping[str, str] | None = None,
        groups: Mapping[str, tuple[str, ...]] | None = None,
        on_event: Listener | None = None,
        **settings: Any,
    ) -> None:
        """Say what to run; nothing runs before the `with`.

        Args:
            root: the folder of the space, made when missing.
            host: the address to listen on.
            port: 0 takes a free one.
            users: passwords by account.
            groups: by name: the owner, then the members; each is one of `users`.
            on_event: told of everything that happens, on threads of the space.
            settings: more fields of `SpaceSettings`.
        """
        settings.setdefault("executors", Executors(slots=2))
        self._settings = SpaceSettings(
            root=root, host=host, port=port, users={"team": "secret"} if users is None else users, **settings
        )
        self._groups = groups or {}
        self._on_event = on_event
        self._space: Space | None = None
        self._thread: threading.Thread | None = None
        self._lock = -1
        self._failure: BaseException | None = None
        self.events: list[Happening] = []

    # --- life

    def start(self) -> Self:
        """Start it; afterwards it listens and its workers are ready.

        Raises:
            ConfigError: it cannot run with these settings.
        """
        self._space = Space(self._settings, on_event=self._heard)
        self._lock = hold_root(self._space.layout)
        existing = {group.name for group in self._space.accounts.groups()}
        for name, (owner, *members) in self._groups.items():
            if name not in existing:
                self._space.accounts.create_group(name, owner)
                for member in members:
                    self._space.accounts.join(name, member)
        self._space.refresh_accounts()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="space", daemon=True)
        self._thread.start()
        if not started.wait(_START_TIMEOUT_S) or self._failure is not None:
            self.stop()
            raise ConfigError(f"the space in {self._settings.root} did not start: {self._failure}")
        return self

    def _run(self, started: threading.Event) -> None:
        if self._space is None:
            return
        try:
            self._space.run(started=started)
        except BaseException as exc:  # noqa: BLE001  reported by `start`
            self._failure = exc
        finally:
            started.set()

    def stop(self) -> None:
        """Stop it; afterwards nothing of it runs."""
        import os

        if self._space is not None:
            self._space.stop()
        if self._thread is not None:
            self._thread.join(30)
            self._thread = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _heard(self, happening: Happening) -> None:
        self.events.append(happening)
        if self._on_event is not None:
            self._on_event(happening)

    # --- what one needs to know

    @property
    def _running(self) -> Space:
        if self._space is None:
            raise IqDataError("the space has not been started")
        return self._space

    @property
    def host(self) -> str:
        """Where it listens."""
        return self._running.address[0]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._running.address[1]

    @property
    def root(self) -> Path:
        """The folder of the space."""
        return self._running.layout.root

    def url(self, user: str | None = None) -> str:
        """Return the address of an account, without its password."""
        name = user or next(iter(self._settings.users))
        return f"ftp://{quote(name, safe='')}@{self.host}:{self.port}/"

    def password(self, user: str | None = None) -> str:
        """Return the password of an account."""
        return self._settings.users[user or next(iter(self._settings.users))]

    def home(self, user: str | None = None) -> Path:
        """Return the real folder of an account."""
        return self._running.layout.home(user or next(iter(self._settings.users)))

    def used_bytes(self, user: str | None = None) -> int | None:
        """Return what an account has drawn of its quota, None when it has none."""
        return self._running.used_bytes(user or next(iter(self._settings.users)))

    def wait_idle(self, timeout_s: float = 30.0) -> bool:
        """Wait until nothing waits for extraction any more; False when time ran out."""
        return self._running.recovered.wait(timeout_s) and self._running.extractor.wait_idle(timeout_s)
