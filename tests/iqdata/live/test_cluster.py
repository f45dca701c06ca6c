"""Extraction on a Dask cluster: a real scheduler and a real worker on this machine."""

import contextlib
import ftplib
import io
import os
import subprocess
import sys
import zipfile

import pytest

from iqdata.server.executors import Executors
from iqdata.server.quota import usage_of
from iqdata.server.space import EmbeddedSpace
from tests.agents import agent, await_lines, log_of, wait_for
from tests.servers import free_port

pytestmark = [pytest.mark.live, pytest.mark.slow]


@contextlib.contextmanager
def cluster(folder):
    """A scheduler with one worker, each its own process."""
    pytest.importorskip("distributed")
    port = free_port()
    environment = {
        **os.environ,
        "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "warning",
        "PYTHONWARNINGS": "ignore",
    }
    with (folder / "cluster.log").open("ab") as log:

        def start(*arguments):
            return subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_scheduler", *arguments]
                if arguments[0].startswith("--host")
                else [sys.executable, "-m", "distributed.cli.dask_worker", *arguments],
                stdout=log,
                stderr=log,
                env=environment,
            )

        running = [start("--host=127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show")]
        running.append(
            start(
                f"tcp://127.0.0.1:{port}",
                "--host=127.0.0.1",
                "--no-dashboard",
                "--nthreads",
                "2",
                "--no-nanny",
            )
        )
        try:
            yield f"127.0.0.1:{port}"
        finally:
            for process in reversed(running):
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
                process.wait(10)


def test_the_agent_sends_its_jobs_to_the_cluster(tmp_path):
    tree = tmp_path / "tree"
    (tree / "train_data").mkdir(parents=True)
    with (
        cluster(tmp_path) as address,
        agent(tree, "--executor", f"dask://{address}", log=tmp_path / "log") as running,
    ):
        for number in range(6):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr(f"x{number}", b"%d" % number)
            (tree / f"train_data/a{number}.zip").write_bytes(buffer.getvalue())
        lines = await_lines(tree, 6)
        assert {line["status"] for line in lines} == {"ok"}
        assert {path.name for path in (tree / "train_data").glob("x*")} == {
            f"x{number}" for number in range(6)
        }
        # The worker that extracted is no child of the agent.
        children = subprocess.run(
            ["ps", "--ppid", str(running.process.pid), "-o", "args="],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "iqdata.server.worker" not in children.stdout
        (tree / "train_data/cut.zip").write_bytes(buffer.getvalue()[:40])
        wait_for(lambda: len(await_lines(tree, 7)) == 7)
        assert await_lines(tree, 7)[-1]["status"] == "damaged"


def test_a_quota_holds_for_what_the_cluster_extracts(tmp_path):
    with (
        cluster(tmp_path) as address,
        EmbeddedSpace(
            tmp_path / "space",
            users={"alpha": "pw"},
            quota_bytes=30_000_000,
            executors=Executors.parse(f"dask://{address}"),
        ) as space,
        ftplib.FTP(timeout=20) as client,
    ):
        client.connect(space.host, space.port)
        client.login("alpha", "pw")
        for name, size in (("fits", 20_000_000), ("not", 20_000_000), ("little", 5_000_000)):
            client.storbinary(f"STOR train_data/{name}.zip", io.BytesIO(zip_of(name, size)))
            assert space.wait_idle(60)
        lines = log_of(space.home("alpha"))
        assert [(line["archive"], line["status"]) for line in lines] == [
            ("train_data/fits.zip", "ok"),
            ("train_data/not.zip", "too-large"),
            ("train_data/little.zip", "ok"),
        ]
        assert "quota" in lines[1]["error"]
        assert space.used_bytes("alpha") == usage_of(space.home("alpha"))


def zip_of(name, size):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(size))
    return buffer.getvalue()
