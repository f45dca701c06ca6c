"""What an import brings with it: the package alone opens nothing, and `--help` loads no verb."""

import subprocess
import sys

import pytest

NETWORK = {"socket", "ssl", "ftplib", "paramiko", "pyftpdlib", "asyncio", "http"}


def modules_after(code):
    """Return the modules that a fresh interpreter has loaded after running `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('=== modules', *sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split("=== modules")[1].split())


@pytest.mark.parametrize("package", ["iqdata", "iqeval"])
def test_a_package_alone_opens_no_network_module(package):
    loaded = modules_after(f"import {package}")
    assert package in loaded
    assert not loaded & NETWORK


@pytest.mark.parametrize("module", ["plan", "actions", "safety", "rules", "paths", "settle", "events"])
def test_pure_modules_load_no_network_module(module):
    assert not modules_after(f"import iqdata.{module}") & NETWORK


def test_help_loads_no_verb():
    loaded = modules_after("from iqdata.cli import run\nrun(['--help'])")
    assert not {name for name in loaded if name.startswith("iqdata.") and name.count(".") == 1} - {
        "iqdata.cli",
        "iqdata.errors",
    }
    assert not loaded & {"paramiko", "pyftpdlib", "py7zr", "watchdog", "msgspec"}
