"""The parts of sandboxes that need no child: filters, carving, control groups, environments, and that `auto` takes the best."""

import errno
import shutil
import struct

import pytest

from iqeval import kernel
from iqeval.sandbox import base
from iqeval.sandbox.base import Kind, Limits, View, Wanted, carve, child_environment
from iqeval.sandbox.bubblewrap import Bubblewrap
from iqeval.sandbox.cgroup import Cage, Place, places
from iqeval.sandbox.seccomp import seccomp_program


def run_filter(program, number, *, arch=0xC000003E, first=0):
    """Interpret a seccomp program: what it returns for a call."""
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    data = {0: number, 4: arch, 16: first & 0xFFFFFFFF}
    at = value = 0
    while True:
        code, yes, no, k = steps[at]
        at += 1
        if code == 0x20:
            value = data[k]
        elif code == 0x06:
            return k
        else:
            hit = {0x15: value == k, 0x35: value >= k, 0x45: bool(value & k)}[code]
            at += yes if hit else no


ALLOWED = 0x7FFF0000


def refused(code):
    return 0x00050000 | code


@pytest.mark.parametrize(
    ("number", "first", "sockets", "leave", "verdict"),
    [
        pytest.param(0, 0, True, True, ALLOWED, id="read"),
        pytest.param(101, 0, True, True, refused(errno.EPERM), id="ptrace"),
        pytest.param(165, 0, True, True, refused(errno.EPERM), id="mount"),
        pytest.param(425, 0, True, True, refused(errno.EPERM), id="io_uring_setup"),
        pytest.param(435, 0, True, True, refused(errno.ENOSYS), id="clone3"),
        pytest.param(56, 0x11, True, True, ALLOWED, id="fork"),
        pytest.param(56, 0x10000011, True, True, refused(errno.EPERM), id="clone with a user namespace"),
        pytest.param(41, 2, True, True, ALLOWED, id="inet in a network namespace"),
        pytest.param(41, 1, True, True, ALLOWED, id="unix in a network namespace"),
        pytest.param(41, 40, True, True, refused(errno.EACCES), id="vsock"),
        pytest.param(41, 17, True, True, refused(errno.EACCES), id="packet"),
        pytest.param(41, 2, False, False, refused(errno.EACCES), id="inet without a namespace"),
        pytest.param(53, 1, False, False, ALLOWED, id="socketpair"),
        pytest.param(112, 0, False, False, refused(errno.EPERM), id="setsid"),
        pytest.param(112, 0, True, True, ALLOWED, id="setsid in a process namespace"),
        pytest.param(0x40000000, 0, True, True, refused(errno.EPERM), id="x32"),
    ],
)
def test_seccomp_on_x86_64(number, first, sockets, leave, verdict):
    program = seccomp_program("x86_64", sockets=sockets, leave_group=leave)
    assert run_filter(program, number, first=first) == verdict


def test_seccomp_on_aarch64_and_elsewhere():
    program = seccomp_program("aarch64", sockets=False, leave_group=False)
    assert run_filter(program, 117, arch=0xC00000B7) == refused(errno.EPERM)  # ptrace
    assert run_filter(program, 198, arch=0xC00000B7, first=2) == refused(errno.EACCES)  # socket
    assert run_filter(program, 63, arch=0xC00000B7) == ALLOWED  # read
    assert run_filter(program, 63, arch=0xC000003E) == 0x80000000  # calls by another machine's numbers
    assert seccomp_program("riscv64", sockets=True, leave_group=True) is None


def test_carving_shows_all_but_what_is_hidden(tmp_path):
    for name in ("a/x", "a/y", "b/z", "c"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert carve(tmp_path, []).read == (tmp_path,)
    carved = carve(tmp_path, [tmp_path / "a" / "y", tmp_path / "c"])
    assert set(carved.read) == {tmp_path / "a" / "x", tmp_path / "b"}
    assert set(carved.names) == {tmp_path, tmp_path / "a"}
    assert carve(tmp_path, [tmp_path]).read == ()


def test_every_module_of_the_child_is_shown_to_it():
    """What is missing here shows as a sandbox that does not start, which `auto` would pass over."""
    import subprocess
    import sys

    code = (
        "import sys, iqeval.child, iqeval.supervise, iqeval.api, iqeval.data, iqeval.missing; "
        "print(*[m.__file__ for n, m in sys.modules.items() if n.startswith('iqeval')])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    shown = {str(path) for path in base.package_paths()}
    assert {path for path in loaded if path not in shown} == set()


def test_the_childs_environment_holds_nothing_of_the_callers():
    env = {
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "x",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "2",
        "HOME": "/root",
        "PYTHONPATH": "/x",
    }
    found = child_environment(env, scratch="/s", space="/w", extra={"IQEVAL_X": "1"})
    assert "AWS_SECRET_ACCESS_KEY" not in found
    assert "PYTHONPATH" not in found
    assert (found["HOME"], found["IQEVAL_SPACE"], found["OMP_NUM_THREADS"], found["IQEVAL_X"]) == (
        "/s",
        "/w",
        "2",
        "1",
    )


def test_mounts_come_outer_first_and_the_rest_of_the_space_is_not_there(tmp_path, monkeypatch):
    work = tmp_path / "w"
    for name in ("train_data", "group_data", "other"):
        (work / name).mkdir(parents=True)
    (work / "model").mkdir()
    (work / "model" / "s.answer.json").write_text("x")
    view = View(work=work, model=work / "model", hidden=(work / "model" / "s.answer.json",))
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/bwrap")
    argv = list(Bubblewrap().launch(view, Limits(), scratch=tmp_path, env={}).argv)
    assert argv.index(str(work)) < argv.index(str(work / "train_data"))
    assert str(work / "other") not in argv
    at = argv.index(str(work / "model" / "s.answer.json"))
    assert argv[at - 2 : at] == ["--ro-bind", "/dev/null"]
    assert "--unshare-net" in argv
    assert (
        "--unshare-net"
        not in Bubblewrap()
        .launch(View(work=work, model=work / "model", network=True), Limits(), scratch=tmp_path, env={})
        .argv
    )


def test_the_ladder():
    assert Wanted.AUTO.ladder == (Kind.BUBBLEWRAP, Kind.LANDLOCK, Kind.NONE)
    assert Wanted.REQUIRE.ladder == (Kind.BUBBLEWRAP, Kind.LANDLOCK)
    assert Wanted.NONE.ladder == (Kind.NONE,)


def test_control_groups_are_found_in_both_versions(tmp_path):
    mounts = "cg /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncg /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncg2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    own = "8:pids:/a\n7:memory:/\n5:cpu:/\n0::/slice\n"
    (tmp_path / "unified" / "slice").mkdir(parents=True)
    (tmp_path / "unified" / "slice" / "cgroup.subtree_control").write_text("cpu pids\n")
    assert places(own, mounts, root=tmp_path) == [
        Place(folder=tmp_path / "pids" / "a", controls=("pids",), unified=False),
        Place(folder=tmp_path / "memory", controls=("memory",), unified=False),
        Place(folder=tmp_path / "unified" / "slice", controls=("pids",), unified=True),
    ]


def test_a_cage_where_none_can_be_made_is_empty(tmp_path):
    cage = Cage.make(
        "x",
        processes=5,
        memory_bytes=5,
        among=[Place(folder=tmp_path / "none", controls=("pids",), unified=False)],
    )
    assert cage.controls == ()
    assert cage.entrances() == []
    cage.remove()
    assert not cage.ran_out_of_memory()


def test_auto_takes_the_best_that_is_installed(make_model, two_categories, tmp_path):
    from iqeval.run import Settings, run

    record = run(
        make_model("def get_model_object(c): return None"), two_categories, Settings(work=tmp_path / "w")
    )
    best = Kind.BUBBLEWRAP if shutil.which("bwrap") else Kind.LANDLOCK if kernel.landlock_abi() else Kind.NONE
    assert record.sandbox.kind == best.value
    assert record.sandbox.passed_over == () or best is not Kind.BUBBLEWRAP
