"""What a space does with archives: declared by an embedded space, else found out once and remembered for a week.

The service says that names trigger extraction, not whether the archive stays, whether members overwrite, or how soon.
Refuses to guess and to leave anything behind: the probe is a few small files in a folder of its own, outside the areas.
"""

import contextlib
import io
import time
from collections.abc import Callable

import msgspec

from iqdata.errors import CutOff, Missing, Refused, TransportError, UnsafePath
from iqdata.paths import RelPath
from iqdata.rules import temporary_name
from iqdata.state import State
from iqdata.transports.base import Transport
from iqdata.tree import Kind

DECLARATION = RelPath(".iqdata/space.json")
VALID_S = 7 * 24 * 3600.0

_PATIENCE_S = 5.0
_PAUSE_S = 0.05
_SETTLE_S = 0.3
_MEMBER_TIME_S = 1_000_000_000
_MAX_DECLARATION_BYTES = 64 * 1024


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a space does; None where it is not known.

    Attributes:
        source: "declared" by the space, "probed" here, or "assumed" where neither was possible.
        extracts_on: what triggers the rules: "upload", "rename"; nothing where the space does not extract.
        into: "same-folder", or "own-folder" (named like the archive).
        keeps_archive: whether the archive stays beside its members.
        overwrites: whether an archive's member replaces a file that stands there.
        keeps_times: whether members get the times that the archive says.
        case_sensitive: whether `.TAR` is another thing than `.tar`.
        log: where outcomes are written, as the team sees it.
        delay_s: how long a tiny archive took.
        clock_ahead_s: how far the space's clock is ahead of ours.
        hides_dot_files: whether listings leave out names that begin with a dot.
        left_behind: what the probe could not delete.
    """

    source: str = "assumed"
    extracts_on: tuple[str, ...] = ()
    into: str = "same-folder"
    keeps_archive: bool = True
    overwrites: bool = True
    keeps_times: bool | None = None
    case_sensitive: bool | None = None
    log: str | None = None
    delay_s: float | None = None
    clock_ahead_s: float | None = None
    hides_dot_files: bool | None = None
    quota_bytes: int | None = None
    left_behind: tuple[str, ...] = ()

    @property
    def extracts(self) -> bool:
        """Whether anything triggers extraction."""
        return bool(self.extracts_on)


def current(
    transport: Transport,
    state: State | None,
    *,
    token: str,
    may_probe: bool,
    now_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Profile:
    """Return the space's profile: what it declares, else what is remembered, else what a probe finds.

    Args:
        transport: a connection for the questions.
        state: where profiles are remembered; None remembers nothing.
        token: random letters and digits for the probe's names.
        may_probe: whether files may be put into the space to find out.
        now_s: the present, seconds since 1970.
        clock: monotonic seconds.
        sleep: waits.
    """
    declared = declared_by(transport)
    if declared is not None:
        return declared
    remembered = state.profile() if state is not None else None
    if remembered is not None and 0 <= now_s - remembered[1] < VALID_S:
        with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
            return msgspec.json.decode(remembered[0], type=Profile)
    if not may_probe:
        return Profile()
    found = probe(transport, token=token, now_s=now_s, clock=clock, sleep=sleep)
    if state is not None:
        remember(state, found, now_s=now_s)
    return found


def remember(state: State, found: Profile, *, now_s: float) -> None:
    """Keep what a probe found; an assumption is not kept."""
    if found.source == "probed":
        with state.transaction():
            state.keep_profile(msgspec.json.encode(found).decode(), seen_at=now_s)


def declared_by(transport: Transport) -> Profile | None:
    """Return what the space says of itself, or None when it says nothing that can be understood.

    Raises:
        TransportError: it says something, and that did not come whole.
    """
    try:
        entry = transport.stat(DECLARATION)
        if entry is None or entry.kind is not Kind.FILE or entry.size_bytes > _MAX_DECLARATION_BYTES:
            return None
        text = io.BytesIO()
        transport.read_into(DECLARATION, text, on_bytes=lambda _size: None)
        if len(text.getvalue()) != entry.size_bytes:
            # Half a declaration is none, and none would turn every derived file into a loose one.
            raise CutOff(f"download {DECLARATION}: it came incomplete", op="download", retryable=True)
        said = msgspec.json.decode(text.getvalue(), type=Profile)
    except (Missing, UnsafePath, msgspec.DecodeError, msgspec.ValidationError):
        return None
    return msgspec.structs.replace(said, source="declared")


def probe(
    transport: Transport,
    *,
    token: str,
    now_s: float,
    patience_s: float = _PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Profile:
    """Find out by a few small archives, and clean up.

    Costs a second or so where the space extracts, `patience_s` where it does not. A space that refuses to have a folder
    made in its root is left alone; then the profile is assumed.
    """
    folder = RelPath(temporary_name(token, purpose="probe"))
    try:
        transport.make_folder(folder)
    except (Refused, Missing):
        return Profile()
    look = _Look(transport, folder, clock, sleep, patience_s)
    try:
        found = _experiment(look, now_s)
    except (Refused, Missing):
        found = Profile()
    finally:
        left = _clean_up(transport, folder, sleep)
    return msgspec.structs.replace(found, left_behind=left)


class _Look:
    """Puts files into the probe's folder and waits for what comes of them."""

    def __init__(
        self,
        transport: Transport,
        folder: RelPath,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        patience_s: float,
    ) -> None:
        self.transport = transport
        self.folder = folder
        self.clock = clock
        self.sleep = sleep
        self.patience_s = patience_s

    def upload(self, name: str, content: bytes) -> RelPath:
        """Write a file under this very name."""
        path = self.folder.joined(name)
        self.transport.write_from(path, io.BytesIO(content), on_bytes=lambda _size: None)
        return path

    def publish(self, name: str, content: bytes) -> None:
        """Write a file under an inert name and rename it."""
        inert = self.upload("iqdata-inert", content)
        self.transport.rename(inert, self.folder.joined(name))

    def sizes(self, below: str = "") -> dict[str, int]:
        """Return the files in the folder, or in one in it, by name."""
        try:
            entries = self.transport.list_folder(self.folder.joined(below) if below else self.folder)
        except Missing:
            return {}
        return {name: entry.size_bytes for name, entry in entries.items() if entry.kind is Kind.FILE}

    def until(self, seen: Callable[[], bool], patience_s: float) -> float | None:
        """Wait until `seen`, and return how long it took, or None when it was not to be."""
        started = self.clock()
        while not seen():
            if self.clock() - started > patience_s:
                return None
            self.sleep(_PAUSE_S)
        return self.clock() - started


def _experiment(look: _Look, now_s: float) -> Profile:
    """Extraction on rename and on upload at once; the finer questions only where one of them was seen."""
    transport, folder = look.transport, look.folder
    dot = look.upload(".iqdata-dot", b"x")
    written = transport.stat(dot)
    ahead_s = written.mtime_ns / 1e9 - now_s if written is not None and written.mtime_ns is not None else None
    look.publish("renamed.tar", _tar("by-rename", b"one"))
    look.upload("sent.tar", _tar("by-upload", b"one"))

    def places() -> dict[str, str]:
        """Return where members have appeared: by trigger."""
        found = {}
        for trigger, member, archive in (("rename", "by-rename", "renamed"), ("upload", "by-upload", "sent")):
            if member in look.sizes():
                found[trigger] = "same-folder"
            elif archive in transport.list_folder(folder) and member in look.sizes(archive):
                found[trigger] = "own-folder"
        return found

    first_s = look.until(lambda: bool(places()), look.patience_s)
    hides = dot.name not in transport.list_folder(folder)
    if first_s is None:
        return Profile(source="probed", clock_ahead_s=ahead_s, hides_dot_files=hides)
    # One of the two was seen; the other gets as long again, and a little more.
    look.until(lambda: len(places()) == 2, 2 * first_s + 1.0)
    seen = places()
    look.sleep(_SETTLE_S)
    archives = [f"{'renamed' if trigger == 'rename' else 'sent'}.tar" for trigger in seen]
    keeps = all(name in look.sizes() for name in archives)
    trigger = "rename" if "rename" in seen else "upload"
    into = seen[trigger]
    start = look.publish if trigger == "rename" else look.upload
    patience_s = 2 * first_s + 1.5
    overwrites, keeps_times, folds_case = True, None, False
    if into == "same-folder":
        look.upload("standing", b"before")
        start("over.zip", _zip({"standing": b"overwritten by a member", "over-done": b"x"}))
        look.until(lambda: look.sizes().get("standing") != len(b"before"), patience_s)
        overwrites = look.sizes().get("standing") != len(b"before")
        member = transport.list_folder(folder).get(f"by-{trigger}")
        if member is not None and member.mtime_ns is not None:
            step_s = (transport.capabilities.mtime_step_ns or 86_400 * 10**9) / 1e9
            keeps_times = abs(member.mtime_ns / 1e9 - _MEMBER_TIME_S) <= max(step_s, member.coarse_ns / 1e9)
        start("loud.TAR", _tar("by-loud", b"one"))
        folds_case = look.until(lambda: "by-loud" in look.sizes(), patience_s) is not None
    return Profile(
        source="probed",
        extracts_on=tuple(word for word in ("upload", "rename") if word in seen),
        into=into,
        keeps_archive=keeps,
        overwrites=overwrites,
        keeps_times=keeps_times,
        case_sensitive=not folds_case,
        delay_s=round(first_s, 3),
        clock_ahead_s=ahead_s,
        hides_dot_files=hides,
    )


def _clean_up(transport: Transport, folder: RelPath, sleep: Callable[[float], None]) -> tuple[str, ...]:
    """Delete the probe's folder with all in it, again if a late extraction put something back; return what is left."""
    left: tuple[str, ...] = ()
    for pause_s in (0.0, _SETTLE_S, 1.0):
        if pause_s:
            sleep(pause_s)
        try:
            _empty(transport, folder)
        except Missing:
            return ()
        except (TransportError, UnsafePath) as exc:
            left = (f"{folder} ({exc})",)
            if isinstance(exc, CutOff):
                return left
        else:
            return ()
    return left


def _empty(transport: Transport, folder: RelPath) -> None:
    for name, entry in transport.list_folder(folder).items():
        if entry.kind is Kind.FOLDER:
            _empty(transport, folder.joined(name))
        else:
            transport.remove(folder.joined(name), Kind.FILE)
    with contextlib.suppress(Missing):
        # Where listings hide it, it is asked for by name.
        transport.remove(folder.joined(".iqdata-dot"), Kind.FILE)
    transport.remove(folder, Kind.FOLDER)


def _tar(member: str, content: bytes) -> bytes:
    import tarfile  # with zipfile, a tenth of what a run loads that probes nothing

    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        info.mtime = _MEMBER_TIME_S
        info.mode = 0o644
        archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def _zip(members: dict[str, bytes]) -> bytes:
    import zipfile  # see `_tar`

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2001, 9, 9, 1, 46, 40)), content)
    return made.getvalue()
