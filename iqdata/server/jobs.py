"""The values that pass between the space, its journal, its worker processes and the log. They travel as JSON.

Refuses to do anything with them.
"""

import enum
import json
from typing import TypeVar

import msgspec

from iqdata.extract.model import Limits


class Trigger(enum.Enum):
    """Why an archive is extracted; the words of `"trigger"` in the log."""

    UPLOAD = "upload"
    RENAME = "rename"
    RECOVERY = "recovery"  # it came while nobody watched


class AfterExtraction(enum.Enum):
    """What becomes of an archive that was extracted whole; the words of `--after-extract`."""

    KEEP = "keep"
    REMOVE = "remove"


SUPERSEDED = "superseded"
"""Status of an upload that was replaced, deleted or renamed before its turn: there is nothing left to extract."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What tells one upload of an archive from the next one under the same name.

    Attributes:
        ctime_ns: changes with every write, date and rename: equal means that nothing at all has happened since.
        print: a hash of the content, of all of a small file and of samples of a large one.
    """

    inode: int
    parent_inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int = 0
    print: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One archive to extract where it lies.

    Attributes:
        home: the folder that `archive` is relative to and that nothing may leave; absolute.
        source: the path it was renamed from.
        found: whether a look at the tree found it, and no event told of it: the event of the same upload may follow.
        stage: where members wait until they are complete, used when it is on the same file system.
        asks: whether the worker must ask before it writes more bytes (a quota).
        as_owner: whether to work as the owner of the archive's folder, and to give what is written its modes.
    """

    id: str
    home: str
    archive: str
    trigger: Trigger = Trigger.UPLOAD
    source: str | None = None
    found: bool = False
    queued_ns: int = 0
    stage: str | None = None
    after: AfterExtraction = AfterExtraction.KEEP
    asks: bool = False
    as_owner: bool = False
    limits: Limits = Limits()

    @property
    def folder(self) -> str:
        """The folder of the archive, relative to the home."""
        return self.archive.rpartition("/")[0]


class LogLine(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One line of `/.iqdata/extractions.jsonl`.

    Attributes:
        from_: the name that the archive was renamed from; a client that uploads under a name of its own choice and
            renames it finds its very upload by this.
        archive_bytes, archive_mtime_ns: of the archive as it was read.
    """

    time: str
    archive: str
    tool: str | None
    status: str
    files: int = 0
    bytes: int = 0
    error: str | None = None
    id: str = ""
    trigger: str = Trigger.UPLOAD.value
    from_: str | None = None
    archive_bytes: int = 0
    archive_mtime_ns: int = 0
    elapsed_s: float = 0.0
    warnings: tuple[str, ...] = ()


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """An archive that came out of an archive: it stays packed, now and when the tree is looked at again."""

    path: str
    identity: Identity


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """What a worker reports at the end of a job.

    Attributes:
        identity: of the archive that was read; None when there was none.
        placed: archives among the members.
        grown_bytes: how many bytes more the home holds now; less than none where it replaced more.
        delay_s: from the trigger to the start of the extraction.
    """

    line: LogLine
    identity: Identity | None = None
    placed: tuple[Placed, ...] = ()
    grown_bytes: int = 0
    delay_s: float = 0.0


class Need(msgspec.Struct, frozen=True, kw_only=True, tag="need"):
    """A worker asks whether it may write so many bytes more; the answer is `true` or `false`."""

    size_bytes: int


T = TypeVar("T")


def to_json(value: object) -> bytes:
    """Return a value as one line of JSON.

    A name that is no UTF-8 keeps its bytes as escaped lone surrogates, as Python's own `json` writes and reads them.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode("ascii")


def from_json(text: bytes, kind: type[T]) -> T:
    """Return the value that `to_json` was given.

    Raises:
        msgspec.ValidationError: it is not of that kind.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(text), type=kind)
