"""The embedded space as curl, lftp, rclone and a bare FTP client see it."""

import contextlib
import ftplib
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import threading
import zipfile

import pytest

from iqdata.server.logins import LoginGuard
from iqdata.server.space import EmbeddedSpace
from tests.agents import wait_for
from tests.conftest import need_program
from tests.servers import free_port

pytestmark = pytest.mark.live

USERS = {"alpha": "pw-a", "beta": "pw-b"}


def tar_of(members, *, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


OPEN = []


@pytest.fixture(autouse=True)
def _close_sockets():
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def space(tmp_path):
    with EmbeddedSpace(tmp_path / "space", users=USERS, groups={"g": ("alpha", "beta")}) as space:
        yield space


def login(space, user="alpha", password=None):
    client = ftplib.FTP(timeout=20)
    OPEN.append(client)
    client.connect(space.host, space.port)
    client.login(user, password if password is not None else USERS[user])
    return client


@pytest.fixture
def ftp(space):
    client = login(space)
    yield client
    client.close()


def put(client, path, content, **more):
    return client.storbinary(f"STOR {path}", io.BytesIO(content), **more)


def get(client, path, rest=None):
    blocks = []
    client.retrbinary(f"RETR {path}", blocks.append, rest=rest)
    return b"".join(blocks)


def log(space, user="alpha"):
    path = space.home(user) / ".iqdata" / "extractions.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def refused(code, act, *arguments):
    with pytest.raises(ftplib.Error) as caught:
        act(*arguments)
    assert str(caught.value)[:3] == str(code), caught.value
    return str(caught.value)


# --- the rules


def test_upload_and_rename_extract_and_leave_a_line_each(space, ftp):
    archive = tar_of({"d/x.csv": b"1,2\n"})
    put(ftp, "train_data/a.tar.gz", archive)
    put(ftp, "train_data/b.bin", zip_of({"y.csv": b"3\n"}))
    ftp.rename("train_data/b.bin", "train_data/b.zip")
    assert space.wait_idle()
    home = space.home("alpha")
    assert (home / "train_data/d/x.csv").read_bytes() == b"1,2\n"
    assert (home / "train_data/y.csv").read_bytes() == b"3\n"
    first, second = log(space)
    assert (first["archive"], first["tool"], first["status"], first["trigger"]) == (
        "train_data/a.tar.gz",
        "tar",
        "ok",
        "upload",
    )
    assert (first["files"], first["bytes"], first["error"]) == (1, 4, None)
    assert first["archive_bytes"] == len(archive)
    assert first["archive_mtime_ns"] == (home / "train_data/a.tar.gz").stat().st_mtime_ns
    assert (second["archive"], second["tool"], second["trigger"], second["from"]) == (
        "train_data/b.zip",
        "7z",
        "rename",
        "train_data/b.bin",
    )
    assert first["id"] != second["id"]
    assert first["time"].endswith("Z")


def test_the_log_and_the_profile_are_read_by_ftp(space, ftp):
    put(ftp, "train_data/a.tar.gz", tar_of({"x": b"1"}))
    assert space.wait_idle()
    assert json.loads(get(ftp, "/.iqdata/extractions.jsonl"))["status"] == "ok"
    profile = json.loads(get(ftp, "/.iqdata/space.json"))
    assert profile["extracts_on"] == ["upload", "rename"]
    assert (profile["keeps_archive"], profile["overwrites"], profile["into"]) == (True, True, "same-folder")
    assert profile["log"] == "/.iqdata/extractions.jsonl"
    status = json.loads(ftp.sendcmd("SITE EXTRACT-STATUS train_data/a.tar.gz")[4:])
    assert (status["state"], status["line"]["status"]) == ("done", "ok")
    assert json.loads(ftp.sendcmd("SITE EXTRACT-STATUS train_data/none.zip")[4:])["state"] == "unknown"


def test_nothing_else_is_extracted(space, ftp):
    archive = tar_of({"x": b"1"})
    for name in ("a.tgz", "a.TAR", "iqdata-part-0123456789abcdefghij", "a.zip.part"):
        put(ftp, f"train_data/{name}", archive)
    ftp.mkd("train_data/folder.zip")
    ftp.rename("train_data/folder.zip", "train_data/other.zip")
    assert space.wait_idle()
    assert log(space) == []


def test_an_archive_in_an_archive_stays_packed(space, ftp):
    put(ftp, "train_data/outer.tar.gz", tar_of({"in.zip": zip_of({"x": b"1"})}))
    assert space.wait_idle()
    assert [line["archive"] for line in log(space)] == ["train_data/outer.tar.gz"]
    assert not (space.home("alpha") / "train_data/x").exists()


def test_appe_stou_and_rest_extract_at_their_end(space, ftp):
    archive = tar_of({"x": b"1" * 5000})
    half = len(archive) // 2
    put(ftp, "train_data/rest.tar.gz", archive[:half])
    ftp.storbinary("STOR train_data/rest.tar.gz", io.BytesIO(archive[half:]), rest=half)
    put(ftp, "train_data/appe.tar.gz", archive[:half])
    ftp.storbinary("APPE train_data/appe.tar.gz", io.BytesIO(archive[half:]))
    ftp.cwd("/train_data")
    ftp.voidcmd("TYPE I")
    connection, _size = ftp.ntransfercmd("STOU up.zip")
    connection.sendall(zip_of({"y": b"2"}))
    connection.close()
    ftp.voidresp()
    assert space.wait_idle()
    assert (space.home("alpha") / "train_data/x").read_bytes() == b"1" * 5000
    assert (space.home("alpha") / "train_data/y").read_bytes() == b"2"
    last = {}
    for line in log(space):
        last[line["archive"].rpartition("-")[2]] = line["status"]
    assert last == {"train_data/rest.tar.gz": "ok", "train_data/appe.tar.gz": "ok", "up.zip": "ok"}
    assert get(ftp, "/train_data/rest.tar.gz") == archive


def test_rest_cuts_what_was_behind_it(space, ftp):
    put(ftp, "train_data/a.bin", b"0123456789")
    ftp.storbinary("STOR train_data/a.bin", io.BytesIO(b"XY"), rest=4)
    assert get(ftp, "train_data/a.bin") == b"0123XY"
    refused(554, lambda: ftp.storbinary("STOR train_data/a.bin", io.BytesIO(b"x"), rest=100))
    assert get(ftp, "train_data/a.bin", rest=4) == b"XY"


def test_the_newest_of_many_uploads_wins(space, ftp):
    for number in range(12):
        put(ftp, "train_data/a.tar.gz", tar_of({"x": b"%d" % number, "big": os.urandom(200_000)}))
    assert space.wait_idle()
    assert (space.home("alpha") / "train_data/x").read_bytes() == b"11"
    lines = log(space)
    assert len(lines) == 12
    assert {line["status"] for line in lines} <= {"ok", "superseded"}
    assert lines[-1]["status"] == "ok"


def test_a_damaged_upload_is_mended_by_the_next(space, ftp):
    archive = zip_of({"a": os.urandom(50_000), "b": os.urandom(50_000)})
    put(ftp, "train_data/a.zip", archive[: len(archive) // 2])
    assert space.wait_idle()
    put(ftp, "train_data/a.zip", archive)
    assert space.wait_idle()
    assert [line["status"] for line in log(space)] == ["damaged", "ok"]
    assert (space.home("alpha") / "train_data/b").stat().st_size == 50_000


def test_a_reset_upload_is_no_whole_file_but_is_looked_at(space, ftp):
    archive = zip_of({"a": os.urandom(300_000)})
    ftp.voidcmd("TYPE I")
    connection = ftp.transfercmd("STOR train_data/cut.zip")
    connection.sendall(archive[:100_000])
    cut = space.home("alpha") / "train_data/cut.zip"
    # A connection that is reset before the server has taken it is none; this one is.
    wait_for(lambda: cut.exists() and cut.stat().st_size > 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.close()
    refused(426, ftp.voidresp)
    assert space.wait_idle()
    assert [line["status"] for line in log(space)] == ["damaged"]
    assert not (space.home("alpha") / "train_data/a").exists()


def test_an_archive_in_the_root_spares_log_and_areas(space, ftp):
    put(ftp, "train_data/keep.txt", b"keep")
    put(
        ftp,
        "evil.tar.gz",
        tar_of({".iqdata/extractions.jsonl": b"forged\n", "train_data": b"a file", "ok.txt": b"1"}),
    )
    assert space.wait_idle()
    assert [line["status"] for line in log(space)] == ["unsafe"]
    assert (space.home("alpha") / "train_data/keep.txt").read_bytes() == b"keep"
    assert (space.home("alpha") / "ok.txt").exists()


def test_two_sessions_upload_one_archive(space):
    rounds = 6
    errors = []

    def work(letter):
        try:
            with login(space) as client:
                for number in range(rounds):
                    put(client, "train_data/a.tar.gz", tar_of({"who": letter * 100_000, "n": b"%d" % number}))
        except Exception as exc:  # noqa: BLE001  reported below
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert space.wait_idle()
    with tarfile.open(space.home("alpha") / "train_data/a.tar.gz") as archive:
        expected = archive.extractfile("who").read()
    assert (space.home("alpha") / "train_data/who").read_bytes() == expected
    statuses = [line["status"] for line in log(space)]
    assert statuses[-1] == "ok"
    assert set(statuses) <= {"ok", "superseded"}


# --- clients


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def test_curl(space, tmp_path):
    need_program("curl")
    file = tmp_path / "a.tar.gz"
    file.write_bytes(tar_of({"x": b"1"}))
    base = f"ftp://alpha:pw-a@{space.host}:{space.port}"
    assert run("curl", "-sS", "-T", file, f"{base}/train_data/").returncode == 0
    assert space.wait_idle()
    assert run("curl", "-sS", f"{base}/train_data/x").stdout == "1"
    assert (
        run("curl", "-sS", "--ftp-create-dirs", "-T", file, f"{base}/train_data/n/e/w/a.bin").returncode == 0
    )
    assert "a.tar.gz" in run("curl", "-sS", f"{base}/train_data/").stdout
    assert (
        run("curl", "-sS", "-T", file, f"ftp://alpha:wrong@{space.host}:{space.port}/train_data/").returncode
        == 67
    )
    assert run("curl", "-sS", f"ftp://beta:pw-b@{space.host}:{space.port}/group_data/").returncode == 9


def test_lftp(space, tmp_path):
    need_program("lftp")
    (tmp_path / "a.tar.gz").write_bytes(tar_of({"x": b"1"}))
    (tmp_path / "b.bin").write_bytes(zip_of({"y": b"2"}))
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/f").write_bytes(b"3")
    script = (
        "set net:max-retries 1; cd train_data; put a.tar.gz; put b.bin; mv b.bin b.zip; mirror -R -P4 tree tree; "
        "cls -1; get b.zip -o back.zip; rm -r tree; bye"
    )
    answer = run("lftp", "-u", "alpha,pw-a", "-e", script, f"ftp://{space.host}:{space.port}", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert space.wait_idle()
    home = space.home("alpha") / "train_data"
    assert (home / "x").read_bytes() == b"1"
    assert (home / "y").read_bytes() == b"2"
    assert not (home / "tree").exists()
    assert (tmp_path / "back.zip").read_bytes() == (tmp_path / "b.bin").read_bytes()
    assert [line["archive"] for line in log(space)] == ["train_data/a.tar.gz", "train_data/b.zip"]


def test_lftp_sends_commands_ahead(space, tmp_path):
    need_program("lftp")
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(60):
        (tree / f"f{number}").write_bytes(b"%d" % number)
    script = "set ftp:sync-mode off; set net:max-retries 1; mirror -R -P4 tree /train_data/tree; bye"
    answer = run("lftp", "-u", "alpha,pw-a", "-e", script, f"ftp://{space.host}:{space.port}", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    there = {path.name: path.read_bytes() for path in (space.home("alpha") / "train_data/tree").iterdir()}
    assert there == {f"f{number}": b"%d" % number for number in range(60)}


def test_rclone(space, tmp_path):
    need_program("rclone")
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.tar.gz").write_bytes(tar_of({"x": b"1"}))
    (source / "sub/f.bin").write_bytes(b"2")
    hidden = run("rclone", "obscure", "pw-a").stdout.strip()
    remote = f":ftp,host={space.host},port={space.port},user=alpha,pass={hidden}:train_data/new/folder"
    for _ in range(2):
        answer = run("rclone", "--config", "/dev/null", "copy", source, remote)
        assert answer.returncode == 0, answer.stderr
    assert space.wait_idle()
    home = space.home("alpha") / "train_data/new/folder"
    assert (home / "x").read_bytes() == b"1"
    assert (home / "sub/f.bin").read_bytes() == b"2"


# --- the protocol


def test_what_is_offered(ftp):
    features = ftp.sendcmd("FEAT")
    for feature in ("MLST", "MFMT", "MDTM", "SIZE", "REST STREAM", "UTF8", "HASH SHA-256", "XSHA256", "TVFS"):
        assert feature in features


def test_facts_dates_sizes_and_hashes(space, ftp):
    content = os.urandom(100_000)
    put(ftp, "train_data/a.bin", content)
    ftp.sendcmd("MFMT 20200102030405 train_data/a.bin")
    ftp.voidcmd("TYPE I")
    assert ftp.size("train_data/a.bin") == 100_000
    assert ftp.sendcmd("MDTM train_data/a.bin") == "213 20200102030405"
    facts = dict(ftp.mlsd("train_data"))["a.bin"]
    assert (facts["type"], facts["size"], facts["modify"]) == ("file", "100000", "20200102030405")
    assert "modify=20200102030405" in ftp.sendcmd("MLST train_data/a.bin")
    assert hashlib.sha256(content).hexdigest() in ftp.sendcmd("HASH train_data/a.bin")
    assert ftp.sendcmd("OPTS HASH MD5").startswith("200 MD5")
    assert hashlib.md5(content).hexdigest() in ftp.sendcmd("HASH train_data/a.bin")
    assert hashlib.sha1(content).hexdigest() in ftp.sendcmd("XSHA1 train_data/a.bin")
    assert hashlib.sha256(content).hexdigest() in ftp.sendcmd("XSHA256 train_data/a.bin")


def test_a_missing_folder_is_550_for_every_listing(ftp):
    for command in ("MLSD nothere", "LIST nothere", "NLST nothere"):
        refused(550, ftp.retrlines, command)
    refused(550, ftp.cwd, "nothere")
    refused(550, ftp.sendcmd, "MLST nothere")
    refused(501, ftp.retrlines, "MLSD .iqdata/space.json")
    refused(550, ftp.delete, "nothere")
    refused(550, ftp.rename, "nothere", "x")


def test_options_of_ls_are_no_path(space, ftp):
    put(ftp, "train_data/a.bin", b"1")
    for arguments in ("-la train_data", "-a -l train_data", "train_data"):
        lines = []
        ftp.retrlines(f"LIST {arguments}", lines.append)
        assert [line.split()[-1] for line in lines] == ["a.bin"]


def test_names_round_trip(space, ftp):
    for name in ("ü ñ 漢字.bin", "quote\"'.bin", " lead", "star*?.bin", "a\\b", "x" * 255):
        put(ftp, f"train_data/{name}", name.encode())
        assert get(ftp, f"train_data/{name}") == name.encode()
        assert name in dict(ftp.mlsd("train_data"))
    refused(553, lambda: put(ftp, "train_data/" + "x" * 256, b""))


def test_text_mode_changes_line_ends(space, ftp):
    ftp.storlines("STOR train_data/t.txt", io.BytesIO(b"a\nb\n"))
    assert (space.home("alpha") / "train_data/t.txt").read_bytes() == b"a\nb\n"
    lines = []
    ftp.retrlines("RETR train_data/t.txt", lines.append)
    assert lines == ["a", "b"]


def raw(space, user="alpha"):
    """A control connection without a library's manners."""
    control = socket.create_connection((space.host, space.port), timeout=20)
    reader = control.makefile("rb")
    OPEN.extend((reader, control))
    reader.readline()
    if user:
        control.sendall(f"USER {user}\r\nPASS {USERS[user]}\r\n".encode())
        assert reader.readline().startswith(b"331")
        assert reader.readline().startswith(b"230")
    return control, reader


def test_commands_sent_ahead_wait_for_login_and_transfer(space):
    control, reader = raw(space, user=None)
    control.sendall(b"USER alpha\r\nPASS pw-a\r\nTYPE I\r\nMKD train_data/x\r\nEPSV\r\n")
    assert [reader.readline()[:3] for _ in range(4)] == [b"331", b"230", b"200", b"257"]
    port = int(reader.readline().split(b"|||")[1].split(b"|")[0])
    data = socket.create_connection((space.host, port), timeout=20)
    control.sendall(
        b"STOR train_data/x/f\r\nSIZE train_data/x/f\r\nRNFR train_data/x/f\r\nRNTO train_data/x/g\r\nQUIT\r\n"
    )
    assert reader.readline()[:3] in (b"125", b"150")
    data.sendall(b"content")
    data.close()
    assert [reader.readline() for _ in range(2)] == [b"226 Transfer complete.\r\n", b"213 7\r\n"]
    assert [reader.readline()[:3] for _ in range(3)] == [b"350", b"250", b"221"]
    assert reader.readline() == b""
    assert (space.home("alpha") / "train_data/x/g").read_bytes() == b"content"


def test_a_transfer_without_a_data_connection_is_refused_at_once(space):
    control, reader = raw(space)
    control.sendall(b"STOR train_data/f\r\nRETR train_data/f\r\nNOOP\r\n")
    assert [reader.readline()[:3] for _ in range(3)] == [b"425", b"425", b"200"]
    assert not (space.home("alpha") / "train_data/f").exists()


# --- who may what


def test_a_member_may_nothing_in_group_data_and_learns_why(space, ftp):
    put(ftp, "group_data/shared.bin", b"1")
    with login(space, "beta") as member:
        for act in (
            lambda: member.cwd("group_data"),
            lambda: member.retrlines("MLSD group_data"),
            lambda: member.retrlines("LIST group_data"),
            lambda: put(member, "group_data/x", b""),
            lambda: member.delete("group_data/shared.bin"),
            lambda: get(member, "group_data/shared.bin"),
            lambda: member.mkd("group_data/x"),
            lambda: member.sendcmd("RNFR group_data/shared.bin"),
            lambda: member.sendcmd("SIZE group_data/shared.bin"),
            lambda: member.sendcmd("MFMT 20200101000000 group_data/shared.bin"),
        ):
            member.voidcmd("TYPE I")
            assert "belongs to alpha" in refused(550, act)
        put(member, "train_data/mine", b"1")
        assert "belongs to alpha" in refused(550, member.rename, "train_data/mine", "group_data/mine")
        assert "group_data" in dict(member.mlsd("/"))
    assert get(ftp, "group_data/shared.bin") == b"1"


def test_the_log_and_the_areas_are_the_space_s_own(space, ftp):
    for act in (
        lambda: put(ftp, ".iqdata/extractions.jsonl", b"forged"),
        lambda: put(ftp, ".iqdata/x", b""),
        lambda: ftp.delete(".iqdata/space.json"),
        lambda: ftp.rmd(".iqdata"),
        lambda: ftp.rmd("train_data"),
        lambda: ftp.rename("train_data", "other"),
        lambda: ftp.rename(".iqdata", "other"),
        lambda: ftp.rename(".iqdata/space.json", "other"),
        lambda: ftp.mkd(".iqdata/x"),
        lambda: ftp.rmd("/"),
    ):
        refused(550, act)


@pytest.mark.parametrize(
    "path",
    ["../x", "/../x", "train_data/../../x", "//../..//x", "train_data/../../../../../../x", "./../x"],
)
def test_dots_stay_in_the_home(space, ftp, path, tmp_path):
    put(ftp, path, b"1")
    inside = {str(found.relative_to(space.home("alpha"))) for found in space.home("alpha").rglob("x")}
    assert inside == {"x"}
    assert not list(tmp_path.glob("*/x")) + list(tmp_path.glob("x"))


def test_links_that_lead_out_are_not_followed(space, ftp, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "f").write_text("secret")
    home = space.home("alpha") / "train_data"
    (home / "abs").symlink_to(secret)
    (home / "rel").symlink_to("../../../../secret")
    (home / "file").symlink_to(secret / "f")
    for name in ("abs", "rel"):
        refused(550, ftp.cwd, f"train_data/{name}")
        refused(550, lambda name=name: get(ftp, f"train_data/{name}/f"))
        refused(550, lambda name=name: put(ftp, f"train_data/{name}/g", b""))
        refused(550, ftp.retrlines, f"MLSD train_data/{name}")
    refused(550, lambda: get(ftp, "train_data/file"))
    put(ftp, "train_data/file", b"mine")
    assert (secret / "f").read_text() == "secret"


def test_an_account_that_is_changed_or_disabled_ends_its_sessions(tmp_path):
    with EmbeddedSpace(tmp_path / "space", users={"boss": "pw"}) as space:
        accounts = space._running.accounts
        accounts.add("kept", "first")
        client = login(space, "kept", "first")
        accounts.set_enabled("kept", enabled=False)
        refused(
            421, lambda: [client.voidcmd("NOOP") for _ in iter(lambda: threading.Event().wait(0.2), True)]
        )
        refused(530, login, space, "kept", "first")
        accounts.set_enabled("kept", enabled=True)
        accounts.set_password("kept", "second")
        refused(530, login, space, "kept", "first")
        login(space, "kept", "second").close()


# --- hostile clients


def test_lines_without_end_nul_and_other_controls(space):
    control, reader = raw(space)
    control.sendall(b"STOR " + b"x" * 100_000 + b"\r\nNOOP\r\n")
    assert reader.readline() == b"500 Command too long.\r\n"
    assert reader.readline().startswith(b"200")
    for line in (b"MKD a\0b", b"MKD a\rb", b"MKD a\nRMD b", b"DELE \x1b[2J", b"\0\0\0", b"MKD \x7f"):
        control.sendall(line + b"\r\n")
        assert reader.readline()[:3] == b"501"
    control.sendall(b"\r\n \r\n\xff\xf4\xf2ABOR\r\nNOOP\r\n")
    assert [reader.readline()[:3] for _ in range(4)] == [b"500", b"500", b"225", b"200"]
    control.sendall(b"A" * 3_000_000)
    assert reader.readline().startswith(b"421")
    with login(space) as client:
        client.voidcmd("NOOP")


def test_bounce_is_refused(space):
    control, reader = raw(space)
    for line in (
        b"PORT 8,8,8,8,31,144",
        b"EPRT |1|8.8.8.8|8080|",
        b"PORT 127,0,0,1,0,22",
        b"PORT 1,2,3",
        b"PORT 999,0,0,1,1,1",
    ):
        control.sendall(line + b"\r\n")
        assert reader.readline()[:3] == b"501", line


def test_anonymous_and_unknown_accounts_are_refused_alike(space):
    answers = {refused(530, login, space, name, "x") for name in ("anonymous", "ftp", "nobody", "alpha")}
    assert len(answers) == 1


def test_guessing_bans_the_address_for_a_while(tmp_path):
    guard = lambda: LoginGuard(most=3, ban_s=600)  # noqa: E731
    with EmbeddedSpace(tmp_path / "space", users=USERS, login_guard=guard) as space:
        for _ in range(3):
            refused(530, login, space, "alpha", "wrong")
        refused(421, login, space)
        assert "banned" in [event.event.value for event in space.events]


def test_limits_on_connections(tmp_path):
    with EmbeddedSpace(tmp_path / "space", users=USERS, max_per_account=2, max_per_address=4) as space:
        first, second = login(space), login(space)
        refused(421, login, space)
        third = login(space, "beta")
        control, reader = raw_connection(space)
        assert reader.readline().startswith(b"220")
        _control, reader = raw_connection(space)
        assert reader.readline().startswith(b"421")
        for client in (first, second, third):
            client.quit()
        control.close()
        login(space).close()


def raw_connection(space):
    control = socket.create_connection((space.host, space.port), timeout=20)
    reader = control.makefile("rb")
    OPEN.extend((reader, control))
    return control, reader


def test_an_upload_over_the_quota_removes_its_own_file_and_no_other(tmp_path):
    with (
        EmbeddedSpace(tmp_path / "space", users=USERS, quota_bytes=3_000_000) as space,
        login(space) as slow,
        login(space) as quick,
    ):
        slow.voidcmd("TYPE I")
        with slow.transfercmd("STOR train_data/same.bin") as data:
            data.sendall(bytes(1_000_000))
            put(quick, "train_data/same.bin", b"the other session's")
            data.sendall(bytes(3_000_000))
        refused(552, slow.voidresp)
        assert (space.home("alpha") / "train_data/same.bin").read_bytes() == b"the other session's"


def test_quota_stops_uploads_and_extraction_and_leaves_nothing_half(tmp_path):
    with (
        EmbeddedSpace(tmp_path / "space", users=USERS, quota_bytes=3_000_000) as space,
        login(space) as client,
    ):
        put(client, "train_data/one.bin", bytes(1_000_000))
        refused(552, lambda: put(client, "train_data/two.bin", bytes(4_000_000)))
        assert not (space.home("alpha") / "train_data/two.bin").exists()
        refused(552, lambda: put(client, "train_data/two.tar", bytes(4_000_000)))
        put(client, "train_data/bomb.zip", zip_of({"x": bytes(2_500_000)}))
        assert space.wait_idle()
        lines = log(space)
        assert [(line["archive"], line["status"]) for line in lines] == [
            ("train_data/two.tar", "too-large"),
            ("train_data/bomb.zip", "too-large"),
        ]
        assert "quota" in lines[0]["error"]
        assert "quota" in lines[1]["error"]
        assert not (space.home("alpha") / "train_data/x").exists()
        client.delete("train_data/one.bin")
        put(client, "train_data/again.zip", zip_of({"x": bytes(2_500_000)}))
        assert space.wait_idle()
        assert log(space)[-1]["status"] == "ok"
        refused(552, lambda: put(client, "train_data/three.bin", bytes(600_000)))
        client.delete("train_data/x")
        put(client, "train_data/three.bin", bytes(600_000))


def test_few_passive_ports_serve_many_sessions(tmp_path):
    ports = free_ports(3)
    with EmbeddedSpace(tmp_path / "space", users=USERS, passive_ports=ports) as space:
        clients = [login(space) for _ in range(4)]
        listening = []
        for client in clients[:3]:
            host, port = client.makepasv()
            assert port in ports
            listening.append((host, port))
        assert len(set(listening)) == 3
        refused(425, clients[3].makepasv)
        for client in clients[:3]:
            put(client, "train_data/a.bin", b"1")
        put(clients[3], "train_data/a.bin", b"2")


def free_ports(count):
    """Return some neighbouring ports that nobody listens on."""
    while True:
        first = free_port()
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return range(first, first + count)


def test_archives_can_be_removed_after_extraction(tmp_path):
    from iqdata.server.jobs import AfterExtraction

    with (
        EmbeddedSpace(tmp_path / "space", users=USERS, after=AfterExtraction.REMOVE) as space,
        login(space) as client,
    ):
        put(client, "train_data/a.tar.gz", tar_of({"x": b"1"}))
        put(client, "train_data/cut.zip", zip_of({"y": os.urandom(1000)})[:500])
        assert space.wait_idle()
        assert sorted(name for name, _ in client.mlsd("train_data")) == ["cut.zip", "x"]
        assert json.loads(get(client, "/.iqdata/space.json"))["keeps_archive"] is False


def test_two_hundred_sessions_at_once_and_a_large_upload_stalls_nobody(tmp_path):
    with EmbeddedSpace(tmp_path / "space", users=USERS) as space:
        clients = [login(space) for _ in range(200)]
        clients[0].voidcmd("TYPE I")
        large = clients[0].transfercmd("STOR train_data/large.bin")
        large.sendall(bytes(1_000_000))
        for number, client in enumerate(clients[1:]):
            put(client, f"train_data/s{number}.bin", b"%d" % number)
        large.sendall(bytes(1_000_000))
        large.close()
        clients[0].voidresp()
        assert len(dict(clients[5].mlsd("train_data"))) == 200
        for client in clients:
            client.close()
