"""The queue of extractions: one line for each upload, whoever told of it."""

import contextlib
import io
import json
import zipfile

import pytest

from iqdata.server.autoextract import AutoExtract, ExtractionSettings
from iqdata.server.executors import Executors
from iqdata.server.jobs import Job, Trigger
from iqdata.server.journal import Journal

pytestmark = pytest.mark.live


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    for name in ("train_data", ".iqdata"):
        (folder / name).mkdir(parents=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", b"1")
    (folder / "train_data/a.zip").write_bytes(buffer.getvalue())
    return folder


def lines_after(home, tmp_path, *jobs):
    """Let a queue find these jobs waiting, in this order, and return its lines."""
    with contextlib.closing(Journal(tmp_path / "journal.sqlite")) as journal:
        for job in jobs:
            journal.add(job)
        extractor = AutoExtract(ExtractionSettings(executors=Executors(slots=1)), journal)
        extractor.start()
        assert extractor.wait_idle(60)
        extractor.stop()
        assert journal.open_jobs() == []
    return [json.loads(line) for line in (home / ".iqdata/extractions.jsonl").read_text().splitlines()]


def test_an_upload_that_a_look_found_before_its_event_has_one_line(home, tmp_path):
    found = Job(id="1", home=str(home), archive="train_data/a.zip", trigger=Trigger.RENAME, found=True)
    told = Job(id="2", home=str(home), archive="train_data/a.zip", trigger=Trigger.UPLOAD)
    lines = lines_after(home, tmp_path, found, told)
    assert [(line["id"], line["status"]) for line in lines] == [("2", "ok")]


def test_an_upload_that_was_replaced_before_its_turn_has_a_line_that_says_so(home, tmp_path):
    older = Job(id="1", home=str(home), archive="train_data/a.zip")
    newer = Job(id="2", home=str(home), archive="train_data/a.zip")
    lines = lines_after(home, tmp_path, older, newer)
    assert [(line["id"], line["status"]) for line in lines] == [("1", "superseded"), ("2", "ok")]
