"""The end of a real tool is seen at once, and a time-out is one."""

import subprocess

import pytest

from iqdata.extract.native import _await_end


@pytest.fixture
def child():
    started = []

    def start(script):
        started.append(subprocess.Popen(["sh", "-c", script]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_exit_code_comes_back(child):
    assert _await_end(child("exit 3"), 30) == 3


def test_a_child_that_has_ended_before(child):
    process = child("exit 0")
    process.wait()
    assert _await_end(process, 30) == 0


def test_one_that_goes_on_is_not_waited_for_longer(child):
    process = child("exec sleep 60")
    with pytest.raises(subprocess.TimeoutExpired):
        _await_end(process, 0.05)
    assert process.poll() is None


def test_a_kernel_without_such_descriptors(child, monkeypatch):
    def unknown(_pid):
        raise OSError("Function not implemented")

    monkeypatch.setattr("os.pidfd_open", unknown)
    assert _await_end(child("exit 4"), 30) == 4
    with pytest.raises(subprocess.TimeoutExpired):
        _await_end(child("exec sleep 60"), 0.05)
