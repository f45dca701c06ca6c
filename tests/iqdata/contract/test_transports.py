"""What every transport promises, on every server: the port's docstrings as tests."""

import contextlib
import hashlib
import io
import random
import threading
from collections.abc import Callable, Iterator

import pytest

from iqdata.errors import CutOff, Missing, Refused, TransportError, UnsafePath
from iqdata.paths import ROOT, RelPath
from iqdata.rules import temporary_name
from iqdata.transports.base import FetchJob, PublishJob, Sink, Source
from iqdata.tree import Kind
from tests.conftest import ROOT as ROOT_FOLDER
from tests.spaces import SPACES

WHEN_NS = 1_700_000_123 * 10**9
BIG = random.Random(7).randbytes(5 * 1024 * 1024 + 17)

NAMES = [
    "plain",
    "with space",
    " leading",
    "trailing ",
    "two  spaces",
    "-a",
    "--help",
    "~tilde",
    "#hash",
    "100%25",
    "star*",
    "quest?",
    "[abc]",
    "{x,y}",
    "back\\slash",
    'quo"te',
    "apo'strophe",
    "semi;colon",
    "a -> b",
    "Jan 01 12:00 2020",
    "type=dir; x",
    "ümläut",
    "日本語のファイル",
    "emoji-🎈",
    ".hidden",
    "iqdata-part-x",
    "n" * 200,
    "$(touch x)",
    "`id`",
    "a&b|c<d>",
    "@eaDir",
    "dot.",
    "com1",
    "=",
]


def nothing(_size: int) -> None:
    """Listen to no bytes."""


def put(space, name: str, content: bytes = b"content") -> RelPath:
    path = space.path(name)
    assert space.transport.write_from(path, io.BytesIO(content), on_bytes=nothing) == len(content)
    return path


def content_of(space, path: RelPath, *, offset: int = 0) -> bytes:
    sink = io.BytesIO()
    count = space.transport.read_into(path, sink, offset=offset, on_bytes=nothing)
    assert count == len(sink.getvalue())
    return sink.getvalue()


def usable(space) -> None:
    """The connection still does what it is asked."""
    path = put(space, "still-usable", b"yes")
    assert content_of(space, path) == b"yes"


_tokens = (f"{number:020d}" for number in range(10**6))


def job(space, name: str, content: bytes = b"body", **changes) -> PublishJob:
    values = {
        "path": space.path(name),
        "temporary": space.path(temporary_name(next(_tokens))),
        "open_source": lambda: io.BytesIO(content),
        "size_bytes": len(content),
        "mtime_ns": WHEN_NS,
        "on_bytes": nothing,
        "before_rename": lambda: None,
    }
    return PublishJob(**(values | changes))


class Pieces:
    """A sink for one fetch, as a context manager."""

    def __init__(self) -> None:
        self.content = b""

    @contextlib.contextmanager
    def open(self) -> Iterator[Sink]:
        sink = io.BytesIO()
        yield sink
        self.content = sink.getvalue()


class BrokenSource:
    """Reads a while, then fails as a bad disk does."""

    def __init__(self, good: int) -> None:
        self.good = good

    def read(self, size: int = -1, /) -> bytes:
        if self.good <= 0:
            raise OSError(5, "Input/output error")
        size = min(size, self.good) if size >= 0 else self.good
        self.good -= size
        return b"x" * size


class FullSink:
    """Takes nothing, as a full disk does."""

    def write(self, data: bytes | memoryview, /) -> object:
        raise OSError(28, "No space left on device")


class TestLooking:
    def test_an_empty_folder_is_empty(self, space):
        assert dict(space.transport.list_folder(space.folder)) == {}

    def test_a_missing_folder_is_missing_and_not_empty(self, space):
        with pytest.raises(Missing):
            space.transport.list_folder(space.path("nowhere"))
        with pytest.raises(Missing):
            space.transport.list_folder(space.path("nowhere/deeper"))
        usable(space)

    def test_listing_a_file_is_refused(self, space):
        path = put(space, "file")
        with pytest.raises((Refused, Missing)):
            space.transport.list_folder(path)
        usable(space)

    def test_the_root_lists(self, space):
        assert space.folder in space.transport.list_folder(ROOT)

    def test_kinds_and_sizes(self, space):
        put(space, "empty", b"")
        put(space, "seven", b"1234567")
        space.transport.make_folder(space.path("sub"))
        entries = space.transport.list_folder(space.folder)
        assert {name: (entry.kind, entry.size_bytes) for name, entry in entries.items()} == {
            "empty": (Kind.FILE, 0),
            "seven": (Kind.FILE, 7),
            "sub": (Kind.FOLDER, 0),
        }

    def test_stat_agrees_with_the_listing(self, space):
        put(space, "file", b"12345")
        space.transport.make_folder(space.path("sub"))
        listed = space.transport.list_folder(space.folder)
        step = space.transport.capabilities.mtime_step_ns
        for name, entry in listed.items():
            found = space.transport.stat(space.path(name))
            assert (found.kind, found.size_bytes) == (entry.kind, entry.size_bytes)
            if entry.mtime_ns is not None and step is not None:
                assert found.mtime_ns // step == entry.mtime_ns // step
        assert space.transport.stat(space.path("other")) is None
        assert space.transport.stat(space.path("other/below")) is None
        assert space.transport.stat(ROOT).kind is Kind.FOLDER

    def test_a_thousand_entries(self, space):
        # Most are folders: with TLS a file costs a handshake, and what counts here is the listing.
        folders = [f"folder {number:04d}" for number in range(900)]
        files = [f"file {number:04d}" for number in range(100)]
        for name in folders:
            space.transport.make_folder(space.path(name))
        jobs = [job(space, name, b"x") for name in files]
        assert all(done.error is None for done in space.transport.publish(jobs))
        listed = space.transport.list_folder(space.folder)
        assert sorted(listed) == files + folders
        assert {name for name, entry in listed.items() if entry.kind is Kind.FILE} == set(files)


class TestNames:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_name_round_trips(self, space, name):
        if space.name in REFUSED_NAMES.get(name, ()):
            with pytest.raises((Refused, Missing)):
                put(space, name, name.encode())
            usable(space)
            return
        if space.name in CHANGED_NAMES.get(name, ()):
            (done,) = space.transport.publish([job(space, name)])
            assert isinstance(done.error, Refused)
            return
        path = put(space, name, name.encode())
        assert list(space.transport.list_folder(space.folder)) == [name]
        assert content_of(space, path) == name.encode()
        space.transport.rename(path, space.path("other"))
        space.transport.rename(space.path("other"), path)
        assert space.transport.stat(path).size_bytes == len(name.encode())
        space.transport.remove(path, Kind.FILE)
        if space.name in REFUSED_FOLDERS.get(name, ()):
            with pytest.raises(Refused):
                space.transport.make_folder(path)
            return
        space.transport.make_folder(path)
        put(space, f"{name}/inside", b"in")
        assert list(space.transport.list_folder(path)) == ["inside"]
        space.transport.remove(path.joined("inside"), Kind.FILE)
        space.transport.remove(path, Kind.FOLDER)
        assert dict(space.transport.list_folder(space.folder)) == {}

    def test_a_line_end_in_a_name_never_becomes_a_second_command(self, space):
        if not space.name.startswith("ftp"):
            return  # only FTP has commands in lines
        with pytest.raises(UnsafePath):
            space.transport.remove(RelPath("x\r\nDELE y"), Kind.FILE)
        usable(space)


REFUSED_NAMES: dict[str, tuple[str, ...]] = {"back\\slash": ("ftp-pureftpd", "ftpes-pureftpd")}
"""What a server itself will not take, as observed."""

REFUSED_FOLDERS: dict[str, tuple[str, ...]] = {"star*": ("ftp-proftpd", "ftpes-proftpd", "ftps-proftpd")}
"""What a server takes for a file and not for a folder, as observed."""

CHANGED_NAMES: dict[str, tuple[str, ...]] = {"trailing ": ("ftp-pureftpd", "ftpes-pureftpd")}
"""What a server stores under another name without a word, as observed."""


class TestBytes:
    @pytest.mark.parametrize("size", [0, 1, 4096, 262_143, 262_144, 262_145, len(BIG)])
    def test_content_round_trips(self, space, size):
        path = put(space, "file", BIG[:size])
        assert space.transport.stat(path).size_bytes == size
        assert content_of(space, path) == BIG[:size]

    def test_writing_again_replaces_all_of_it(self, space):
        put(space, "file", b"a long first content")
        path = put(space, "file", b"short")
        assert content_of(space, path) == b"short"

    def test_reading_from_an_offset(self, space):
        path = put(space, "file", BIG)
        assert content_of(space, path, offset=4_000_001) == BIG[4_000_001:]
        assert content_of(space, path, offset=len(BIG)) == b""

    def test_writing_from_an_offset(self, space):
        path = put(space, "file", BIG[:1_000_000])
        rest = io.BytesIO(BIG[600_000:])
        count = space.transport.write_from(path, rest, offset=600_000, on_bytes=nothing)
        assert count == len(BIG) - 600_000
        assert content_of(space, path) == BIG

    def test_on_bytes_adds_up(self, space):
        seen: list[int] = []
        path = space.path("file")
        space.transport.write_from(path, io.BytesIO(BIG), on_bytes=seen.append)
        assert sum(seen) == len(BIG)
        seen.clear()
        space.transport.read_into(path, io.BytesIO(), on_bytes=seen.append)
        assert sum(seen) == len(BIG)

    def test_missing_files_and_folders(self, space):
        with pytest.raises(Missing):
            content_of(space, space.path("nowhere"))
        with pytest.raises(Missing):
            put(space, "nowhere/file")
        usable(space)

    def test_our_full_disk_is_our_error_and_the_connection_survives(self, space):
        path = put(space, "file", BIG)
        with pytest.raises(OSError, match="No space left"):
            space.transport.read_into(path, FullSink(), on_bytes=nothing)
        usable(space)

    def test_our_bad_disk_is_our_error_and_the_connection_survives(self, space):
        with pytest.raises(OSError, match="Input/output"):
            space.transport.write_from(space.path("file"), BrokenSource(600_000), on_bytes=nothing)
        usable(space)


class TestPublishing:
    def test_files_appear_whole_dated_and_in_order(self, space):
        contents = {f"f{number}": BIG[: number * 1000] for number in range(25)}
        done = list(
            space.transport.publish([job(space, name, content) for name, content in contents.items()])
        )
        assert [one.job.path.name for one in done] == list(contents)
        assert [one.error for one in done] == [None] * 25
        listed = space.transport.list_folder(space.folder)
        assert {name: entry.size_bytes for name, entry in listed.items()} == {
            name: len(content) for name, content in contents.items()
        }
        if space.transport.capabilities.sets_mtime:
            assert all(one.dated for one in done)
            for name in contents:
                assert space.transport.stat(space.path(name)).mtime_ns == WHEN_NS
        assert content_of(space, space.path("f24")) == contents["f24"]

    def test_a_large_file_among_small_ones(self, space):
        done = list(space.transport.publish([job(space, "a"), job(space, "big", BIG), job(space, "b")]))
        assert [one.error for one in done] == [None, None, None]
        assert content_of(space, space.path("big")) == BIG

    def test_an_existing_file_is_replaced(self, space):
        put(space, "file", b"old and longer")
        (done,) = space.transport.publish([job(space, "file", b"new")])
        assert done.error is None
        assert content_of(space, space.path("file")) == b"new"
        assert list(space.transport.list_folder(space.folder)) == ["file"]

    def test_before_rename_can_stop_it_and_look(self, space):
        put(space, "taken", b"theirs")
        seen = []

        def look(one: str) -> Callable[[], None]:
            def before() -> None:
                seen.append((one, space.transport.stat(space.path("taken")).size_bytes))
                if one == "taken":
                    raise Refused("the world moved", op="publish", path=one)

            return before

        jobs = [job(space, name, b"mine", before_rename=look(name)) for name in ("x", "taken", "y")]
        done = list(space.transport.publish(jobs))
        assert seen == [("x", 6), ("taken", 6), ("y", 6)]
        assert [str(one.error) for one in done] == ["None", "the world moved", "None"]
        assert content_of(space, space.path("taken")) == b"theirs"
        assert sorted(space.transport.list_folder(space.folder)) == ["taken", "x", "y"]

    def test_the_file_is_complete_under_its_temporary_name_before_the_rename(self, space):
        seen = []
        one = job(space, "file", BIG[:3000])
        one = job(
            space,
            "file",
            BIG[:3000],
            temporary=one.temporary,
            before_rename=lambda: seen.append(
                {name: entry.size_bytes for name, entry in space.transport.list_folder(space.folder).items()}
            ),
        )
        assert [done.error for done in space.transport.publish([one])] == [None]
        assert seen == [{one.temporary.name: 3000}]

    @pytest.mark.parametrize("size", [10, 300_000, 2_000_000])
    def test_a_source_that_changed_is_not_published(self, space, size):
        jobs = [
            job(space, "a"),
            job(space, "grown", BIG[:size], size_bytes=size - 1),
            job(space, "cut", BIG[:size], size_bytes=size + 1),
            job(space, "b"),
        ]
        done = list(space.transport.publish(jobs))
        assert [one.error is None for one in done] == [True, False, False, True]
        assert sorted(space.transport.list_folder(space.folder)) == ["a", "b"]

    @pytest.mark.parametrize("size", [4, 500_000])
    def test_a_source_that_fails_harms_no_other(self, space, size):
        @contextlib.contextmanager
        def unreadable() -> Iterator[Source]:
            raise PermissionError(13, "Permission denied")
            yield

        @contextlib.contextmanager
        def breaking() -> Iterator[Source]:
            yield BrokenSource(size // 2)

        jobs = [
            job(space, "a"),
            job(space, "unreadable", open_source=unreadable),
            job(space, "breaking", b"x" * size, open_source=breaking),
            job(space, "b"),
        ]
        done = list(space.transport.publish(jobs))
        assert [type(one.error) for one in done] == [type(None), PermissionError, OSError, type(None)]
        assert sorted(space.transport.list_folder(space.folder)) == ["a", "b"]

    def test_a_missing_folder_is_said_and_harms_no_other(self, space):
        bad = job(space, "nowhere/file", temporary=space.path(f"nowhere/{temporary_name('0' * 20)}"))
        done = list(space.transport.publish([job(space, "a"), bad, job(space, "b")]))
        assert isinstance(done[1].error, Missing)
        assert [done[0].error, done[2].error] == [None, None]
        assert sorted(space.transport.list_folder(space.folder)) == ["a", "b"]

    def test_a_folder_in_the_way_is_refused(self, space):
        space.transport.make_folder(space.path("taken"))
        done = list(space.transport.publish([job(space, "a"), job(space, "taken"), job(space, "b")]))
        assert isinstance(done[1].error, Refused)
        assert [done[0].error, done[2].error] == [None, None]
        assert sorted(space.transport.list_folder(space.folder)) == ["a", "b", "taken"]

    def test_the_connection_is_free_at_every_result(self, space):
        for done in space.transport.publish([job(space, f"f{number}") for number in range(5)]):
            assert done.error is None
            assert space.transport.stat(done.job.path).size_bytes == 4

    def test_nothing_to_publish(self, space):
        assert list(space.transport.publish([])) == []
        usable(space)

    def test_long_names(self, space):
        deep = space.folder
        for letter in "abcd":
            deep = deep.joined(letter * 180)
            space.transport.make_folder(deep)
        jobs = [
            job(
                space,
                "-",
                path=deep.joined(f"{number}" * 150),
                temporary=deep.joined(temporary_name(next(_tokens))),
            )
            for number in range(5)
        ]
        assert [one.error for one in space.transport.publish(jobs)] == [None] * 5
        assert len(space.transport.list_folder(deep)) == 5


class TestFetching:
    def test_contents_come_whole_and_in_order(self, space):
        contents = {f"f{number}": BIG[: number * 50_000] for number in range(20)}
        assert all(
            one.error is None
            for one in space.transport.publish([job(space, *item) for item in contents.items()])
        )
        sinks = {name: Pieces() for name in contents}
        jobs = [
            FetchJob(
                path=space.path(name), open_sink=sinks[name].open, size_bytes=len(content), on_bytes=nothing
            )
            for name, content in contents.items()
        ]
        done = list(space.transport.fetch(jobs))
        assert [(one.job.path.name, one.error, one.size_bytes) for one in done] == [
            (name, None, len(content)) for name, content in contents.items()
        ]
        assert {name: sink.content for name, sink in sinks.items()} == contents

    def test_one_failure_harms_no_other(self, space):
        put(space, "a", b"aa")
        put(space, "changed", b"longer than listed")
        put(space, "full", BIG)
        put(space, "b", b"bb")

        @contextlib.contextmanager
        def full() -> Iterator[Sink]:
            yield FullSink()

        sinks = {name: Pieces() for name in ("a", "missing", "changed", "b")}
        opens = {name: sink.open for name, sink in sinks.items()} | {"full": full}
        jobs = [
            FetchJob(path=space.path(name), open_sink=opens[name], size_bytes=size, on_bytes=nothing)
            for name, size in (("a", 2), ("missing", 2), ("changed", 2), ("full", None), ("b", 2))
        ]
        done = list(space.transport.fetch(jobs))
        assert [type(one.error) for one in done] == [type(None), Missing, Refused, OSError, type(None)]
        assert done[2].error.retryable
        assert (sinks["a"].content, sinks["b"].content) == (b"aa", b"bb")
        usable(space)

    def test_results_come_in_order_whatever_fails_between_and_find_the_connection_free(self, space):
        contents = {f"f{number:02}": f"content {number}".encode() for number in range(40)}
        for name, content in contents.items():
            put(space, name, content)

        def full():
            raise OSError(28, "No space left on device")

        missing, unopened = {"m00", "m20", "m39"}, {"f00", "f07", "f08", "f39"}
        names = [name for number in range(40) for name in (f"m{number:02}", f"f{number:02}")]
        names = [name for name in names if name in missing or name in contents]
        sinks = {name: Pieces() for name in names}
        jobs = (
            FetchJob(
                path=space.path(name),
                open_sink=full if name in unopened else sinks[name].open,
                size_bytes=len(contents.get(name, b"1")),
                on_bytes=nothing,
            )
            for name in names
        )
        came = []
        for one in space.transport.fetch(jobs):
            came.append((one.job.path.name, type(one.error)))
            assert space.transport.stat(space.path("f01")).size_bytes == len(contents["f01"])
        expected = dict.fromkeys(unopened, OSError) | dict.fromkeys(missing, Missing)
        assert came == [(name, expected.get(name, type(None))) for name in names]
        assert {name: sinks[name].content for name in contents if name not in unopened} == {
            name: content for name, content in contents.items() if name not in unopened
        }
        usable(space)


class TestChangingNames:
    def test_rename_a_file_and_a_folder(self, space):
        put(space, "a", b"A")
        space.transport.rename(space.path("a"), space.path("b"))
        space.transport.make_folder(space.path("d"))
        put(space, "d/in", b"I")
        space.transport.rename(space.path("d"), space.path("e"))
        assert sorted(space.transport.list_folder(space.folder)) == ["b", "e"]
        assert content_of(space, space.path("e/in")) == b"I"

    def test_rename_over_a_file_replaces_it_where_the_server_can(self, space):
        put(space, "new", b"new")
        put(space, "old", b"old")
        if space.transport.capabilities.renames_over:
            with contextlib.suppress(Refused):
                space.transport.rename(space.path("new"), space.path("old"))
                assert content_of(space, space.path("old")) == b"new"
                return
        assert content_of(space, space.path("old")) == b"old"

    def test_rename_what_is_not_there(self, space):
        with pytest.raises(Missing):
            space.transport.rename(space.path("nowhere"), space.path("b"))
        usable(space)

    def test_remove(self, space):
        path = put(space, "file")
        space.transport.make_folder(space.path("sub"))
        space.transport.remove(path, Kind.FILE)
        space.transport.remove(space.path("sub"), Kind.FOLDER)
        assert dict(space.transport.list_folder(space.folder)) == {}
        with pytest.raises(Missing):
            space.transport.remove(path, Kind.FILE)
        with pytest.raises(Missing):
            space.transport.remove(space.path("sub"), Kind.FOLDER)
        usable(space)

    def test_a_full_folder_is_not_removed(self, space):
        space.transport.make_folder(space.path("sub"))
        put(space, "sub/file")
        with pytest.raises(Refused):
            space.transport.remove(space.path("sub"), Kind.FOLDER)
        assert content_of(space, space.path("sub/file")) == b"content"

    def test_make_a_folder_twice_and_where_a_file_is(self, space):
        space.transport.make_folder(space.path("sub"))
        space.transport.make_folder(space.path("sub"))
        put(space, "file")
        with pytest.raises(Refused):
            space.transport.make_folder(space.path("file"))
        with pytest.raises(Missing):
            space.transport.make_folder(space.path("nowhere/sub"))
        usable(space)


class TestDatesAndHashes:
    @pytest.mark.parametrize("when_s", [1_700_000_000, 1_000_000_000, 86_400 * 366])
    def test_a_date_is_kept(self, space, when_s):
        path = put(space, "file")
        if not space.transport.set_mtime(path, when_s * 10**9):
            assert not space.transport.capabilities.sets_mtime
            return
        entry = space.transport.list_folder(space.folder)["file"]
        step = max(space.transport.capabilities.mtime_step_ns, entry.coarse_ns)
        assert entry.mtime_ns // step == when_s * 10**9 // step
        assert space.transport.stat(path).mtime_ns == when_s * 10**9

    def test_dating_what_is_not_there(self, space):
        if not space.transport.set_mtime(put(space, "file"), WHEN_NS):
            return
        with pytest.raises((Missing, Refused)):
            space.transport.set_mtime(space.path("nowhere"), WHEN_NS)
        assert space.transport.capabilities.sets_mtime

    def test_server_hashes_are_right(self, space):
        path = put(space, "file with space", BIG)
        for name in space.transport.capabilities.hashes:
            digest = space.transport.checksum(path, name)
            assert digest == hashlib.new(name, BIG).digest()
        assert space.transport.checksum(path, "no-such-hash") is None

    def test_hash_of_what_is_not_there(self, space):
        for name in space.transport.capabilities.hashes[:1]:
            with pytest.raises(TransportError):
                space.transport.checksum(space.path("nowhere"), name)
        usable(space)


class TestConnections:
    def test_two_connections_see_each_other(self, space):
        second = space.connect()
        try:
            put(space, "file", b"one")
            assert second.stat(space.path("file")).size_bytes == 3
        finally:
            second.close()

    def test_several_threads_each_with_its_own(self, space):
        errors: list[object] = []

        def work(number: int) -> None:
            transport = space.connect()
            try:
                jobs = [job(space, f"t{number}-{index}", BIG[:5000]) for index in range(20)]
                errors.extend(done.error for done in transport.publish(jobs) if done.error)
            except TransportError as exc:
                errors.append(exc)
            finally:
                transport.close()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(space.transport.list_folder(space.folder)) == 80

    def test_abort_from_another_thread_ends_the_call_in_flight(self, space):
        class Endless:
            def read(self, size: int = -1, /) -> bytes:
                started.set()
                return b"x" * 65536

        class Patient:
            def read(self, size: int = -1, /) -> bytes:
                started.set()
                aborted.wait(20)
                return b""

        started, aborted = threading.Event(), threading.Event()
        source = Patient() if space.name in ("memory", "file") else Endless()

        def stop() -> None:
            started.wait(20)
            space.transport.abort()
            aborted.set()

        stopper = threading.Thread(target=stop)
        stopper.start()
        with contextlib.suppress(CutOff):
            space.transport.write_from(space.path("file"), source, on_bytes=nothing)
        stopper.join()
        with pytest.raises(CutOff):
            space.transport.list_folder(space.folder)

    def test_after_close_nothing_works_and_close_is_harmless(self, space):
        transport = space.connect()
        transport.close()
        transport.close()
        with pytest.raises(CutOff):
            transport.list_folder(space.folder)


def test_capabilities(space, record_property):
    """What the server offers as probed; the page about servers shows it."""
    put(space, ".dot")
    (done,) = space.transport.publish([job(space, "probe")])
    can = space.transport.capabilities
    record_property("listing", "exact" if can.exact_listing else "LIST")
    record_property("keeps times", "yes" if done.dated else "no")
    record_property("hashes", ", ".join(can.hashes) or "none")
    record_property("resumes", "yes" if can.resumes else "no")
    record_property("renames over a file", "yes" if can.renames_over else "no")
    record_property(
        "dot-files listed", "yes" if ".dot" in space.transport.list_folder(space.folder) else "no"
    )
    record_property("encryption", space.transport.encryption or "none")
    assert done.dated is can.sets_mtime
    assert ".dot" in space.transport.list_folder(space.folder)


def test_the_page_about_servers_knows_every_server_and_every_promise():
    page = (ROOT_FOLDER / "docs" / "servers.md").read_text()
    assert [name for name in SPACES if f" {name} " not in page] == []
    tests = [name for name in dir() if name.startswith("test_")]
    for group in (
        TestLooking,
        TestNames,
        TestBytes,
        TestPublishing,
        TestFetching,
        TestChangingNames,
        TestDatesAndHashes,
        TestConnections,
    ):
        tests += [name for name in vars(group) if name.startswith("test_")]
    missing = [name for name in tests if f"| {name.removeprefix('test_').replace('_', ' ')} |" not in page]
    assert missing == [], "scripts/servers-page writes it anew"
