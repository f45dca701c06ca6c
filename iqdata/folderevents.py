"""watchdog's events of a folder tree → hints about paths; a lost event is a demand to look at everything.

Refuses to interpret: what a change means is found by scanning.
"""

import contextlib
import dataclasses
import logging
import os
import queue
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from watchdog.events import (
    FileClosedEvent,
    FileClosedNoWriteEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileOpenedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from iqdata.errors import ConfigError
from iqdata.settle import Hint


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Something happened to a path."""

    path: Path
    hint: Hint


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Events were lost: everything has to be looked at."""

    reason: str


Change = Changed | Lost


class _Handler(FileSystemEventHandler):
    """Puts each event into the queue as a hint."""

    def __init__(self, changes: "queue.SimpleQueue[Change]") -> None:
        self._changes = changes

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Translate one event. Opening and reading change nothing."""
        if isinstance(event, FileOpenedEvent | FileClosedNoWriteEvent):
            return
        hint = Hint.PLACED
        if isinstance(event, FileCreatedEvent | FileModifiedEvent):
            # Whoever has created a file writes it next, if not at once.
            hint = Hint.WRITTEN
        elif isinstance(event, FileClosedEvent):
            hint = Hint.CLOSED
        elif event.is_directory and event.event_type == "modified":
            return  # something in it changed, and that comes as an event of its own
        for text in (event.src_path, event.dest_path):
            if text:
                self._changes.put(Changed(path=Path(os.fsdecode(text)), hint=hint))


class _OverflowWatch(logging.Handler):
    """watchdog tells of an overflown queue by a log line only."""

    def __init__(self, changes: "queue.SimpleQueue[Change]") -> None:
        super().__init__(level=logging.WARNING)
        self._changes = changes

    def emit(self, record: logging.LogRecord) -> None:
        """Turn whatever watchdog complains about into a demand to look at everything."""
        self._changes.put(Lost(reason=record.getMessage()))


@contextlib.contextmanager
def folder_events(folders: Iterable[Path], *, polling: bool = False) -> Iterator["queue.SimpleQueue[Change]"]:
    """Watch folders with all below them, and yield the queue that their changes go into.

    Args:
        folders: real folders; what a link points to is not watched.
        polling: compare listings instead of asking the kernel: for network file systems.

    Raises:
        ConfigError: the kernel's limit of watches is too low; the message says how to raise it.
    """
    changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
    observer: BaseObserver = PollingObserver() if polling else Observer()
    handler = _Handler(changes)
    overflow = _OverflowWatch(changes)
    logger = logging.getLogger("watchdog")
    logger.addHandler(overflow)
    try:
        try:
            for folder in folders:
                observer.schedule(handler, str(folder), recursive=True)
            observer.start()
        except OSError as exc:
            raise ConfigError(
                f"the folders cannot be watched: {exc.strerror or exc};"
                " raise fs.inotify.max_user_watches (sysctl), or use --polling"
            ) from exc
        yield changes
    finally:
        if observer.is_alive():
            observer.stop()
            observer.join(timeout=10)
        logger.removeHandler(overflow)


def open_for_writing(folders: Iterable[Path]) -> set[Path]:
    """Return the files below real `folders` that a process has open for writing, as far as this user may see."""
    below = tuple(f"{folder}/" for folder in folders)
    found: set[Path] = set()

    def wanted(link: Path) -> bool:
        target = link.readlink()
        return str(target).startswith(below) and target not in found

    for link in writing_links(wanted):
        with contextlib.suppress(OSError):
            found.add(link.readlink())
    return found


def writing_links(wanted: Callable[[Path], bool] = lambda _link: True) -> Iterator[Path]:
    """Yield the links below /proc that lead to files open for writing, as far as this user may see.

    Source: proc(5): `fd` links name the open files, `fdinfo` holds their flags in octal.
    """
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    if not wanted(link):
                        continue
                    flags = (process / "fdinfo" / link.name).read_text().split("flags:")[1].split()[0]
                    if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                        yield link
