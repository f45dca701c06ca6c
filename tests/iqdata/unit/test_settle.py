"""Which paths have come to rest, by the clock of the events."""

from iqdata.paths import RelPath
from iqdata.settle import Hint, Settling

P = RelPath("train_data/a")


def never():
    return ()


def test_a_closed_file_is_due_after_the_settling_time():
    settling = Settling(settle_s=0.5)
    settling.note(P, Hint.CLOSED, now=10.0)
    assert settling.next_due(10.25) == 0.25
    assert settling.due(10.4, open_paths=never) == set()
    assert settling.due(10.5, open_paths=never) == {P}
    assert settling.due(11.0, open_paths=never) == set()
    assert settling.next_due(11.0) is None


def test_every_event_starts_the_time_anew():
    settling = Settling(settle_s=0.5)
    settling.note(P, Hint.WRITTEN, now=10.0)
    settling.note(P, Hint.CLOSED, now=10.4)
    assert settling.due(10.6, open_paths=never) == set()
    assert settling.due(10.9, open_paths=never) == {P}


def test_a_file_that_is_open_for_writing_waits_however_quiet_it_is():
    settling = Settling(settle_s=0.5)
    settling.note(P, Hint.WRITTEN, now=10.0)
    assert settling.due(20.0, open_paths=lambda: {P}) == set()
    assert settling.due(20.1, open_paths=never) == set()
    assert settling.due(20.5, open_paths=never) == {P}


def test_only_unclosed_files_are_asked_about():
    settling = Settling(settle_s=0.0)
    settling.note(P, Hint.PLACED, now=1.0)

    def asked():
        raise AssertionError

    assert settling.due(1.0, open_paths=asked) == {P}
