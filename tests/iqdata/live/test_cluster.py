"""Extraction on a Dask cluster: a real scheduler and a real worker on this machine."""

import contextlib
import os
import subprocess
import sys

import pytest

from tests.agents import agent, await_lines, wait_for
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
    import io
    import zipfile

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
