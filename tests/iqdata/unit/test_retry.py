"""A transport that tries again: breaks at every point, before and after the effect, lose and double nothing."""

import contextlib
import io
import random

import pytest

from iqdata.errors import ConnectFailed, CutOff, LoginRefused, Missing, Refused
from iqdata.paths import ROOT, RelPath
from iqdata.transports.base import FetchJob, PublishJob, fetch_one_by_one, publish_one_by_one
from iqdata.transports.memory import MemorySpace, MemoryTransport
from iqdata.transports.retry import RetryingTransport, pause_s, retrying
from iqdata.tree import Kind


class Breaking(MemoryTransport):
    """Breaks at the requests whose numbers `plan` names: before they take effect, or only their reply is lost."""

    def __init__(
        self, space: MemorySpace, plan: dict[int, str], counter: list[int], done: list[tuple[str, str]]
    ) -> None:
        super().__init__(space)
        self._plan = plan
        self._counter = counter
        self._done = done
        self._broken = False

    def _meet(self, name: str, *arguments, **how):
        if self._broken:
            raise CutOff("the connection is broken", retryable=True)
        self._counter[0] += 1
        fate = self._plan.get(self._counter[0])
        if fate == "before":
            self._broken = True
            raise CutOff("broke before", retryable=True)
        if fate == "busy":
            raise Refused("busy", retryable=True)
        result = getattr(super(), name)(*arguments, **how)
        self._done.append((name, str(arguments[-1])))
        if fate == "after":
            self._broken = True
            raise CutOff("broke after", retryable=True)
        return result

    def write_from(self, *arguments, **how):
        return self._meet("write_from", *arguments, **how)

    def rename(self, *arguments):
        return self._meet("rename", *arguments)

    def remove(self, *arguments):
        return self._meet("remove", *arguments)

    def read_into(self, *arguments, **how):
        return self._meet("read_into", *arguments, **how)

    def list_folder(self, *arguments):
        return self._meet("list_folder", *arguments)

    def publish(self, jobs):
        return publish_one_by_one(self, jobs)

    def fetch(self, jobs):
        return fetch_one_by_one(self, jobs)


def patient(space: MemorySpace, plan: dict[int, str], *, retries: int = 3):
    counter, done, slept = [0], [], []
    transport = RetryingTransport(
        lambda: Breaking(space, plan, counter, done), retries=retries, sleep=slept.append, draw=lambda: 0.5
    )
    return transport, done, slept


def job(name: str) -> PublishJob:
    return PublishJob(
        path=RelPath(name),
        temporary=RelPath(f"iqdata-part-{name}"),
        open_source=lambda: io.BytesIO(name.encode()),
        size_bytes=len(name),
        mtime_ns=None,
        on_bytes=lambda _size: None,
        before_rename=lambda: None,
    )


NAMES = [f"file{number}" for number in range(6)]


@pytest.mark.parametrize("seed", range(300))
def test_breaks_while_publishing_lose_and_double_nothing(seed):
    random_ = random.Random(seed)
    plan = {
        random_.randrange(1, 20): random_.choice(["before", "after"]) for _ in range(random_.randrange(4))
    }
    space = MemorySpace()
    transport, done, _ = patient(space, plan, retries=4)
    results = list(transport.publish(map(job, NAMES)))
    assert [result.job.path for result in results] == NAMES
    assert [result.error for result in results] == [None] * 6
    assert sorted(space.folders[ROOT]) == NAMES
    assert {name: bytes(file.content) for name, file in space.folders[ROOT].items()} == {
        name: name.encode() for name in NAMES
    }
    # One rename is one extraction: none is repeated.
    renames = [target for name, target in done if name == "rename"]
    assert sorted(renames) == NAMES


@pytest.mark.parametrize("seed", range(100))
def test_an_archive_that_the_space_removes_is_not_sent_again(seed):
    random_ = random.Random(seed)
    plan = {random_.randrange(1, 16): random_.choice(["before", "after"]) for _ in range(3)}
    space = MemorySpace()
    counter, renames = [0], []

    class Extracting(Breaking):
        def _meet(self, name, *arguments, **how):
            try:
                return super()._meet(name, *arguments, **how)
            finally:
                if name == "rename" and space.folders[ROOT].pop(str(arguments[-1]), None) is not None:
                    renames.append(str(arguments[-1]))

    transport = RetryingTransport(
        lambda: Extracting(space, plan, counter, []), retries=4, sleep=lambda _s: None
    )
    results = list(transport.publish(map(job, NAMES)))
    assert [result.error for result in results] == [None] * 6
    assert renames == NAMES


@pytest.mark.parametrize("seed", range(100))
def test_breaks_while_fetching(seed):
    random_ = random.Random(seed)
    space = MemorySpace()
    list(MemoryTransport(space).publish(map(job, NAMES)))
    plan = {random_.randrange(1, 12): random_.choice(["before", "after"]) for _ in range(3)}
    transport, _, _ = patient(space, plan, retries=4)
    got: dict[str, bytes] = {}

    def sink_for(name: str):
        @contextlib.contextmanager
        def sink():
            content = io.BytesIO()
            yield content
            got[name] = content.getvalue()

        return sink

    jobs = [
        FetchJob(
            path=RelPath(name), open_sink=sink_for(name), size_bytes=len(name), on_bytes=lambda _size: None
        )
        for name in NAMES
    ]
    results = list(transport.fetch(jobs))
    assert [(result.job.path, result.error) for result in results] == [(name, None) for name in NAMES]
    assert got == {name: name.encode() for name in NAMES}


@pytest.mark.parametrize("fate", ["before", "after"])
def test_renames_and_deletions_are_looked_at_before_they_are_repeated(fate):
    space = MemorySpace()
    list(MemoryTransport(space).publish([job("a")]))
    transport, done, _ = patient(space, {1: fate, 3: fate})
    transport.rename(RelPath("a"), RelPath("b"))
    transport.remove(RelPath("b"), Kind.FILE)
    assert space.folders[ROOT] == {}
    assert [name for name, _ in done] == ["rename", "remove"]


def test_what_may_pass_is_tried_again_with_growing_pauses():
    transport, _, slept = patient(MemorySpace(), {1: "busy", 2: "busy", 3: "busy"})
    assert dict(transport.list_folder(ROOT)) == {}
    assert slept == [0.25, 0.5, 1.0]


def test_enough_is_enough():
    transport, _, slept = patient(MemorySpace(), dict.fromkeys(range(1, 50), "busy"))
    with pytest.raises(Refused, match="busy"):
        transport.list_folder(ROOT)
    assert len(slept) == 3
    transport, _, slept = patient(MemorySpace(), dict.fromkeys(range(1, 50), "before"))
    with pytest.raises(CutOff):
        list(transport.publish(map(job, NAMES)))
    assert len(slept) == 3


def test_what_will_not_pass_is_not_tried_again():
    transport, _, slept = patient(MemorySpace(), {})
    with pytest.raises(Missing):
        transport.list_folder(RelPath("nowhere"))
    assert slept == []


@pytest.mark.parametrize(
    ("error", "tries"),
    [(ConnectFailed("later", retryable=True), 4), (ConnectFailed("never"), 1), (LoginRefused("no"), 1)],
)
def test_connecting(error, tries):
    tried = []

    def connect():
        tried.append(1)
        raise error

    with pytest.raises(type(error)):
        retrying(connect, retries=3, sleep=lambda _s: None)()
    assert len(tried) == tries


def test_after_abort_nothing_is_tried_again():
    transport, _, slept = patient(MemorySpace(), {})
    transport.abort()
    with pytest.raises(CutOff):
        transport.list_folder(ROOT)
    assert slept == []
    transport.close()


def test_pauses_grow_to_a_limit_and_carry_jitter():
    assert [pause_s(tries, lambda: 0.5) for tries in (1, 2, 3, 4)] == [0.25, 0.5, 1.0, 2.0]
    assert pause_s(50, lambda: 1.0) == 22.5
    assert {pause_s(3, random.Random(1).random) for _ in range(3)} != {
        pause_s(3, random.Random(2).random) for _ in range(3)
    }
