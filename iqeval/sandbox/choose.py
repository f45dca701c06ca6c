"""Opens a confined child: the first sandbox on the ladder in which a real child could not do what it must not.

Each start is its own proof: the child tries a hidden file, a write, the loopback and a signal before the model is loaded,
and a sandbox that lets one of them through is not used. Refuses to fall back where a sandbox is required.
"""

import contextlib
import dataclasses
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType

from iqeval import protocol
from iqeval.errors import SandboxUnavailable
from iqeval.sandbox.base import Kind, Limits, Sandbox, Unusable, View, Wanted, areas, child_environment
from iqeval.sandbox.bubblewrap import Bubblewrap
from iqeval.sandbox.cgroup import Cage
from iqeval.sandbox.landlock import Landlock
from iqeval.sandbox.plain import Plain
from iqeval.sandbox.session import STACK_SIGNAL, Garbage, Gone, Log, Session, TimeUp, TooMuch

SANDBOXES: dict[Kind, type[Sandbox]] = {
    Kind.BUBBLEWRAP: Bubblewrap,
    Kind.LANDLOCK: Landlock,
    Kind.NONE: Plain,
}

_MEANING = {
    "read": "the rest of the disk can be read",
    "stat": "names and sizes of hidden files can be asked for",
    "write": "data and model folders can be written",
    "network": "the network can be reached",
    "signal": "other processes of this user can be signalled",
}
_CONFINE_S = 30.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Enforced:
    """What a child's own attempts showed.

    Attributes:
        refused: what it tried and could not do.
        open_doors: what it could do, in words; empty in a full sandbox.
        passed_over: better sandboxes that cannot be had here, with the reason.
        note: what the sandbox says of itself.
    """

    kind: Kind
    refused: tuple[str, ...]
    open_doors: tuple[str, ...]
    passed_over: tuple[str, ...] = ()
    note: str = ""

    @property
    def sentence(self) -> str:
        """One line for people."""
        head = f"sandbox: {self.kind.value}"
        if self.refused:
            head += f"; tried and refused: {', '.join(dict.fromkeys(self.refused))}"
        if self.open_doors:
            head += f"; NOT enforced: {'; '.join(self.open_doors)}"
        if self.passed_over:
            head += f" ({'; '.join(self.passed_over)})"
        return head


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a private folder that is removed afterwards, whatever a model did to the permissions in it."""
    folder = Path(tempfile.mkdtemp(prefix="iqeval-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            for where, _, _ in os.walk(folder):
                with contextlib.suppress(OSError):
                    Path(where).chmod(0o700)
            shutil.rmtree(folder, ignore_errors=True)


class Opening:
    """A child on its way, in the first sandbox that works.

    Made, it is being started and nobody waits for it; entered, it has locked itself up and is about to load the model;
    left or closed, it has ended with all that it started.
    """

    def __init__(
        self,
        wanted: Wanted,
        *,
        view: View,
        limits: Limits,
        start: Mapping[str, object],
        env: Mapping[str, str],
        extra_env: Mapping[str, str],
        log: Log | None = None,
        kinds: Sequence[Kind] | None = None,
    ) -> None:
        """Begin with the first sandbox.

        Args:
            wanted: which sandboxes may be used.
            view: what the child is to see.
            limits: what it may use.
            start: what the child needs for loading the model; see `child`.
            env: the caller's environment, of which the harmless part is passed on.
            extra_env: what is put into the child's environment besides.
            log: gets what the child prints.
            kinds: the sandboxes to try, instead of those that `wanted` names.
        """
        self._begin = partial(
            _Trial, view=view, limits=limits, start=start, env=env, extra_env=extra_env, log=log
        )
        self._left = list(kinds or wanted.ladder)
        self._passed_over: list[str] = []
        self._trial = self._next()

    def __enter__(self) -> tuple[Session, Enforced]:
        """Wait until the child is confined.

        Raises:
            SandboxUnavailable: none of the sandboxes that may be used works here.
        """
        while (trial := self._trial) is not None:
            try:
                said = trial.confirm()
            except Unusable as exc:
                trial.close()
                self._passed_over.append(f"{trial.kind.value}: {exc}")
                self._trial = self._next()
                continue
            except BaseException:
                self.close()
                raise
            trial.session.send(protocol.line(protocol.Do.GO))
            return trial.session, Enforced(
                kind=trial.kind,
                refused=said.refused,
                open_doors=tuple(_MEANING.get(name, name) for name in dict.fromkeys(said.allowed)),
                passed_over=tuple(self._passed_over),
                note=said.note,
            )
        raise SandboxUnavailable(
            "no sandbox works here, and one is required:\n  "
            + "\n  ".join(self._passed_over)
            + "\ninstall bubblewrap, use a kernel with Landlock, allow user namespaces,"
            + " or, for code that you trust, say --sandbox none"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child, wherever it is; a second time does nothing."""
        if self._trial is not None:
            self._trial.close()

    def _next(self) -> "_Trial | None":
        while self._left:
            kind = self._left.pop(0)
            try:
                return self._begin(kind)
            except Unusable as exc:
                self._passed_over.append(f"{kind.value}: {exc}")
        return None


class _Trial:
    """One sandbox, tried by the child that is to run in it."""

    def __init__(
        self,
        kind: Kind,
        *,
        view: View,
        limits: Limits,
        start: Mapping[str, object],
        env: Mapping[str, str],
        extra_env: Mapping[str, str],
        log: Log | None,
    ) -> None:
        self.kind = kind
        self._sandbox = SANDBOXES[kind]()
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(scratch_folder())
            secret = scratch / "outside"
            secret.write_text(os.urandom(8).hex())
            launch = self._sandbox.launch(
                view,
                limits,
                scratch=scratch,
                env=child_environment(env, scratch=str(scratch), space=str(view.work), extra=extra_env),
            )
            doors: dict[str, object] = {
                "read": str(secret),
                # A model that works in its own folder writes into a scratch that stands in its place.
                "write": [str(path) for path in (*areas(view.work), view.model) if path != view.work],
            }
            if os.getpid() > 100:  # a lower number may be one of the sandbox's own processes
                doors["process"] = os.getpid()
            self._listener = stack.enter_context(socket.socket())
            if not view.network:
                self._listener.bind(("127.0.0.1", 0))
                self._listener.listen(1)
                doors["port"] = self._listener.getsockname()[1]
            name = f"iqeval-{os.getpid()}-{os.urandom(4).hex()}"
            cage = Cage.make(name, processes=limits.processes, memory_bytes=limits.memory_bytes)
            try:
                self.session = stack.enter_context(Session(launch, limits, kind=kind, cage=cage, log=log))
            except OSError as exc:
                cage.remove()
                raise Unusable(f"cannot be started: {exc.strerror or exc}") from exc
            self.session.send(
                protocol.line(
                    protocol.Do.START,
                    confine={**launch.confine, "doors": doors},
                    work=launch.work,
                    stack_signal=STACK_SIGNAL,
                    enter=self.session.entrances,
                    **start,
                )
            )
            self.session.flush()
            self._stack = stack.pop_all()

    def confirm(self) -> protocol.Confined:
        """Return what the child could and could not do.

        Raises:
            Unusable: it did not come so far, or could do what this sandbox promises to refuse.
        """
        try:
            said = self.session.receive(within_s=_CONFINE_S)
        except (Gone, TimeUp, TooMuch, Garbage) as exc:
            printed = self.session.printed().strip().splitlines()
            raise Unusable(printed[-1] if printed else f"{exc or 'no word from it'}") from exc
        self._listener.close()
        if not isinstance(said, protocol.Confined):
            raise Unusable("its child did not say what it is kept from")
        if "everything" in said.allowed:
            raise Unusable(said.note)
        broken = self._sandbox.missing(said.refused, said.allowed)
        if broken:
            names = ", ".join(_MEANING.get(name, name) for name in broken)
            raise Unusable(f"it lets through what it should not: {names}")
        return said

    def close(self) -> None:
        """End the child and remove what was made for it."""
        self._stack.close()
