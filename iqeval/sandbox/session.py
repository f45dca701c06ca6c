"""One child process: starting it, talking to it, watching its time and memory, ending it with all that it started.

What comes out of a child is a message or one of three ends: it has gone, its time is up, it uses too much. Refuses to
know about suites and scores.
"""

import contextlib
import dataclasses
import fcntl
import os
import re
import select
import selectors
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, Protocol, Self

from iqeval import protocol, wire
from iqeval.sandbox import processes
from iqeval.sandbox.base import PACKAGE, Kind, Launch, Limits, python_command
from iqeval.sandbox.cgroup import NO_CAGE, Cage

_BLOCK = 1 << 16
_OUTPUT_BLOCK = 1 << 20
_SAMPLE_S = 0.1
_MOST_RECEIVED = 1 << 30
_TAIL_BYTES = 4096
STACK_SIGNAL = signal.SIGUSR1
"""At this signal the child writes where each of its threads is."""

_KEPT_BYTES = 1 << 16


class Log(Protocol):
    """Where what a child prints is kept."""

    def write(self, block: bytes, /) -> int:
        """Keep a block, or as much of it as there is room for."""
        ...


class Gone(Exception):
    """The child has ended by itself; the text says how."""


class TimeUp(Exception):
    """The child did not say anything in time."""


class TooMuch(Exception):
    """The child uses more than it may; the text says what."""

    def __init__(self, text: str, *, memory: bool) -> None:
        super().__init__(text)
        self.memory = memory


class Stopped(Exception):
    """The run is to stop."""


class Garbage(Exception):
    """Something that is no message came out of the channel."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The most that a child was seen to use."""

    memory_bytes: int
    processes: int


class Session:
    """A running child. Use as a context manager: leaving it ends everything that the child started.

    `entrances` are the descriptors, as the child knows them, by which it enters its control groups.
    """

    def __init__(
        self,
        launch: Launch,
        limits: Limits,
        *,
        kind: Kind,
        cage: Cage = NO_CAGE,
        log: Log | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kind = kind
        self._limits = limits
        self._log = log
        self._clock = clock
        self._lines: deque[bytes] = deque()
        self._pending = bytearray()
        self._outgoing = bytearray()
        self._writing = False
        self._printed = bytearray()
        self._next_sample = clock() + _SAMPLE_S
        self._most_memory = 0
        self._most_processes = 1
        self._received = 0
        self._channel_open = self._output_open = True
        self._ended = False
        self._stop_asked: Callable[[], bool] = bool
        self._cage = cage
        self.entrances = cage.entrances()
        ours, theirs = socket.socketpair()
        output, their_output = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, _OUTPUT_BLOCK)
        blocks: list[int] = []
        try:
            blocks = [_readable(block) for block in launch.data]
            argv = [word.format(*blocks) if word in _PLACES else word for word in launch.argv]
            inherited = [theirs.fileno(), *self.entrances, *blocks]
            options = argv[1:]
            if argv:
                # On a descriptor, or they would show in the sandbox as the command line of its first process.
                arguments = _readable(
                    b"\0".join(os.fsencode(word) for word in options if word != "--") + b"\0"
                )
                blocks.append(arguments)
                inherited.append(arguments)
                argv = [argv[0], "--args", str(arguments), "--"]
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter or bwrap, by full path
                [*argv, *python_command(theirs.fileno(), supervised=kind is not Kind.BUBBLEWRAP)],
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=their_output,
                pass_fds=inherited,
                cwd=launch.cwd,
                env=dict(launch.env),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            os.close(their_output)
            for block in (*self.entrances, *blocks):
                os.close(block)
        ours.settimeout(0)
        os.set_blocking(output, False)
        self._channel, self._output = ours, output
        self._selector = selectors.DefaultSelector()
        self._selector.register(ours, selectors.EVENT_READ)
        self._selector.register(output, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def stop_when(self, asked: Callable[[], bool]) -> None:
        """Look from time to time whether the run is to stop; `receive` then raises `Stopped`."""
        self._stop_asked = asked

    # --- talking ----------------------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """How many bytes wait to be taken by the child."""
        return len(self._outgoing)

    def send(self, line: bytes) -> None:
        """Have a line for the child; it goes out when the parent next waits for an answer, or at `flush`."""
        self._outgoing += line

    def receive(self, *, within_s: float | None) -> protocol.FromChild:
        """Return the child's next message.

        Raises:
            Gone: it has ended, or closed the channel.
            TimeUp: it said nothing for so long.
            TooMuch: it uses more than its limits.
            Garbage: what it said is no message.
        """
        end = None if within_s is None else self._clock() + within_s
        while not self._lines:
            self._pump(end)
        try:
            return protocol.parse(self._lines.popleft())
        except protocol.Garbled as exc:
            raise Garbage(str(exc)) from exc

    def wait_for_room(self, end: float | None) -> None:
        """Wait until the child has taken some of what was sent.

        Raises:
            Gone, TimeUp, TooMuch, Garbage: as in `receive`.
        """
        before = self.backlog
        while self.backlog >= before and not self._lines:
            self._pump(end)

    def _pump(self, end: float | None) -> None:
        self.flush()
        now = self._clock()
        if end is not None and now >= end:
            raise TimeUp
        wait = (
            max(self._next_sample - now, 0.0) if end is None else max(min(self._next_sample, end) - now, 0.0)
        )
        for key, _ in self._selector.select(wait):
            if key.fileobj is self._channel:
                self._read_channel()
            else:
                self._read_output()
        if self._lines:
            return
        if not self._channel_open:
            self._raise_ended()
        if self._clock() >= self._next_sample:
            self._sample()
            if self._process.poll() is not None and not self._lines:
                self._read_channel()
                if not self._lines:
                    self._raise_ended()

    def flush(self) -> None:
        """Give the child as much as it takes without waiting."""
        while self._outgoing and self._channel_open:
            try:
                taken = self._channel.send(memoryview(self._outgoing)[: 1 << 18])
            except BlockingIOError:
                break
            except OSError:
                self._outgoing.clear()
                break
            del self._outgoing[:taken]
        writing = bool(self._outgoing) and self._channel_open
        if writing != self._writing and self._channel_open:
            self._selector.modify(
                self._channel, selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
            )
            self._writing = writing

    def _read_channel(self) -> None:
        if not self._channel_open:
            return
        try:
            block = self._channel.recv(_BLOCK)
        except BlockingIOError:
            return
        except OSError:
            block = b""
        if not block:
            self._channel_open = False
            self._selector.unregister(self._channel)
            return
        self._received += len(block)
        if self._received > _MOST_RECEIVED:
            raise Garbage(f"more than {_size(_MOST_RECEIVED)} of answers")
        if b"\n" not in block:
            self._pending += block
        else:
            first, *rest = block.split(b"\n")
            self._lines.append(bytes(self._pending) + first)
            self._lines.extend(rest[:-1])
            self._pending[:] = rest[-1]
        if len(self._pending) > wire.MAX_LINE_BYTES:
            raise Garbage(f"a message of more than {wire.MAX_LINE_BYTES:,} bytes")

    # --- watching ---------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        self._next_sample = self._clock() + _SAMPLE_S
        if self._stop_asked():
            raise Stopped
        pids = self._tree()
        used = processes.resident_bytes(pids)
        if len(pids) > 1:
            used += processes.shared_bytes(pids[:64])
        self._most_memory = max(self._most_memory, used)
        self._most_processes = max(self._most_processes, len(pids))
        if self._limits.memory_bytes is not None and used > self._limits.memory_bytes:
            raise TooMuch(
                f"it used {_size(used)} of memory; the limit is {_size(self._limits.memory_bytes)}",
                memory=True,
            )
        if len(pids) > self._limits.processes:
            raise TooMuch(
                f"it ran {len(pids)} processes at a time; the limit is {self._limits.processes}", memory=False
            )

    @property
    def usage(self) -> Usage:
        """The most that was seen so far."""
        return Usage(memory_bytes=self._most_memory, processes=self._most_processes)

    def _read_output(self) -> None:
        for _ in range(64):
            if not self._output_open:
                return
            try:
                block = os.read(self._output, _OUTPUT_BLOCK)
            except BlockingIOError:
                return
            except OSError:
                block = b""
            if not block:
                self._output_open = False
                self._selector.unregister(self._output)
                return
            self._printed += block[-_KEPT_BYTES:]
            if len(self._printed) > 2 * _KEPT_BYTES:
                del self._printed[:-_KEPT_BYTES]
            if self._log is not None:
                self._log.write(block)

    def forget_output(self) -> None:
        """Start the tail anew, at the beginning of a category."""
        self._read_output()
        self._printed.clear()

    def printed(self) -> str:
        """Return the last lines that the model printed."""
        self._read_output()
        text = bytes(self._printed[-_TAIL_BYTES:]).decode("utf-8", "replace")
        return text if len(self._printed) <= _TAIL_BYTES else "…" + text.partition("\n")[2]

    def stack(self) -> str:
        """Ask the child where it is and return its threads' stacks; empty where it does not say."""
        self._read_output()
        before = bytes(self._printed)
        self._printed.clear()
        for pid in self._interpreters():
            with contextlib.suppress(OSError):
                os.kill(pid, STACK_SIGNAL)
        end = self._clock() + 1.0
        quiet_since = None
        while self._output_open and (now := self._clock()) < end:
            self._selector.select(0.02)
            size = len(self._printed)
            self._read_output()
            if len(self._printed) != size:
                quiet_since = now
            elif quiet_since is not None and now - quiet_since > 0.1:
                break
        said = bytes(self._printed).decode("utf-8", "replace")
        self._printed[:] = before
        start = said.find("Current thread")
        other = said.find("Thread 0x")
        places = [place for place in (start, other) if place >= 0]
        return _without_ours(said[min(places) :]) if places else ""

    def _tree(self) -> list[int]:
        return processes.tree(self._process.pid)

    def _interpreters(self) -> list[int]:
        """Return the child's interpreter: below bwrap and its first process, or below our supervisor."""
        pids = self._tree()
        return pids[2:3] if self.kind is Kind.BUBBLEWRAP else pids[1:2]

    # --- ending -----------------------------------------------------------------------------------------------

    def _raise_ended(self) -> NoReturn:
        how = self._how_it_ended()
        if self._cage.ran_out_of_memory():
            limit = self._limits.memory_bytes or 0
            raise TooMuch(f"the kernel ended it: it used more than {_size(limit)} of memory", memory=True)
        raise Gone(how)

    def _how_it_ended(self) -> str:
        status = self._wait(0.5)
        if status is None:
            return "it closed the evaluator's channel"
        if status > 128:  # as bwrap and our supervisor pass a signal on
            status = 128 - status
        if status < 0:
            try:
                return f"it was ended by {signal.Signals(-status).name}"
            except ValueError:
                return f"it was ended by signal {-status}"
        if status == 70:
            return "the evaluator's child failed"
        return f"it ended its process with exit status {status}"

    def _wait(self, within_s: float) -> int | None:
        """Wait until the first process has ended: its status, or None when it takes longer."""
        # Python's own wait with a limit looks again after ever longer pauses; the kernel can say it at once.
        with contextlib.suppress(OSError, AttributeError):
            ending = os.pidfd_open(self._process.pid)
            try:
                waiting = select.poll()
                waiting.register(ending, select.POLLIN)
                waiting.poll(within_s * 1000)
            finally:
                os.close(ending)
            return self._process.poll()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout=within_s)
        return None

    def end(self) -> None:
        """Kill the child and everything it started, and wait until it is gone."""
        if self._ended:
            return
        self._ended = True
        processes.end_all(self._process.pid, has_namespace=self.kind is Kind.BUBBLEWRAP)
        if self._wait(5) is None:
            for pid in self._tree():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        # The pipe's other end closes when the last process that could write to it is gone.
        end = self._clock() + 2.0
        while self._output_open and self._clock() < end:
            self._selector.select(0.05)
            self._read_output()
        self._cage.remove()
        self._selector.close()
        self._channel.close()
        os.close(self._output)


_THREAD = re.compile(r"thread 0x[0-9a-f]+", re.IGNORECASE)
_PLACES = frozenset(f"{{{number}}}" for number in range(32))


def _readable(block: bytes) -> int:
    """Return a descriptor from which a program reads `block`."""
    descriptor = os.memfd_create("iqeval", 0)
    os.write(descriptor, block)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _without_ours(stack: str) -> str:
    ours = f'File "{PACKAGE}'
    kept = [line for line in stack.splitlines() if ours not in line and 'File "<string>"' not in line]
    return "\n".join(_THREAD.sub("thread", line) for line in kept)


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
