"""kill -9 of the client and of the server at random bytes of a run: a clean run afterwards mends everything.

`IQDATA_CLIENT_KILLS` and `IQDATA_SERVER_KILLS` ask for long runs (`scripts/soak kills`).
"""

import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from iqdata.errors import IqDataError
from iqdata.location import Location
from iqdata.transports.connect import connector
from tests.faultproxy import Fault, FaultProxy, Harm, Stream
from tests.iqdata.live.test_faults import SECONDS, progress, server_of
from tests.servers import free_port, program, started
from tests.support.trial import Trial

pytestmark = pytest.mark.live

CLIENT_KILLS = int(os.environ.get("IQDATA_CLIENT_KILLS", "0"))
SERVER_KILLS = int(os.environ.get("IQDATA_SERVER_KILLS", "0"))
SEED = int(os.environ.get("IQDATA_SEED", "0")) or (
    random.SystemRandom().randrange(10**9) if CLIENT_KILLS or SERVER_KILLS else 11
)


def next_passed(passed, proxy):
    """Return how much a run lets pass, so that the next moment lies within one."""
    return {one: max(amount, passed[one] * 3 // 4) for one, amount in proxy.passed.items()}


@pytest.mark.timeout(0 if CLIENT_KILLS else 120)
@pytest.mark.parametrize("kind", ["vsftpd", "space"])
def test_a_killed_client_is_made_good_by_the_next_run(kind, tmp_path):
    rng = random.Random(SEED)
    counts = collections.Counter()
    with (
        server_of(kind, tmp_path / "server") as (port, user, password, path, root, owner),
        FaultProxy(port) as proxy,
    ):
        url = f"ftp://{user}@127.0.0.1:{proxy.port}{path}"
        trial = Trial(tmp_path / "workspace", root, url, seed=SEED, owner=owner)
        connect = connector(Location.parse(url), password=password, timeout_s=5)
        passed = dict.fromkeys(Stream, 3000)
        environment = {**os.environ, "IQDATA_PASSWORD": password}
        began = time.monotonic()
        for number in range(CLIENT_KILLS or 5):
            if time.monotonic() - began > SECONDS:
                break
            trial.edit()
            trial.edit()
            stream = rng.choice(list(Stream))
            fault = Fault(stream, Harm.CALL, rng.randrange(max(200, passed[stream])))
            verb = rng.choice((["sync", "--delete"], ["sync"], ["push"], ["push", "--delete"], ["pull"]))
            proxy.arm(fault)
            command = [
                sys.executable, "-m", "iqdata", "-C", str(trial.workspace), "--space", url, "--json", *verb,
                "--max-delete", "100%", "--jobs", "3", "--wait-timeout", "5",
            ]  # fmt: skip
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            proxy.call = process.kill
            output, _ = process.communicate(timeout=60)
            counts[stream.value, "killed" if process.returncode == -signal.SIGKILL else "ended"] += 1
            passed = next_passed(passed, proxy)
            progress(f"kills {kind}: {dict(counts)}")
            proxy.arm(None)
            try:
                assert b"Traceback" not in output, output.decode()
                trial.check_nothing_half()
                trial.check_nothing_lost()
                trial.heal(connect)
            except Exception as exc:
                raise AssertionError(
                    f"run {number} of seed {SEED} on {kind}: {fault}, {verb}: {exc!r}"
                ) from exc
    assert sum(count for key, count in counts.items() if key[1] == "killed") >= 1


class Server:
    """A server process that can be killed, sessions and all, and started again on its port."""

    def __init__(self, kind, folder):
        self.kind = kind
        self.folder = folder
        self.port = free_port()
        self.stack = contextlib.ExitStack()

    def start(self):
        if self.kind == "vsftpd":
            command = [program("vsftpd"), str(self.folder / "vsftpd.conf")]
        else:
            command = [
                sys.executable, "-m", "iqdata", "serve", "--root", str(self.folder / "space"), "--port", str(self.port),
                "--user", "team:pw", "--json", "--executor", "local:1",
            ]  # fmt: skip
        self.stack = contextlib.ExitStack()
        self.process = self.stack.enter_context(started(command, port=self.port, log=self.folder / "log"))

    def kill(self):
        """The whole session group goes: the server's own children too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        # Sessions of vsftpd lead groups of their own.
        subprocess.run(["pkill", "-KILL", "-s", str(self.process.pid)], check=False)
        subprocess.run(["pkill", "-KILL", "-P", str(self.process.pid)], check=False)

    def again(self):
        self.stack.close()
        self.start()


@pytest.mark.timeout(0 if SERVER_KILLS else 120)
def test_a_killed_space_is_made_good_by_the_next_run(tmp_path):
    rng = random.Random(SEED)
    killed = 0
    server = Server("space", tmp_path)
    server.start()
    try:
        with FaultProxy(server.port) as proxy:
            url = f"ftp://team@127.0.0.1:{proxy.port}/"
            root = tmp_path / "space" / "homes" / "team"
            trial = Trial(tmp_path / "workspace", root, url, seed=SEED)
            connect = connector(Location.parse(url), password="pw", timeout_s=5)
            passed = dict.fromkeys(Stream, 3000)
            began = time.monotonic()
            for number in range(SERVER_KILLS or 2):
                if time.monotonic() - began > SECONDS:
                    break
                trial.edit()
                trial.edit()
                stream = rng.choice(list(Stream))
                fault = Fault(stream, Harm.CALL, rng.randrange(max(200, passed[stream])))
                proxy.arm(fault)
                proxy.call = server.kill
                result = trial.disturbed(connect)
                passed = next_passed(passed, proxy)
                if server.process.poll() is None and not proxy.fired:
                    server.kill()
                killed += 1
                progress(f"server kills: {killed}")
                server.process.wait(10)
                try:
                    assert not isinstance(result, Exception) or isinstance(result, IqDataError)
                    trial.check_nothing_half()
                    trial.check_nothing_lost()
                    server.again()
                    proxy.arm(None)
                    trial.heal(connect)
                except Exception as exc:
                    raise AssertionError(
                        f"run {number} of seed {SEED}: {fault} gave {result!r}: {exc!r}"
                    ) from exc
    finally:
        server.stack.close()
    assert killed
