"""The second look at the space: how old an answer may be, and who fetches a new one."""

import io

from iqdata.lookout import Lookout
from iqdata.paths import RelPath
from iqdata.transports.memory import MemorySpace, MemoryTransport
from iqdata.transports.pool import Pool

FOLDER = RelPath("train_data")
FILE = FOLDER.joined("a")


class Counted(MemoryTransport):
    """Counts its listings."""

    listings = 0

    def list_folder(self, path):
        """List, and count."""
        self.listings += 1
        return super().list_folder(path)


def nothing(_size: int) -> None:
    """Listen to no bytes."""


def test_one_listing_serves_all_questions_until_it_is_half_as_old_as_it_may_be():
    space = Counted(MemorySpace())
    space.make_folder(FOLDER)
    now = [100.0]
    lookout = Lookout(Pool(lambda: space, limit=1), clock=lambda: now[0], fresh_s=1.0)
    for _ in range(3):
        assert lookout.current(FILE) is None
    assert space.listings == 0
    for _ in range(10):
        assert lookout.current(FILE) is None
    assert space.listings == 1
    space.write_from(FILE, io.BytesIO(b"new"), on_bytes=nothing)
    now[0] += 0.4
    assert lookout.current(FILE) is None
    assert space.listings == 1
    now[0] += 0.2
    assert lookout.current(FILE).size_bytes == 3
    assert space.listings == 2


def test_what_the_run_itself_puts_there_is_known_at_once():
    space = Counted(MemorySpace())
    space.make_folder(FOLDER)
    lookout = Lookout(Pool(lambda: space, limit=1), clock=lambda: 100.0)
    for _ in range(4):
        lookout.current(FILE)
    space.write_from(FILE, io.BytesIO(b"new"), on_bytes=nothing)
    lookout.changed(FILE, space.stat(FILE))
    assert lookout.current(FILE).size_bytes == 3
    assert space.listings == 1
