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
from pathlib import Path

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


@contextmanager
def open_child(
    wanted: Wanted,
    *,
    view: View,
    limits: Limits,
    start: Mapping[str, object],
    env: Mapping[str, str],
    extra_env: Mapping[str, str],
    log: Log | None = None,
    kinds: Sequence[Kind] | None = None,
) -> Iterator[tuple[Session, Enforced]]:
    """Open a child that has locked itself up and has not yet loaded the model; it ends with the block.

    Args:
        wanted: which sandboxes may be used.
        view: what the child is to see.
        limits: what it may use.
        start: what the child needs for loading the model; see `child`.
        env: the caller's environment, of which the harmless part is passed on.
        extra_env: what is put into the child's environment besides.
        log: gets what the child prints.
        kinds: the sandboxes to try, instead of those that `wanted` names.

    Raises:
        SandboxUnavailable: none of the sandboxes that may be used works here.
    """
    passed_over: list[str] = []
    with contextlib.ExitStack() as stack:
        for kind in kinds or wanted.ladder:
            scratch = stack.enter_context(scratch_folder())
            try:
                session, said = _try(SANDBOXES[kind](), view, limits, scratch, start, env, extra_env, log)
            except Unusable as exc:
                passed_over.append(f"{kind.value}: {exc}")
                continue
            stack.enter_context(session)
            enforced = Enforced(
                kind=kind,
                refused=said.refused,
                open_doors=tuple(_MEANING.get(name, name) for name in dict.fromkeys(said.allowed)),
                passed_over=tuple(passed_over),
                note=said.note,
            )
            session.send(protocol.line(protocol.Do.GO))
            yield session, enforced
            return
    raise SandboxUnavailable(
        "no sandbox works here, and one is required:\n  "
        + "\n  ".join(passed_over)
        + "\ninstall bubblewrap, use a kernel with Landlock, allow user namespaces,"
        + " or, for code that you trust, say --sandbox none"
    )


def _try(
    sandbox: Sandbox,
    view: View,
    limits: Limits,
    scratch: Path,
    start: Mapping[str, object],
    env: Mapping[str, str],
    extra_env: Mapping[str, str],
    log: Log | None,
) -> tuple[Session, protocol.Confined]:
    secret = scratch / "outside"
    secret.write_text(os.urandom(8).hex())
    launch = sandbox.launch(
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
    with socket.socket() as listener:
        if not view.network:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            doors["port"] = listener.getsockname()[1]
        try:
            session = Session(launch, limits, kind=sandbox.kind, log=log)
        except OSError as exc:
            raise Unusable(f"cannot be started: {exc.strerror or exc}") from exc
        try:
            session.send(
                protocol.line(
                    protocol.Do.START,
                    confine={**launch.confine, "doors": doors},
                    work=launch.work,
                    stack_signal=STACK_SIGNAL,
                    **start,
                )
            )
            # While the interpreter starts; it does not wait for this.
            name = f"iqeval-{os.getpid()}-{os.urandom(4).hex()}"
            session.enclose(Cage.make(name, processes=limits.processes, memory_bytes=limits.memory_bytes))
            said = session.receive(within_s=_CONFINE_S)
            session.spare_supervisor()
        except (Gone, TimeUp, TooMuch, Garbage) as exc:
            printed = session.printed().strip().splitlines()
            session.end()
            raise Unusable(printed[-1] if printed else f"{exc or 'no word from it'}") from exc
        except BaseException:
            session.end()
            raise
    if not isinstance(said, protocol.Confined):
        session.end()
        raise Unusable("its child did not say what it is kept from")
    if "everything" in said.allowed:
        session.end()
        raise Unusable(said.note)
    broken = sandbox.missing(said.refused, said.allowed)
    if broken:
        session.end()
        raise Unusable(
            f"it lets through what it should not: {', '.join(_MEANING.get(name, name) for name in broken)}"
        )
    return session, said
