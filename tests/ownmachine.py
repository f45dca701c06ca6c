"""A machine of its own for one command: its own network, processes, /etc, /srv, /run, and the unpacked servers in /usr.

What runs inside may add users, write configuration and listen on port 21; nothing of it is left, and nothing else of
the machine is touched. Takes root.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT, UNPACKED, need_root

_PREPARE = r"""
set -eu
here=$1 unpacked=$2 venv=$3
shift 3
ip link set lo up
mount -t tmpfs -o mode=755 none "$here"
merge() {
    mkdir -p "$here/upper$1" "$here/work$1"
    lower=$1
    if [ -d "$unpacked$1" ]; then lower=$unpacked$1:$1; fi
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$here/upper$1,workdir=$here/work$1" "$1"
}
for place in /etc /usr /var /opt /srv; do mkdir -p $place; merge $place; done
mount -t tmpfs -o mode=755 none /run
mkdir -p /opt/iqdata/bin
ln -s "$venv/bin/iqdata" /opt/iqdata/bin/iqdata
exec "$@"
"""


def run_inside(script: Path, *arguments: object, folder: Path, timeout_s: float = 100) -> dict:
    """Run a Python script in a machine of its own and return the JSON that it prints last; fail with what it says.

    Args:
        script: runs with this project importable, `/opt/iqdata/bin/iqdata` at its usual place.
        arguments: for it.
        folder: an empty one, for what is changed inside.
        timeout_s: then everything inside is ended.
    """
    done = _inside(folder, sys.executable, str(script), *map(str, arguments), timeout_s=timeout_s)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    answer: dict = json.loads(done.stdout.splitlines()[-1])
    return answer


def need_own_machine(folder: Path) -> None:
    """Skip where this user may not make one."""
    need_root("a machine of its own")
    for program in ("unshare", "ip", "mount"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not there; scripts/setup --tests installs it")
    tried = _inside(folder, "true", timeout_s=60)
    if tried.returncode:
        pytest.skip(f"a machine of its own cannot be made here: {tried.stderr.strip()}")


def _inside(folder: Path, *command: str, timeout_s: float) -> "subprocess.CompletedProcess[str]":
    alone = [
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
    ]
    prepare = ["bash", "-c", _PREPARE, "bash", str(folder), str(UNPACKED), sys.prefix]
    programs = f"/opt/iqdata/bin:{sys.prefix}/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return subprocess.run(
        ["unshare", *alone, *prepare, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        cwd=ROOT,
        env={"PATH": programs, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"},
    )
