"""Servers that lie, ramble, fall silent, hang up or mix up their replies: nothing is followed, nothing hangs, nothing is lost."""

import contextlib
import io
import socket
import ssl
import threading
import time

import pytest

from iqdata.errors import (
    ConfigError,
    ConnectFailed,
    CutOff,
    IqDataError,
    LoginRefused,
    Missing,
    Refused,
    TooManyConnections,
    TransportError,
    UnsafePath,
)
from iqdata.location import Location
from iqdata.paths import ROOT, RelPath
from iqdata.transports import ftp
from iqdata.transports.base import FetchJob, PublishJob
from iqdata.transports.connect import connect, connector
from iqdata.transports.pool import Pool
from iqdata.transports.tls import TlsOptions
from iqdata.tree import Kind
from tests import servers
from tests.scripted import Conversation, mlsd_of, scripted

FILE = RelPath("file")


def nothing(_size: int) -> None:
    """Listen to no bytes."""


@contextlib.contextmanager
def talking(script=None, *, timeout_s: float = 5.0):
    with scripted(script) as server:
        transport = connect(server.location, password="pw", timeout_s=timeout_s)
        try:
            yield transport, server
        finally:
            transport.close()


def jobs(names, content=b"body"):
    return [
        PublishJob(
            path=RelPath(name),
            temporary=RelPath(f"iqdata-part-{index:020}"),
            open_source=lambda: io.BytesIO(content),
            size_bytes=len(content),
            mtime_ns=1_700_000_000 * 10**9,
            on_bytes=nothing,
            before_rename=lambda: None,
        )
        for index, name in enumerate(names)
    ]


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            b"../up",
            b"/etc/passwd",
            b"a/b",
            b"..",
            b"nul\0in",
            b"bell\x07",
            b"cr\rin",
            b"esc\x1b[2J",
            b"x" * 300,
            "nel\x85".encode(),
        ],
    )
    def test_a_name_that_leads_elsewhere_is_refused(self, name):
        with talking({"MLSD": mlsd_of(b"type=file;size=1; good", b"type=file;size=1; " + name)}) as (
            transport,
            _,
        ):
            if name == b"..":
                assert list(transport.list_folder(ROOT)) == ["good"]
                return
            with pytest.raises(UnsafePath):
                transport.list_folder(ROOT)

    @pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/b", "bell\x07"])
    def test_the_same_in_a_list(self, name):
        script = {
            "FEAT": "211 none",
            "LIST": mlsd_of(f"-rw-r--r-- 1 o g 5 Jan 01 12:00 {name}".encode()),
        }
        with talking(script) as (transport, _), pytest.raises(UnsafePath):
            transport.list_folder(ROOT)

    def test_a_name_listed_twice_is_refused(self):
        with (
            talking({"MLSD": mlsd_of(b"type=file;size=1; a", b"type=file;size=2; a")}) as (transport, _),
            pytest.raises(UnsafePath, match="twice"),
        ):
            transport.list_folder(ROOT)

    def test_bytes_that_are_no_utf8_round_trip(self):
        with talking(
            {"MLSD": mlsd_of(b"type=file;size=3; caf\xe9"), "RETR": lambda talk, _path: talk.deliver(b"abc")}
        ) as (
            transport,
            server,
        ):
            (name,) = transport.list_folder(ROOT)
            sink = io.BytesIO()
            transport.read_into(RelPath(name), sink, on_bytes=nothing)
            assert sink.getvalue() == b"abc"
            last = server.conversations[0].commands[-1]
            assert last.encode("utf-8", "surrogateescape") == b"RETR /caf\xe9"


class TestListings:
    def test_one_that_never_ends(self, monkeypatch):
        monkeypatch.setattr(ftp, "MAX_LISTING_BYTES", 1_000_000)

        def endless(talk: Conversation, _argument: str) -> None:
            talk.say("150 Here.")
            with talk.data() as data:
                for number in range(10**7):
                    data.sendall(f"type=file;size=1; f{number}\r\n".encode())

        with talking({"MLSD": endless}) as (transport, _):
            with pytest.raises(CutOff, match="does not end") as caught:
                transport.list_folder(ROOT)
            assert not caught.value.retryable

    def test_one_that_drips(self, monkeypatch):
        monkeypatch.setattr(ftp, "_LISTING_PATIENCE", 1)

        def dripping(talk: Conversation, _argument: str) -> None:
            talk.say("150 Here.")
            with talk.data() as data:
                for number in range(1000):
                    data.sendall(f"type=file;size=1; f{number}\r\n".encode())
                    time.sleep(0.05)

        with (
            talking({"MLSD": dripping}, timeout_s=0.5) as (transport, _),
            pytest.raises(CutOff, match="does not end"),
        ):
            transport.list_folder(ROOT)

    def test_a_line_of_a_megabyte(self):
        with (
            talking({"MLSD": mlsd_of(b"type=file;size=1; " + b"x" * 1_000_000)}) as (transport, _),
            pytest.raises((Refused, UnsafePath)),
        ):
            transport.list_folder(ROOT)

    @pytest.mark.parametrize(
        "line",
        [b"complete nonsense", b"", b"type=file;size=1;nospace", b"\xff\xfe\x00", b"-rw-r--r-- nonsense"],
    )
    def test_lines_of_no_known_form_are_not_dropped(self, line):
        with (
            talking({"MLSD": mlsd_of(b"type=file;size=1; a", line)}) as (transport, _),
            pytest.raises((Refused, UnsafePath)),
        ):
            transport.list_folder(ROOT)

    def test_one_that_is_cut_in_a_line(self):
        def cut(talk: Conversation, _argument: str) -> None:
            talk.deliver(b"type=file;size=1; a\r\ntype=file;size=2; b")

        with talking({"MLSD": cut}) as (transport, _), pytest.raises(Refused, match="cut"):
            transport.list_folder(ROOT)

    @pytest.mark.parametrize("final", ["426 Broken.", "451 Local trouble.", "550 No."])
    def test_one_that_fails_at_its_end_is_no_listing(self, final):
        with (
            talking({"MLSD": mlsd_of(b"type=file;size=1; a", final=final)}) as (transport, _),
            pytest.raises(TransportError),
        ):
            transport.list_folder(ROOT)

    def test_one_that_says_it_was_truncated(self):
        with (
            talking({"MLSD": mlsd_of(b"type=file;size=1; a", final="226 Output truncated to 1 matches")}) as (
                transport,
                _,
            ),
            pytest.raises(Refused, match="cut"),
        ):
            transport.list_folder(ROOT)

    def test_list_of_a_missing_folder_that_looks_empty(self):
        script = {"FEAT": "211 none", "CWD": "550 No such folder.", "LIST": mlsd_of()}
        with talking(script) as (transport, _), pytest.raises(TransportError):
            transport.list_folder(RelPath("gone"))

    def test_the_dos_form(self):
        lines = mlsd_of(
            b"02-23-26  01:30PM       <DIR>          sub", b"02-23-26  11:05AM             1,234 a  b.txt"
        )
        with talking({"FEAT": "500 no", "LIST": lines}) as (transport, _):
            entries = transport.list_folder(ROOT)
            assert {name: (entry.kind, entry.size_bytes) for name, entry in entries.items()} == {
                "sub": (Kind.FOLDER, 0),
                "a  b.txt": (Kind.FILE, 1234),
            }


class TestReplies:
    def test_a_reply_line_of_a_megabyte(self):
        with talking({"MKD": "257 " + "x" * 1_000_000}) as (transport, _), pytest.raises(CutOff):
            transport.make_folder(FILE)

    def test_a_reply_of_lines_without_end(self):
        def endless(talk: Conversation, _argument: str) -> None:
            for _ in range(10**6):
                talk.say("257-more")

        with talking({"MKD": endless}) as (transport, _), pytest.raises(CutOff):
            transport.make_folder(FILE)

    @pytest.mark.parametrize(
        "reply", [b"hello\r\n", b"\r\n", b"999 what\r\n", b"\xff\xff\xff\r\n", b"25\r\n"]
    )
    def test_what_is_no_reply(self, reply):
        with talking({"MKD": reply}) as (transport, _), pytest.raises(CutOff):
            transport.make_folder(FILE)

    def test_silence(self):
        with (
            talking({"MKD": lambda _talk, _argument: None}, timeout_s=0.5) as (transport, _),
            pytest.raises(CutOff, match="silent"),
        ):
            transport.make_folder(FILE)

    def test_a_reply_nobody_asked_for(self):
        with talking({"MKD": "257 Made.\r\n250 And more."}) as (transport, _):
            transport.make_folder(FILE)
            with pytest.raises(CutOff, match="before anything was asked"):
                transport.make_folder(FILE)

    def test_421_ends_the_connection_and_may_be_tried_again(self):
        with talking({"MKD": "421 Shutting down."}) as (transport, _), pytest.raises(CutOff) as caught:
            transport.make_folder(FILE)
        assert caught.value.retryable

    @pytest.mark.parametrize(
        ("reply", "retryable"),
        [
            ("450 Busy.", True),
            ("451 Trouble.", True),
            ("452 Full.", False),
            ("552 Quota.", False),
            ("553 No.", False),
            ("500 What?", False),
        ],
    )
    def test_what_may_be_tried_again(self, reply, retryable):
        with talking({"STOR": reply}) as (transport, _):
            with pytest.raises(TransportError) as caught:
                transport.write_from(FILE, io.BytesIO(b"x"), on_bytes=nothing)
            assert caught.value.retryable is retryable
            transport.make_folder(FILE)  # the connection is still good


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


class TestPassive:
    def test_another_address_is_ignored(self):
        with socket.create_server(("127.0.0.2", 0)) as trap:
            trap.settimeout(0.2)

            def pasv(talk: Conversation, _argument: str) -> None:
                port = talk.passive()
                talk.say(f"227 Entering Passive Mode (127,0,0,2,{port // 256},{port % 256})")

            with talking({"EPSV": "502 no", "PASV": pasv}) as (transport, _):
                transport.write_from(FILE, io.BytesIO(b"x"), on_bytes=nothing)
                assert list(transport.list_folder(ROOT)) == ["file"]
            with pytest.raises(TimeoutError):
                trap.accept()

    def test_publishing_without_epsv(self):
        def pasv(talk: Conversation, _argument: str) -> None:
            port = talk.passive()
            talk.say(f"227 Entering Passive Mode (10,0,0,1,{port // 256},{port % 256}).")

        with talking({"EPSV": "500 What?", "PASV": pasv}) as (transport, server):
            names = [f"f{number}" for number in range(5)]
            assert [one.error for one in transport.publish(jobs(names))] == [None] * 5
            assert sorted(server.conversations[0].files) == [f"/{name}" for name in names]
            assert server.conversations[0].commands.count("EPSV") == 1

    def test_ipv6(self):
        if not _has_ipv6():
            return  # nothing to listen on here
        with scripted(host="::1") as server:
            transport = connect(server.location, password="pw")
            assert [one.error for one in transport.publish(jobs(["a", "b"]))] == [None, None]
            assert sorted(transport.list_folder(ROOT)) == ["a", "b"]
            transport.close()

    @pytest.mark.parametrize("reply", ["229 (|||0|)", "229 (|||70000|)", "229 ok", "229 (|1|evil|21|)"])
    def test_a_port_that_is_none(self, reply):
        with talking({"EPSV": reply}) as (transport, _), pytest.raises(CutOff):
            transport.list_folder(ROOT)

    def test_a_port_nobody_listens_on(self):
        with talking({"EPSV": f"229 (|||{servers.free_port()}|)", "MLSD": "425 No data connection."}) as (
            transport,
            _,
        ):
            with pytest.raises(TransportError) as caught:
                transport.list_folder(ROOT)
            assert caught.value.retryable


class TestPublishing:
    def test_a_rename_out_of_order_is_no_success(self):
        """The replies to RNFR and RNTO come swapped: nobody can say which file stands where."""
        script = {"RNFR": "250 Renamed.", "RNTO": "350 To what?"}
        with talking(script) as (transport, _), pytest.raises(CutOff):
            list(transport.publish(jobs(["a", "b", "c"])))

    def test_a_doubled_reply_is_noticed(self):
        script = {"RNTO": "250 Renamed.\r\n250 Renamed."}
        with talking(script) as (transport, _):
            done = []
            with pytest.raises(CutOff):
                done.extend(transport.publish(jobs(["a", "b", "c", "d"])))

    def test_a_cut_upload_is_never_renamed(self):
        def cut(talk: Conversation, argument: str) -> None:
            talk.say("150 Send it.")
            with talk.data() as data:
                data.recv(2)
            talk.say("426 Lost the connection.")

        with talking({"STOR": cut}) as (transport, server):
            done = list(transport.publish(jobs(["a", "b"])))
            assert all(isinstance(one.error, TransportError) for one in done)
            assert not any(line.startswith("RN") for line in server.conversations[0].commands)

    def test_bytes_that_got_lost_behind_a_226_are_found_out(self):
        """Whoever stands in between may pass on a part, end the stream properly, and hand back the server's 226."""

        def short(talk: Conversation, argument: str) -> None:
            talk.say("150 Send it.")
            with talk.data() as data:
                content = b""
                while piece := data.recv(65536):
                    content += piece
            talk.files[argument] = content[:-1] if len(talk.files) == 1 else content
            talk.say("226 Got it.")

        with talking({"STOR": short}) as (transport, server):
            done = list(transport.publish(jobs(["a", "b", "c"])))
            assert [one.error is None for one in done] == [True, False, True]
            assert "not published" in str(done[1].error)
            assert done[1].error.retryable
            assert sorted(server.conversations[0].files) == ["/a", "/c"]

    @pytest.mark.parametrize("features", ["211 none", "211-\r\n MLST\r\n MFMT\r\n211 End", "500 What?"])
    def test_a_server_without_size(self, features):
        with talking({"FEAT": features, "SIZE": "500 What?"}) as (transport, server):
            names = [f"f{number}" for number in range(5)]
            assert [(one.job.path, one.error) for one in transport.publish(jobs(names))] == [
                (name, None) for name in names
            ]
            assert sorted(server.conversations[0].files) == [f"/{name}" for name in names]

    def test_certain_results_come_before_the_break(self):
        def third_breaks(talk: Conversation, argument: str) -> None:
            if len(talk.files) == 2:
                talk.sock.shutdown(socket.SHUT_RDWR)
                return
            talk.say("150 Send it.")
            with talk.data() as data:
                talk.files[argument] = data.recv(65536)
            talk.say("226 Got it.")

        with talking({"STOR": third_breaks}) as (transport, _):
            done = []
            with pytest.raises(CutOff):
                list(map(done.append, transport.publish(jobs(["a", "b", "c", "d"]))))
            assert [one.job.path for one in done][:1] == ["a"]
            assert all(one.error is None for one in done)

    def test_a_server_that_refuses_to_rename_over_a_file(self):
        def rnto(talk: Conversation, argument: str) -> None:
            if argument in talk.files:
                talk.say("553 It exists.")
            else:
                talk.files[argument] = talk.files.pop(
                    next(c[5:] for c in reversed(talk.commands) if c.startswith("RNFR "))
                )
                talk.say("250 Renamed.")

        def mlst(talk: Conversation, argument: str) -> None:
            if argument in talk.files:
                talk.say(f"250-Listing\r\n type=file;size={len(talk.files[argument])}; {argument}\r\n250 End")
            else:
                talk.say("550 No such file.")

        with talking({"RNTO": rnto, "MLST": mlst}) as (transport, server):
            talk = server.conversations[0]
            talk.files["/a"] = b"old"
            done = list(transport.publish(jobs(["a", "b"], b"new!")))
            assert [one.error for one in done] == [None, None]
            assert talk.files == {"/a": b"new!", "/b": b"new!"}
            assert not transport.capabilities.renames_over
            done = list(transport.publish(jobs(["a"], b"newer")))
            assert talk.files["/a"] == b"newer"

    def test_no_more_than_a_kibibyte_is_unread_at_the_server(self):
        seen = []

        def slow(talk: Conversation, argument: str) -> None:
            with contextlib.suppress(BlockingIOError):
                talk.sock.setblocking(False)
                talk.received += talk.sock.recv(65536)
            talk.sock.settimeout(20)
            seen.append(len(talk.received))
            talk.say("213 Dated.")

        names = ["n" * 200 + str(number) for number in range(20)]
        with talking({"MFMT": slow, "MDTM": "213 20231114221320"}) as (transport, _):
            assert all(one.error is None for one in transport.publish(jobs(names)))
        assert max(seen) <= 1024
        assert max(seen) > 200  # commands did travel together

    def test_dating_that_does_nothing_is_found_out(self):
        with talking({"MFMT": "213 Dated.", "MDTM": "213 19990101000000"}) as (transport, _):
            done = list(transport.publish(jobs(["a", "b"])))
            assert [(one.error, one.dated) for one in done] == [(None, False), (None, False)]
            assert not transport.capabilities.sets_mtime


class TestDownloads:
    def test_fewer_bytes_than_listed_is_a_failure(self):
        with talking({"RETR": lambda talk, _path: talk.deliver(b"abc")}) as (transport, _):
            sink = io.BytesIO()
            job = FetchJob(
                path=FILE, open_sink=lambda: contextlib.nullcontext(sink), size_bytes=10, on_bytes=nothing
            )
            (done,) = transport.fetch([job])
            assert isinstance(done.error, Refused)
            assert done.error.retryable

    def test_a_download_that_fails_at_its_end(self):
        with (
            talking({"RETR": lambda talk, _path: talk.deliver(b"abc", final="451 Disk trouble.")}) as (
                transport,
                _,
            ),
            pytest.raises(Refused),
        ):
            transport.read_into(FILE, io.BytesIO(), on_bytes=nothing)

    @pytest.mark.parametrize("refused", ["RETR", "EPSV"])
    def test_a_server_that_wants_one_command_after_the_other_gets_them_so(self, refused):
        contents = {f"f{number}": bytes([number]) * 9 for number in range(6)}
        seen = {"RETR": 0, "EPSV": 0}

        def now_and_then(verb, usual):
            def answer(talk, argument):
                seen[verb] += 1
                if verb == refused and seen[verb] == 3:
                    talk.say("450 A transfer is under way.")
                else:
                    usual(talk, argument)

            return answer

        def deliver(talk, path):
            if talk.listener is None:
                talk.say("425 No data connection.")
            else:
                talk.deliver(contents[path.rpartition("/")[2]])

        def listen(talk, _argument):
            talk.say(f"229 Extended Passive Mode (|||{talk.passive()}|)")

        script = {"RETR": now_and_then("RETR", deliver), "EPSV": now_and_then("EPSV", listen)}
        with talking(script) as (transport, server):
            sinks = {name: io.BytesIO() for name in contents}
            wanted = [
                FetchJob(
                    path=RelPath(name),
                    open_sink=lambda name=name: contextlib.nullcontext(sinks[name]),
                    size_bytes=9,
                    on_bytes=nothing,
                )
                for name in contents
            ]
            done = list(transport.fetch(wanted))
            # The refusal may also meet a command that had not been sent early: then it is that file's own.
            failed = [one for one in done if one.error is not None]
            assert all(isinstance(one.error, Refused) and one.error.retryable for one in failed)
            assert len(failed) <= 1
            for one in done:
                if one.error is None:
                    assert sinks[one.job.path.name].getvalue() == contents[one.job.path.name]
            assert len(server.conversations) == 1

    def test_a_refused_restart_never_writes_from_the_beginning(self):
        with talking({"REST": "502 No."}) as (transport, server):
            with pytest.raises(Refused):
                transport.write_from(FILE, io.BytesIO(b"tail"), offset=100, on_bytes=nothing)
            assert not any(line.startswith("STOR") for line in server.conversations[0].commands)
            assert not transport.capabilities.resumes


class TestConnecting:
    def test_nobody_there(self):
        with pytest.raises(ConnectFailed, match="nothing listens") as caught:
            connect(Location.parse(f"ftp://team@127.0.0.1:{servers.free_port()}/"), password="pw")
        assert caught.value.retryable

    def test_a_host_that_does_not_exist(self):
        with pytest.raises(ConnectFailed, match="no such host"):
            connect(Location.parse("ftp://team@no-such-host.invalid/"), password="pw", timeout_s=3)

    def test_something_else_listens(self):
        with scripted({"<greeting>": b"SSH-2.0-OpenSSH\r\n"}) as server, pytest.raises(ConnectFailed):
            connect(server.location, password="pw", timeout_s=2)

    def test_silence(self):
        with scripted({"<greeting>": b""}) as server, pytest.raises(ConnectFailed, match="does not answer"):
            connect(server.location, password="pw", timeout_s=0.5)

    def test_a_wrong_password_shows_nowhere(self):
        with scripted({"PASS": "530 Login incorrect."}) as server, pytest.raises(LoginRefused) as caught:
            connect(server.location, password="s3cret-word")
        assert "s3cret-word" not in repr(caught.value) + str(caught.value) + str(caught.value.__dict__)
        assert not caught.value.retryable

    def test_a_password_with_a_line_end_is_not_sent_and_not_shown(self):
        with scripted() as server, pytest.raises(ConfigError) as caught:
            connect(server.location, password="one\r\nDELE x")
        assert "DELE" not in str(caught.value)
        assert not any("DELE" in line or "PASS" in line for line in server.conversations[0].commands)

    @pytest.mark.parametrize("when", ["<greeting>", "USER", "PASS"])
    @pytest.mark.parametrize(
        "reply", ["421 Too many connections.", "530 Sorry, the maximum number of clients is reached."]
    )
    def test_too_many_connections(self, when, reply):
        with scripted({when: reply}) as server, pytest.raises(TooManyConnections) as caught:
            connect(server.location, password="pw")
        assert caught.value.retryable

    def test_no_password_known(self):
        with scripted() as server, pytest.raises(LoginRefused, match="iqdata login"):
            connect(server.location)

    def test_tls_that_is_not_offered_is_never_replaced_by_clear_text(self):
        with scripted({"AUTH": "502 No TLS."}) as server:
            location = Location.parse(str(server.location).replace("ftp://", "ftpes://"))
            with pytest.raises(ConnectFailed, match="offers no TLS"):
                connect(location, password="pw")
            assert not any(line.startswith(("USER", "PASS")) for line in server.conversations[0].commands)

    def test_what_was_sent_in_clear_before_tls_is_not_believed(self):
        with scripted({"AUTH": b"234 Go.\r\n230 You are in.\r\n"}) as server:
            location = Location.parse(str(server.location).replace("ftp://", "ftpes://"))
            with pytest.raises(ConnectFailed):
                connect(location, password="pw", timeout_s=2)

    def test_a_password_never_travels_in_clear_to_another_machine(self, monkeypatch):
        with scripted() as server:
            monkeypatch.setattr("iqdata.transports.connect.is_loopback", lambda _address: False)
            asked = []
            with pytest.raises(ConfigError, match="--insecure"):
                connect(server.location, password=lambda: asked.append(1) or "pw")
            assert asked == []
            assert not any(line.startswith("PASS") for line in server.conversations[0].commands)
            connect(server.location, password="pw", insecure=True).close()

    def test_data_connections_that_will_not_be_encrypted(self, tmp_path):
        authority, both = servers.certificate()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)

        def auth(talk: Conversation, _argument: str) -> None:
            talk.say("234 Go.")
            talk.sock = context.wrap_socket(talk.sock, server_side=True)

        with scripted({"AUTH": auth, "PBSZ": "200 ok", "PROT": "536 No."}) as server:
            location = Location.parse(str(server.location).replace("ftp://", "ftpes://"))
            with pytest.raises(ConnectFailed, match="will not encrypt"):
                connect(location, password="pw", tls=TlsOptions(ca_file=authority))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A server with a certificate that nobody vouches for."""
    with servers.pyftpdlib(tmp_path_factory.mktemp("tls"), tls="ftpes") as one:
        yield one


class TestCertificates:
    def test_an_unknown_one_is_refused_with_its_fingerprint(self, running):
        with pytest.raises(ConnectFailed, match=r"fingerprint is ([0-9A-F]{2}:){31}[0-9A-F]{2}") as caught:
            connect(running.location, password=running.password)
        fingerprint = str(caught.value).partition("fingerprint is ")[2][:95]
        transport = connect(
            running.location, password=running.password, tls=TlsOptions(fingerprint=fingerprint)
        )
        transport.write_from(FILE, io.BytesIO(b"pinned"), on_bytes=nothing)
        assert transport.encryption.startswith("TLSv1.")
        transport.close()

    def test_another_one_than_the_pinned_is_refused(self, running):
        with pytest.raises(ConnectFailed, match="not the pinned one"):
            connect(running.location, password=running.password, tls=TlsOptions(fingerprint="ab" * 32))

    def test_a_session_that_has_aged_ends_the_connection_before_a_file_is_lost(self, running, monkeypatch):
        transport = connect(
            running.location, password=running.password, tls=TlsOptions(ca_file=running.ca_file)
        )
        transport.write_from(FILE, io.BytesIO(b"young"), on_bytes=nothing)
        later = time.time() + 30 * 86_400
        monkeypatch.setattr("iqdata.transports.ftpsession.time.time", lambda: later)
        with pytest.raises(CutOff, match="aged") as caught:
            transport.write_from(FILE, io.BytesIO(b"old"), on_bytes=nothing)
        assert caught.value.retryable
        transport.close()

    def test_the_name_is_checked(self, running):
        elsewhere = Location.parse(running.url.replace("127.0.0.1", "127.0.0.2"))
        tls = TlsOptions(ca_file=running.ca_file)
        with pytest.raises(ConnectFailed):
            connect(elsewhere, password=running.password, tls=tls, timeout_s=3)

    def test_clear_text_is_not_spoken_to_a_tls_port_nor_the_other_way(self, running):
        implicit = Location.parse(running.url.replace("ftpes://", "ftps://"))
        with pytest.raises(ConnectFailed, match="scheme and port"):
            connect(implicit, password=running.password, timeout_s=3)

    def test_an_unusable_authority_file(self, running, tmp_path):
        (tmp_path / "ca.pem").write_text("nothing")
        for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
            with pytest.raises(ConfigError):
                connect(running.location, tls=TlsOptions(ca_file=path))
        with pytest.raises(ConfigError):
            connect(running.location, tls=TlsOptions(fingerprint="short"))


class TestPools:
    def test_the_number_a_server_takes_is_learnt(self, tmp_path):
        learnt = []
        with servers.pyftpdlib(tmp_path, settings="FTPServer.max_cons_per_ip = 3") as running:
            pool = Pool(
                connector(running.location, password=running.password), limit=8, on_limit=learnt.append
            )
            done = []
            barrier = threading.Barrier(3)

            def work(number: int) -> None:
                with pool.lease() as transport:
                    with contextlib.suppress(threading.BrokenBarrierError):
                        barrier.wait(2)
                    transport.make_folder(RelPath(f"d{number}"))
                    done.append(number)

            threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            pool.close()
        assert sorted(done) == list(range(12))
        assert pool.limit == 3
        assert learnt[-1] == 3

    def test_a_first_connection_that_is_refused_is_an_error(self):
        with scripted({"<greeting>": "421 Too many."}) as server:
            pool = Pool(connector(server.location, password="pw"), limit=4)
            with pytest.raises(TooManyConnections), pool.lease():
                pass

    def test_beyond_what_is_enough_a_connection_that_fails_is_done_without(self):
        with scripted({}) as server:
            opened = []

            def connect_twice():
                if len(opened) == 2:
                    raise ConnectFailed("nothing answers there", op="connect", retryable=True)
                opened.append(connector(server.location, password="pw")())
                return opened[-1]

            pool = Pool(connect_twice, limit=8, enough=2)
            with pool.lease() as first, pool.lease() as second:
                assert first is not second
                waiting = threading.Thread(target=lambda: pool.lease().__enter__())
                waiting.start()
                # It has found out that there is no third one once the limit is two.
                for _ in range(3000):
                    if pool.limit == 2:
                        break
                    time.sleep(0.01)
                assert pool.limit == 2
            waiting.join(30)
            assert not waiting.is_alive()
            pool.close()

    def test_below_what_is_enough_it_is_an_error(self):
        with scripted({}) as server:
            opened = []

            def connect_once():
                if opened:
                    raise ConnectFailed("nothing answers there", op="connect", retryable=True)
                opened.append(connector(server.location, password="pw")())
                return opened[-1]

            pool = Pool(connect_once, limit=8, enough=2)
            with pool.lease(), pytest.raises(ConnectFailed), pool.lease():
                pass
            pool.close()

    def test_after_an_abort_nothing_more_is_lent(self):
        with scripted({}) as server:
            pool = Pool(connector(server.location, password="pw"), limit=1)
            with pool.lease():
                pass
            pool.abort()
            with pytest.raises(CutOff), pool.lease():
                pass
            pool.close()

    def test_a_broken_connection_is_replaced(self):
        with scripted({"MKD": "421 Bye."}) as server:
            pool = Pool(connector(server.location, password="pw"), limit=1)
            for _ in range(3):
                with pytest.raises(CutOff), pool.lease() as transport:
                    transport.make_folder(FILE)
            assert len(server.conversations) == 3
            pool.close()


def test_every_error_here_is_the_products_own():
    assert issubclass(TooManyConnections, ConnectFailed)
    assert issubclass(Missing, IqDataError)
