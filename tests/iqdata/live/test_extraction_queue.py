"""The queue of extractions: one line for each upload, whoever told of it."""

import contextlib
import io
import json
import os
import zipfile

import pytest

from iqdata.agent import Agent, AgentSettings
from iqdata.server.autoextract import AutoExtract, ExtractionSettings
from iqdata.server.executors import Executors, LocalWorker, WorkerDied
from iqdata.server.jobs import Job, Trigger
from iqdata.server.journal import Journal
from iqdata.server.recovery import recover_home
from iqdata.server.worker import archive_at

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


class Deadly(LocalWorker):
    """A worker that every archive kills."""

    def run(self, job, ask):
        raise WorkerDied("the worker process ended by SIGSEGV")


class DeadlyExecutors(Executors):
    def make(self):
        return Deadly()


def test_an_archive_that_kills_its_workers_is_given_up_once(home, tmp_path):
    """Whoever looks at the tree again, after an hour or a restart, leaves it alone."""
    with contextlib.closing(Journal(tmp_path / "journal.sqlite")) as journal:
        extractor = AutoExtract(ExtractionSettings(executors=DeadlyExecutors(slots=1)), journal)
        extractor.start()
        extractor.submit(home, "train_data/a.zip", trigger=Trigger.UPLOAD)
        assert extractor.wait_idle(60)
        assert recover_home(home, journal, extractor) == 0
        extractor.stop()
    (line,) = (home / ".iqdata/extractions.jsonl").read_text().splitlines()
    assert "given up" in json.loads(line)["error"]


def test_what_appears_while_an_older_upload_is_extracted_is_looked_at_afterwards(home, tmp_path):
    """Beside OpenSSH a rename appears as a link, and no other event tells of it."""
    agent = Agent(AgentSettings(root=home, executors=Executors(slots=1)))
    archive = home / "train_data/a.zip"
    agent.extractor.submit(home, "train_data/a.zip", trigger=Trigger.UPLOAD)
    agent._look(str(archive))
    assert agent.extractor.backlog == 1, "the older one waits for its turn, and has its job already"
    agent.extractor.start()
    assert agent.extractor.wait_idle(60)
    upload = home / "train_data/upload"
    with zipfile.ZipFile(upload, "w") as packed:
        packed.writestr("later", b"2")
    os.utime(upload, (1, 1))
    upload.replace(archive)
    ((_when, path),) = agent._looks
    agent._look(path)
    assert agent.extractor.wait_idle(60)
    agent.extractor.stop()
    agent.journal.close()
    assert (home / "train_data/later").read_bytes() == b"2"


def test_a_file_that_was_opened_after_the_last_question_is_still_being_written(home):
    """Uploads begin all the time; what was open a moment ago says nothing of a file made since."""
    agent = Agent(AgentSettings(root=home, executors=Executors(slots=1)))
    os.utime(home / "train_data/a.zip", (1, 1))
    try:
        assert not agent._is_busy(home, "train_data/a.zip")
        with (home / "train_data/slow.zip").open("wb") as file:
            file.write(b"the first part")
            file.flush()
            os.utime(file.fileno(), (1, 1))
            assert agent._is_busy(home, "train_data/slow.zip")
        assert not agent._is_busy(home, "train_data/slow.zip")
    finally:
        agent.journal.close()


def test_a_look_leaves_an_upload_alone_that_has_its_job(home, tmp_path):
    """A space that has just started looks at every home while its teams upload already."""
    with contextlib.closing(Journal(tmp_path / "journal.sqlite")) as journal:
        extractor = AutoExtract(ExtractionSettings(executors=Executors(slots=1)), journal)
        extractor.submit(home, "train_data/a.zip", trigger=Trigger.UPLOAD)
        assert recover_home(home, journal, extractor) == 0
        assert extractor.backlog == 1
        assert len(journal.open_jobs()) == 1


def test_what_is_extracted_behind_a_look_s_back_is_not_forgotten(home, tmp_path):
    with contextlib.closing(Journal(tmp_path / "journal.sqlite")) as journal:
        extractor = AutoExtract(ExtractionSettings(executors=Executors(slots=1)), journal)
        late = home / "train_data/late.zip"

        def busy(_home, _path):
            """Upload and extract something in the folder whose names have been read."""
            late.write_bytes(b"")
            journal.know(str(home), "train_data/late.zip", archive_at(home, "train_data/late.zip"))
            return True

        recover_home(home, journal, extractor, busy=busy)
        assert journal.known(str(home), "train_data/late.zip") is not None
        late.unlink()
        recover_home(home, journal, extractor, busy=lambda _home, _path: True)
        assert journal.known(str(home), "train_data/late.zip") is None
