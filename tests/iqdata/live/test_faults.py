"""Connections that break, stall and lie at any byte: afterwards one clean run mends everything, and nothing is lost.

`IQDATA_FAULT_RUNS` asks for a long run (`scripts/soak faults`).
"""

import collections
import contextlib
import faulthandler
import os
import random
import time

import pytest

from iqdata.location import Location
from iqdata.server.space import EmbeddedSpace
from iqdata.transports.connect import connector
from tests.faultproxy import Fault, FaultProxy, Stream, harms_of
from tests.servers import vsftpd
from tests.support.trial import Trial

pytestmark = pytest.mark.live

SHARDS = int(os.environ.get("IQDATA_FAULT_SHARDS", "1"))
"""How many trials run side by side in a long run: most of their time is waiting for time-outs."""

RUNS = int(os.environ.get("IQDATA_FAULT_RUNS", "0"))
SEED = int(os.environ.get("IQDATA_SEED", "0")) or (random.SystemRandom().randrange(10**9) if RUNS else 7)


FEWEST_HITS = 5
SECONDS = float(os.environ.get("IQDATA_SOAK_S", "1e9"))
"""When a long run ends, whatever it has done by then."""


def progress(text):
    """Say how far a long run has come, in the file that IQDATA_SOAK_LOG names."""
    if log := os.environ.get("IQDATA_SOAK_LOG"):
        with open(log, "a") as file:  # noqa: PTH123  # the shortest
            file.write(f"{text}\n")


@contextlib.contextmanager
def server_of(kind, folder):
    """Run a server; yield its port, the user and password, the path of the space and its folder."""
    if kind == "vsftpd":
        folder.mkdir()
        with vsftpd(folder) as running:
            yield running.location.port, "anonymous", running.password, "/space", running.root, "daemon"
    else:
        with EmbeddedSpace(folder, users={"team": "pw"}) as space:
            yield space.port, "team", "pw", "/", space.home("team"), None


@pytest.mark.timeout(0 if RUNS else 120)
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("kind", ["vsftpd", "space"])
def test_any_fault_at_any_byte_is_mended_by_one_clean_run(kind, shard, tmp_path):
    seed = SEED + shard
    rng = random.Random(seed)
    counts = collections.Counter()
    with (
        server_of(kind, tmp_path / "server") as (port, user, password, path, root, owner),
        FaultProxy(port) as proxy,
    ):
        url = f"ftp://{user}@127.0.0.1:{proxy.port}{path}"
        trial = Trial(tmp_path / "workspace", root, url, seed=seed, owner=owner)

        def connect(timeout_s=1.0):
            return connector(Location.parse(url), password=password, timeout_s=timeout_s)

        began = time.monotonic()
        passed = dict.fromkeys(Stream, 2000)
        for number in range(RUNS or 10_000):
            hits = sum(count for key, count in counts.items() if key[2] == "hit")
            if time.monotonic() - began > (SECONDS if RUNS else 14) and hits >= FEWEST_HITS:
                break
            progress(f"faults {kind} seed {seed}: {number} runs, {time.monotonic() - began:.0f} s")
            faulthandler.dump_traceback_later(120, exit=True)
            stream = rng.choice((*Stream, Stream.REPLIES, Stream.REPLIES))
            harm = rng.choice(harms_of(stream))
            fault = Fault(
                stream, harm, rng.randrange(max(200, passed[stream])), everything=rng.random() < 0.3
            )
            trial.edit()
            proxy.arm(fault)
            result = trial.disturbed(connect())
            fired = proxy.fired
            counts[stream.value, harm.value, "hit" if fired else "missed"] += 1
            # The next fault lies within what a run like this lets pass.
            passed = {one: max(amount, passed[one] * 3 // 4) for one, amount in proxy.passed.items()}
            proxy.arm(None)
            try:
                trial.check_nothing_half()
                trial.check_nothing_lost()
                trial.heal(connect(15.0))
            except Exception as exc:
                raise AssertionError(
                    f"run {number} of seed {seed} on {kind}: {fault}, fired {fired}, gave {result!r}: {exc}"
                ) from exc
        faulthandler.cancel_dump_traceback_later()
    hits = sum(count for key, count in counts.items() if key[2] == "hit")
    if RUNS:
        for key, count in sorted(counts.items()):
            progress(f"count {kind} {' '.join(key)}: {count}")
        progress(f"done {kind} seed {seed}: {hits} faults in {number} runs, {time.monotonic() - began:.0f} s")
    assert hits >= FEWEST_HITS
