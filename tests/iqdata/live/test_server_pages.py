"""The pages about other servers, followed from top to bottom in a machine of their own, and the units for systemd."""

import contextlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ownmachine import need_own_machine, run_inside
from tests.servers import ROOT, program, reachable

pytestmark = [pytest.mark.live, pytest.mark.slow]

DOCS = ROOT / "docs"
UNITS = ("iqdata-agent.service", "iqdata-serve.service")


@pytest.mark.parametrize(
    ("page", "server"),
    [("vsftpd", "vsftpd"), ("proftpd", "proftpd"), ("pureftpd", "pure-ftpd"), ("openssh", "sshd")],
)
def test_the_page_leads_to_a_space(page, server, tmp_path):
    """Its commands make users, folders and configuration; then archives come out, and only who may gets in."""
    program(server)
    reachable(tmp_path)
    folder = tmp_path / "machine"
    folder.mkdir()
    need_own_machine(folder)
    assert run_inside(ROOT / "tests/support/page_in_own_machine.py", page, folder=folder) == {
        "log": [["train_data/a.tar.gz", "ok", "upload"], ["train_data/b.tar.gz", "ok", "rename"]],
        "log over the server": 2,
        "members": ["1", "1"],
        "owner is the archive's": True,
        "log is written by the space alone": True,
        "jail": True,
        "beta before": [True, True],
        "beta as a member": [False, False],
    }


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_what_systemd_takes(unit, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there")
    command = Path(sys.prefix) / "bin/iqdata"
    (tmp_path / unit).write_text((DOCS / unit).read_text().replace("/opt/iqdata/bin/iqdata", str(command)))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_commands_that_install_a_unit(tmp_path):
    """As written in docs/space.md, into another root."""
    if shutil.which("systemctl") is None:
        pytest.skip("systemctl is not there")
    (block,) = re.findall(
        r"^```sh\n(install .*?)^```$", (DOCS / "space.md").read_text(), re.DOTALL | re.MULTILINE
    )
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    block = block.replace("/etc/", f"{tmp_path}/etc/").replace("enable --now", f"--root={tmp_path} enable")
    subprocess.run(["bash", "-euc", block], check=True, cwd=ROOT, capture_output=True)
    assert (tmp_path / "etc/systemd/system/multi-user.target.wants/iqdata-agent.service").is_symlink()


@pytest.mark.parametrize("unit", UNITS)
def test_units_run_commands_that_exist(unit, capsys):
    from iqdata.cli import run

    text = (DOCS / unit).read_text()
    (command,) = re.findall(r"^ExecStart=/opt/iqdata/bin/iqdata (.*)$", text, re.MULTILINE)
    with contextlib.suppress(SystemExit):
        assert run([command.split()[0], "--help"]) == 0
    offered = capsys.readouterr().out
    for option in re.findall(r"--[a-z-]+", command):
        assert option in offered
