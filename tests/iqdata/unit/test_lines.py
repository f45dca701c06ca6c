"""The log file that turns over without losing what a reader waits for."""

import os

import pytest

from iqdata.server.lines import LineFile


def test_turning_over_carries_the_latest_lines(tmp_path):
    log = LineFile(tmp_path / "log.jsonl", limit_bytes=1000, keep=2, carry=5)
    for number in range(400):
        log.append(f'{{"n": {number}}}'.encode())
        lines = log.path.read_bytes().splitlines()
        assert lines[-1] == f'{{"n": {number}}}'.encode()
        assert len(lines) >= min(5, number + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.1.jsonl", "log.2.jsonl", "log.jsonl"]


def test_every_line_is_in_the_log_or_in_the_one_before(tmp_path):
    log = LineFile(tmp_path / "log.jsonl", limit_bytes=100, keep=50, carry=3)
    for number in range(60):
        log.append(str(number).encode())
    seen = set()
    for path in tmp_path.iterdir():
        seen.update(path.read_text().split())
    assert seen == {str(number) for number in range(60)}


def test_half_a_line_of_a_killed_process_swallows_nothing(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"half":')
    LineFile(path).append(b'{"whole": 1}')
    assert path.read_bytes() == b'{"half":\n{"whole": 1}\n'


def test_a_link_in_the_place_of_the_folder_or_the_file_is_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        LineFile(tmp_path / "link" / "log.jsonl").append(b"x")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "log.jsonl").symlink_to(elsewhere / "target")
    with pytest.raises(OSError, match="symbolic"):
        LineFile(tmp_path / "home" / "log.jsonl").append(b"x")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(PermissionError):
        LineFile(folder / "log.jsonl").append(b"x")


def test_a_held_file_turns_over_as_well(tmp_path):
    log = LineFile(tmp_path / "log.jsonl", limit_bytes=200, keep=40, hold=True)
    for number in range(300):
        log.append(b"%d" % number)
    log.close()
    seen = [int(line) for path in tmp_path.iterdir() for line in path.read_text().split()]
    assert sorted(seen) == list(range(300))
