"""What is not forgotten over a crash."""

import os

import pytest

from iqdata.server.jobs import Identity, Job, LogLine, Placed, Trigger, from_json, to_json
from iqdata.server.journal import Journal


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


def job(number, archive="train_data/a.tar"):
    return Job(id=f"id{number}", home="/space/homes/alpha", archive=archive)


LINE = LogLine(
    time="2026-01-01T00:00:00.000Z", archive="train_data/a.tar", tool="tar", status="ok", id="id1", from_="b"
)
SEEN = Identity(inode=5, parent_inode=4, size_bytes=10, mtime_ns=7, ctime_ns=8, print="ab")


def test_jobs_come_back_in_order_until_their_line_is_written(journal, tmp_path):
    journal.add(job(1))
    journal.add(job(2))
    assert journal.start(job(1)) == 1
    assert journal.start(job(1)) == 2
    journal.finish(job(1), LINE, SEEN)
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert again.open_jobs() == [(job(1), LINE), (job(2), None)]
    again.forget(job(1))
    assert again.open_jobs() == [(job(2), None)]
    assert again.known("/space/homes/alpha", "train_data/a.tar") == SEEN
    again.close()


def test_archives_that_came_out_of_an_archive_are_known(journal):
    journal.add(job(1))
    journal.finish(job(1), LINE, SEEN, (Placed(path="train_data/in.zip", identity=SEEN),))
    assert journal.known("/space/homes/alpha", "train_data/in.zip") == SEEN


def test_a_new_date_and_a_missing_file(journal):
    journal.know("/h", "a.zip", SEEN)
    journal.know("/h", "b.zip", SEEN)
    journal.redate("/h", "a.zip", 99)
    assert journal.known("/h", "a.zip").mtime_ns == 99
    assert [path for path, _ in journal.known_by_inode("/h", 5)] == ["a.zip", "b.zip"]
    journal.forget_missing("/h", lambda path: path == "b.zip")
    assert journal.known("/h", "a.zip") is None
    assert journal.known("/h", "b.zip") == SEEN


def test_names_that_are_no_utf8(journal):
    name = os.fsdecode(b"train_data/\xb0\xa1.tar")
    journal.add(job(1, archive=name))
    journal.know("/h", name, SEEN)
    assert journal.open_jobs()[0][0].archive == name
    assert journal.known("/h", name) == SEEN
    assert from_json(to_json(job(1, archive=name)), Job).archive == name


def test_first_time_is_true_once(journal):
    assert [journal.first_time("x") for _ in range(3)] == [True, False, False]
    assert journal.first_time("y")


def test_the_word_from_in_the_log():
    assert b'"from":"b"' in to_json(LINE)
    assert from_json(to_json(LINE), LogLine) == LINE
    assert Trigger.RENAME.value == "rename"
