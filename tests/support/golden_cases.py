"""Every row of what the two tools were seen to do, as a small archive: the source of tests/data/archives.

A case says what we do where that is not what the tool does: `missing` (paths the tool leaves and we do not),
`difference` (the listed reason) and `preview` (the status before content was decoded, where that is another). `scripts/make-golden` runs the real tool on each and keeps its tree.
"""

import lzma
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.archives import (
    Seven,
    Zipped,
    bz,
    gz,
    ntfs_time,
    seven,
    tar,
    tar_file,
    tar_folder,
    tar_hard,
    tar_header,
    tar_link,
    tar_long,
    tar_pax,
    unicode_path,
    unix_time,
    xz,
    zipped,
)

DIFFERENCES = {
    "link-out": "a link that leads out of the folder, or might, is not made (the tools make it, or leave an empty file)",
    "through-link": "nothing is written through a link",
    "device": "devices and named pipes are not made",
    "self": "the archive being read is never replaced",
    "folder-mode": "the folder itself keeps its mode",
    "folder-access": "folders keep u+rwx",
    "whole-only": "no cut, empty or wrong file stands under a real name; the tools leave it",
    "anti": "an anti item deletes nothing",
    "refused-parents": "a folder that only a refused member needed is not made",
    "command-line": "a name that confuses the tool's command line is simply extracted",
    "encrypted": "of encrypted members not even an empty file is made",
    "warned": "what the tool reports by its exit code alone is ok here, with a warning",
    "said": "what the tool passes over in silence is reported",
    "limit": "a limit of ours",
    "unsure": "members behind a break in a compressed tar that nothing confirms are not placed",
}


@dataclass(frozen=True)
class Case:
    """One archive and what we make of it where that is not what the tool makes of it."""

    kind: str
    name: str
    archive: str
    data: bytes
    row: str
    status: str = "ok"
    difference: str | None = None
    missing: tuple[str, ...] = ()
    preview: str | None = None


def _sh(command: str, files: dict[str, bytes], out: str) -> bytes:
    """Pack `files` by a real program in an empty folder and return what it wrote to `out`."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "src")
        source.mkdir()
        for name, data in files.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        subprocess.run(
            "find . -exec touch -h -d @1500000000 {} +; " + command, shell=True, cwd=source, check=True,
            capture_output=True, env={"PATH": "/usr/bin:/bin", "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        return (source / out).read_bytes()


SMALL = {"a.txt": b"hello\n", "d/b.csv": b"1,2,3\n" * 50, "d/e/empty": b""}
A, B = b"first\n", b"second\n"
PLAIN = tar(tar_folder(b"d/"), tar_file(b"d/a", A), tar_file(b"b", B))
LONG = b"n" * 255


def cases() -> Iterator[Case]:
    """Yield all cases."""
    yield from _tar_cases()
    yield from _stream_cases()
    yield from _zip_cases()
    yield from _seven_cases()
    yield from _name_cases()


def _tar_cases() -> Iterator[Case]:
    def case(name: str, data: bytes, row: str, archive: str = "a.tar", **more) -> Case:
        return Case("tar", name, archive, data, row, **more)

    def packed(command: str, files: dict[str, bytes] | None = None, out: str = "x") -> bytes:
        return _sh(command, files or SMALL, out)

    # --- forms and compressions, by the real tar
    for form in ("gnu", "oldgnu", "pax", "posix", "ustar", "v7"):
        yield case(
            f"format-{form}",
            packed(f"tar --format={form} -cf ../x a.txt d && mv ../x ."),
            "plain tar formats",
        )
    for flag, suffix in (("z", "gz"), ("j", "bz2"), ("J", "xz"), ("-zstd", "zst"), ("-lzma", "lzma")):
        data = packed(
            f"tar -c{flag if len(flag) == 1 else ''}f ../x {'-' + flag if len(flag) > 1 else ''} a.txt d && mv ../x ."
        )
        yield case(f"packed-{suffix}", data, "compressed tar", f"a.tar.{suffix}")
        if suffix != "lzma":
            yield case(f"packed-{suffix}-as-tar", data, "content decides, not the extension", "a.tar")
    yield case(
        "packed-Z", packed("tar -cf - a.txt d | compress -c > ../x; mv ../x ."), "compressed tar", "a.tar.Z"
    )
    yield case("plain-as-gz", PLAIN, "content decides, not the extension", "a.tar.gz")
    yield case("xz-as-gz", xz(PLAIN), "content decides, not the extension", "a.tar.gz")
    yield case("multi-gzip", gz(PLAIN[:1000]) + gz(PLAIN[1000:]), "multi-member gzip", "a.tar.gz")
    yield case("multi-bzip2", bz(PLAIN[:1000]) + bz(PLAIN[1000:]), "multi-member bzip2", "a.tar.bz2")
    yield case("multi-xz", xz(PLAIN[:1000]) + xz(PLAIN[1000:]), "multi-member xz", "a.tar.xz")
    yield case("gz-with-name", gz(PLAIN, name=b"other.bin", mtime=5), "tar.gz ignores FNAME", "a.tar.gz")
    skippable = struct.pack("<LL", 0x184D2A50, 4) + b"skip"
    zst = packed("tar -cf - a.txt d | zstd -qc > ../x; mv ../x .")
    yield case("zstd-skippable", skippable + zst, "skippable zstd frame", "a.tar.zst")
    yield case("multi-zstd", zst + skippable, "multi-member zstd", "a.tar.zst")
    # --- what is no tar
    for name, data, archive in (
        ("empty-file", b"", "a.tar"),
        ("text", b"one,two\n" * 200, "my.target.csv"),
        ("short-text", b"one,two\n", "my.target.csv"),
        ("zip-inside", zipped(Zipped(b"a", A)), "a.tar.zip"),
        ("7z-inside", seven(Seven("a", A)), "a.tar.7z"),
        ("noise", bytes((index * 167 + 13) % 256 for index in range(3000)), "a.tar"),
        ("gz-in-gz", gz(gz(PLAIN)), "a.tar.gz"),
        ("gz-of-text", gz(b"one,two\n" * 200), "my.target.csv.gz"),
        ("html", b"<!DOCTYPE html><html>404</html>", "a.tar.gz"),
    ):
        yield case(
            f"no-{name}", data, "zip, 7z, text, noise, 0 bytes: nothing out", archive, status="damaged"
        )
    yield case(
        "no-gz-of-short-text",
        gz(b"one,two\n"),
        "content under 512 bytes: exit 0, nothing out",
        "my.target.csv.gz",
        status="damaged",
        difference="said",
    )
    yield case("gz-of-nothing", gz(b""), "gzip of nothing: exit 0", "a.tar.gz")
    yield case("only-zeros", bytes(10240), "only zero blocks: exit 0", "a.tar")
    yield case("lz4", b"\x04\x22\x4d\x18" + bytes(600), "lz4: exit 2", "a.tar.lz4", status="damaged")
    # --- damage
    yield case(
        "cut-member",
        PLAIN[:1026],
        "cut inside a member",
        status="damaged",
        difference="whole-only",
        missing=("d/a",),
    )
    yield case(
        "cut-second",
        tar(tar_file(b"a", A), tar_file(b"b", b"x" * 700))[:1700],
        "cut inside a member",
        status="damaged",
        difference="whole-only",
        missing=("b",),
    )
    yield case(
        "cut-header",
        PLAIN[: 512 * 3 + 100],
        "cut inside a header: exit 0, the rest is lost",
        status="damaged",
        difference="said",
    )
    yield case("cut-between", PLAIN[: 512 * 3], "cut between members: exit 0, the rest is lost")
    yield case("no-end", tar(tar_file(b"a", A), end=b""), "end blocks missing: exit 0")
    yield case(
        "gz-cut",
        gz(tar(tar_file(b"a", A), tar_file(b"b", bytes(range(256)) * 20), tar_file(b"c", A)))[:-60],
        "gzip cut: members before it stay",
        "a.tar.gz",
        status="damaged",
        difference="whole-only",
        missing=("b",),
    )
    stored = gz(tar(tar_file(b"a", A), tar_file(b"b", b"x" * 512), tar_file(b"c", A)), level=0)
    yield case(
        "gz-cut-behind-member",
        stored[: 10 + 5 + 512 * 4],
        "gzip cut: members before it stay",
        "a.tar.gz",
        status="damaged",
        difference="unsure",
        missing=("b",),
    )
    broken = gz(PLAIN)
    yield case(
        "gz-bad-crc",
        broken[:-8] + b"\0\0\0\0" + broken[-4:],
        "bad CRC",
        "a.tar.gz",
        status="damaged",
        difference="whole-only",
        missing=("d", "d/a", "b"),
    )
    cut_xz = xz(PLAIN, check=lzma.CHECK_CRC32)
    yield case("xz-cut", cut_xz[:-30], "xz cut", "a.tar.xz", status="damaged")
    yield case("joined", PLAIN + tar(tar_file(b"second", B)), "two tars joined: only the first is read")
    yield case("garbage-after", PLAIN + b"garbage" * 100, "garbage after the end blocks: exit 0")
    yield case("gz-zeros-after", gz(PLAIN) + bytes(100), "zeros after the gzip stream: exit 0", "a.tar.gz")
    yield case(
        "gz-garbage-after",
        gz(PLAIN) + b"garbage",
        "garbage after the gzip stream: exit 2, all good",
        "a.tar.gz",
        difference="warned",
    )
    bad = tar_header(b"bad", 6, break_checksum=True) + A.ljust(512, b"\0")
    yield case(
        "bad-header-middle",
        tar(tar_file(b"a", A), bad, tar_file(b"b", B)),
        "bad header checksum in the middle",
        status="damaged",
    )
    yield case("bad-header-first", tar(bad, tar_file(b"b", B)), "bad header checksum first", status="damaged")
    yield case(
        "lone-zero", tar_file(b"a", A) + bytes(512) + tar(tar_file(b"b", B)), "a lone zero block ends it"
    )
    # --- names
    yield case("dup", tar(tar_file(b"n", A), tar_file(b"n", B)), "one name twice: last wins")
    yield case(
        "dup-100",
        tar(*[tar_file(b"n", str(index).encode()) for index in range(100)]),
        "one name many times: last wins",
    )
    for label, raw in (("dot", b"."), ("dotdot", b".."), ("nothing", b"")):
        yield case(
            f"name-{label}",
            tar(tar_file(raw, A), tar_file(b"z", B)),
            "member named ., .. or nothing",
            status="unsafe",
        )
    yield case(
        "name-a-dotdot",
        tar(tar_file(b"a/..", A), tar_file(b"z", B)),
        "any .. component: skipped",
        status="unsafe",
    )
    yield case(
        "name-inner-dotdot",
        tar(tar_file(b"d/../in", A), tar_file(b"z", B)),
        "any .. component: skipped",
        status="unsafe",
    )
    yield case(
        "name-escape",
        tar(tar_file(b"../../escape", A), tar_file(b"z", B)),
        "any .. component: skipped",
        status="unsafe",
    )
    yield case(
        "name-a-dot",
        tar(tar_file(b"a/.", A), tar_file(b"z", B)),
        "member named .",
        status="unsafe",
        difference="refused-parents",
        missing=("a",),
    )
    yield case("name-absolute", tar(tar_file(b"/abs/x", A), tar_file(b"//y", B)), "leading slashes stripped")
    yield case("name-slashes", tar(tar_file(b"a//b/.//c", A)), "the rest as it is")
    yield case("name-backslash", tar(tar_file(b"a\\b", A), tar_file(b"C:\\x", B)), "the rest as it is")
    yield case(
        "name-control",
        tar(tar_file(b"new\nline", A), tar_file(b"esc\x1b[2J", B)),
        "control characters: made as they are",
    )
    yield case("name-latin1", tar(tar_file(b"caf\xe9", A)), "bytes as they are")
    yield case(
        "name-nfc-nfd",
        tar(tar_file("é".encode(), A), tar_file("e\u0301".encode(), B)),
        "NFC and NFD are two names",
    )
    yield case("name-case", tar(tar_file(b"n", A), tar_file(b"N", B)), "case collisions: two names")
    yield case(
        "name-windows",
        tar(tar_file(b"CON", A), tar_file(b"dots...", B), tar_file(b"a*?b", A), tar_file(b"-rf", B)),
        "made as they are on Linux",
    )
    yield case("name-255", tar(tar_long(b"L", LONG), tar_file(LONG, A)), "255 bytes: fine")
    yield case(
        "name-256",
        tar(tar_long(b"L", LONG + b"n"), tar_file(LONG, A), tar_file(b"z", B)),
        "256 bytes: exit 2, others out",
        status="unsafe",
    )
    yield case(
        "path-over-max",
        tar(tar_long(b"L", b"d/" * 2100 + b"x"), tar_file(b"d", A), tar_file(b"z", B)),
        "path over PATH_MAX: exit 2, others out",
        status="too-large",
        difference="limit",
        missing=("z",),
    )
    yield case("levels-90", tar(tar_long(b"L", b"d/" * 90 + b"x"), tar_file(b"d", A)), "deep levels: fine")
    yield case("ustar-prefix", tar(tar_file(b"name", A, prefix=b"some/prefix")), "ustar prefix")
    yield case(
        "gnu-no-prefix",
        tar(tar_file(b"name", A, magic=b"ustar  \0", tail=b"12345670000\0")),
        "GNU keeps times where ustar keeps a prefix",
    )
    yield case(
        "pax-path",
        tar(tar_pax([(b"path", "ü/long".encode()), (b"mtime", b"1500000000.123456789")]), tar_file(b"x", A)),
        "pax path and exact time",
    )
    yield case(
        "pax-size",
        tar(tar_pax([(b"size", b"6")]), tar_header(b"x", 0) + A.ljust(512, b"\0"), tar_file(b"z", B)),
        "pax size obeyed",
    )
    yield case(
        "pax-linkpath",
        tar(tar_file(b"t", A), tar_pax([(b"linkpath", b"t")]), tar_link(b"n", b"wrong")),
        "pax linkpath",
    )
    yield case(
        "pax-global",
        tar(tar_pax([(b"mtime", b"1400000000")], b"g"), tar_file(b"x", A), tar_file(b"y", B)),
        "pax global header",
    )
    yield case(
        "gnu-longlink",
        tar(tar_file(b"t", A), tar_long(b"K", b"./" * 60 + b"t"), tar_link(b"n", b"t")),
        "GNU long link",
    )
    # --- kinds
    yield case(
        "folder-by-slash",
        tar(tar_file(b"n/", b""), tar_file(b"z", B)),
        "regular member n/: a directory",
        difference="folder-access",
    )
    yield case(
        "folder-with-data",
        tar(tar_file(b"n/", A), tar_file(b"z", B)),
        "regular member n/: its data skipped as garbage, exit 2",
        status="damaged",
        difference="folder-access",
    )
    yield case("v7-file", tar(tar_file(b"n", A, kind=b"\0", magic=b"\0")), "v7")
    yield case("contiguous", tar(tar_file(b"n", A, kind=b"7")), "contiguous: plain file")
    yield case("unknown-type", tar(tar_file(b"n", A, kind=b"Q")), "unknown type: plain file, exit 0")
    yield case(
        "volume-label", tar(tar_header(b"label", kind=b"V"), tar_file(b"a", A)), "volume header ignored"
    )
    yield case(
        "dumpdir",
        tar(tar_file(b"d/", b"Yx\0\0", kind=b"D"), tar_file(b"a", A)),
        "dumpdir data ignored",
        difference="folder-access",
    )
    yield case(
        "continued",
        tar(tar_file(b"m", A, kind=b"M"), tar_file(b"a", B)),
        "continued member: exit 2",
        status="damaged",
    )
    yield case(
        "fifo",
        tar(tar_header(b"p", kind=b"6"), tar_file(b"a", A)),
        "fifo made",
        status="unsafe",
        difference="device",
        missing=("p",),
    )
    yield case(
        "device",
        tar(tar_header(b"p", kind=b"3", device=(1, 3)), tar_file(b"a", A)),
        "device: exit 2 for a user",
        status="unsafe",
    )
    # --- links
    yield case("symlink", tar(tar_file(b"t", A), tar_link(b"n", b"t")), "symlink made")
    yield case("symlink-up", tar(tar_file(b"d/t", A), tar_link(b"d/e/n", b"../t")), "inside link with ..")
    yield case("symlink-dangling", tar(tar_link(b"n", b"nowhere")), "symlink made")
    yield case("symlink-dot", tar(tar_link(b"n", b".")), "symlink made")
    yield case("symlink-loop", tar(tar_link(b"n", b"n")), "symlink made")
    yield case("symlink-twice", tar(tar_link(b"n", b"t"), tar_link(b"n", b"u")), "last wins")
    yield case(
        "symlink-then-file",
        tar(tar_file(b"t", A), tar_link(b"n", b"t"), tar_file(b"n", B)),
        "link replaced, target untouched",
    )
    yield case(
        "file-then-symlink", tar(tar_file(b"t", A), tar_file(b"n", B), tar_link(b"n", b"t")), "last wins"
    )
    yield case(
        "symlink-over-empty-folder", tar(tar_folder(b"n/"), tar_link(b"n", b"t")), "empty directory replaced"
    )
    yield case(
        "symlink-over-full-folder",
        tar(tar_file(b"n/x", A), tar_link(b"n", b"t")),
        "full directory kept, exit 2",
        status="unsafe",
    )
    yield case(
        "symlink-out",
        tar(tar_link(b"n", b"../out"), tar_file(b"z", A)),
        "outward link on disk, exit 0",
        status="unsafe",
        difference="link-out",
        missing=("n",),
    )
    yield case(
        "symlink-absolute",
        tar(tar_link(b"n", b"/etc/passwd"), tar_file(b"z", A)),
        "outward link on disk, exit 0",
        status="unsafe",
        difference="link-out",
        missing=("n",),
    )
    yield case(
        "symlink-winding",
        tar(tar_folder(b"e/"), tar_link(b"n", b"e/../e")),
        "a target that climbs through another path",
        status="unsafe",
        difference="link-out",
        missing=("n",),
    )
    yield case(
        "symlink-empty", tar(tar_link(b"n", b""), tar_file(b"z", A)), "empty target: exit 2", status="unsafe"
    )
    yield case(
        "symlink-write-through",
        tar(tar_folder(b"e/"), tar_link(b"n", b"e"), tar_file(b"n/x", A)),
        "symlink then write through it: inside",
        status="unsafe",
        difference="through-link",
        missing=("e/x",),
    )
    yield case(
        "symlink-out-write-through",
        tar(tar_link(b"n", b".."), tar_file(b"n/x", A), tar_file(b"z", B)),
        "symlink then write through it",
        status="unsafe",
        difference="link-out",
        missing=("n",),
    )
    yield case(
        "symlink-chain",
        tar(tar_folder(b"a/"), tar_link(b"a/b", b".."), tar_link(b"c", b"a/b/.."), tar_file(b"c/x", A)),
        "chains",
        status="unsafe",
        difference="link-out",
        missing=("c",),
    )
    yield case(
        "symlink-folder-over",
        tar(tar_folder(b"e/"), tar_link(b"n", b"e"), tar_folder(b"n/"), tar_file(b"n/x", A)),
        "a directory member replaces the link",
    )
    yield case("hardlink", tar(tar_file(b"t", A), tar_hard(b"n", b"t")), "hard link made")
    yield case(
        "hardlink-before",
        tar(tar_hard(b"n", b"t"), tar_file(b"t", A)),
        "hard link before its target: exit 2",
        status="unsafe",
    )
    yield case("hardlink-absolute", tar(tar_file(b"t", A), tar_hard(b"n", b"/t")), "leading / stripped")
    yield case(
        "hardlink-out",
        tar(tar_hard(b"n", b"../canary"), tar_file(b"z", A)),
        "hard link to outside: exit 2, nothing linked",
        status="unsafe",
    )
    yield case(
        "hardlink-etc",
        tar(tar_hard(b"n", b"/etc/passwd"), tar_file(b"n", A)),
        "hard link to outside, then write",
        status="unsafe",
    )
    yield case(
        "hardlink-then-file",
        tar(tar_file(b"t", A), tar_hard(b"n", b"t"), tar_file(b"n", B)),
        "old one is unlinked first",
    )
    yield case(
        "hardlink-over-file", tar(tar_file(b"t", A), tar_file(b"n", B), tar_hard(b"n", b"t")), "last wins"
    )
    yield case("hardlink-self", tar(tar_file(b"t", A), tar_hard(b"t", b"t")), "hard link to itself")
    yield case(
        "hardlink-to-symlink",
        tar(tar_file(b"t", A), tar_link(b"s", b"t"), tar_hard(b"n", b"s")),
        "hard link to a symlink",
    )
    yield case(
        "hardlink-to-folder",
        tar(tar_folder(b"t/"), tar_hard(b"n", b"t")),
        "hard link to a directory: exit 2",
        status="unsafe",
    )
    yield case(
        "hardlink-twice", tar(tar_file(b"t", A), tar_hard(b"n", b"t"), tar_hard(b"n", b"t")), "last wins"
    )
    # --- clashes
    yield case(
        "file-then-child",
        tar(tar_file(b"n", A), tar_file(b"n/x", B)),
        "n then n/x: exit 2, n stays a file",
        status="unsafe",
    )
    yield case(
        "file-then-folder",
        tar(tar_file(b"n", A), tar_folder(b"n/"), tar_file(b"n/x", B)),
        "a directory member replaces a file",
    )
    yield case(
        "empty-folder-then-file",
        tar(tar_folder(b"n/"), tar_file(b"n", A)),
        "empty directory then file: replaced",
    )
    yield case(
        "full-folder-then-file",
        tar(tar_folder(b"n/"), tar_file(b"n/x", A), tar_file(b"n", B)),
        "full directory then file: exit 2",
        status="unsafe",
    )
    yield case(
        "folder-twice",
        tar(tar_folder(b"d/", mode=0o700), tar_file(b"d/x", A), tar_folder(b"d/", mode=0o750)),
        "directory modes are applied last",
    )
    # --- attributes
    yield case("mode-setuid", tar(tar_file(b"n", A, mode=0o6755)), "setuid dropped")
    yield case(
        "mode-open", tar(tar_file(b"n", A, mode=0o777), tar_file(b"m", A, mode=0o666)), "mode & ~umask"
    )
    yield case("mode-none", tar(tar_file(b"n", A, mode=0)), "mode kept")
    yield case(
        "mode-folder-555",
        tar(tar_folder(b"d/", mode=0o555), tar_file(b"d/x", A)),
        "a 0555 directory still gets its files",
        difference="folder-access",
    )
    yield case(
        "mode-self-000",
        tar(tar_folder(b"./", mode=0), tar_file(b"a", A)),
        "member ./ with mode 000",
        difference="folder-mode",
    )
    yield case("time-negative", tar(tar_file(b"n", A, mtime=-86400)), "mtime kept, negative too")
    yield case("time-2100", tar(tar_file(b"n", A, mtime=4_102_444_800)), "mtime kept, 2100 too")
    yield case(
        "time-folder",
        tar(tar_folder(b"d/", mtime=1_400_000_000), tar_file(b"d/x", A)),
        "directory mtimes are applied last",
    )
    # --- sparse, by the real tar
    sparse = "truncate -s 1M s; printf data | dd of=s bs=1 seek=500000 conv=notrunc 2>/dev/null; touch -d @1500000000 s; "
    yield case(
        "sparse-gnu",
        packed(sparse + "tar -S --format=gnu -cf ../x s a.txt; mv ../x ."),
        "GNU sparse: right content",
    )
    for version in ("0.0", "0.1", "1.0"):
        yield case(
            f"sparse-pax-{version}",
            packed(sparse + f"tar -S --format=pax --sparse-version={version} -cf ../x s a.txt; mv ../x ."),
            "pax sparse: right content",
        )
    # --- hostile
    yield case(
        "self",
        tar(tar_file(b"a.tar", A), tar_file(b"z", B)),
        "member named as the archive",
        status="unsafe",
        difference="self",
    )
    yield case(
        "self-folder",
        tar(tar_file(b"a.tar/x", A), tar_file(b"z", B)),
        "member below the archive's name",
        status="unsafe",
    )
    yield case(
        "nested",
        tar(tar_file(b"in.tar", PLAIN), tar_file(b"in.zip", zipped(Zipped(b"a", A)))),
        "archives inside stay packed",
    )


def _stream_cases() -> Iterator[Case]:
    def case(name: str, data: bytes, row: str, archive: str = "a.csv.gz", **more) -> Case:
        return Case("stream", name, archive, data, row, **more)

    text = b"1,2,3\n" * 40
    for index, archive in enumerate(
        (
            "a.csv.gz",
            "a.gz",
            ".gz",
            "..gz",
            " .gz",
            ".a.gz",
            "a..gz",
            "a .gz",
            "a.gz.gz",
            "a.csv.gz2",
            "-x.gz",
        )
    ):
        yield case(f"name-{index}", gz(text), "names of single streams", archive)
    yield case("name-xz", xz(text), "names of single streams", "a.csv.xz")
    yield case("name-gz2-xz", xz(text), "a.csv.gz2 holding xz", "a.csv.gz2")
    yield case("name-gz2-bz2", bz(text), "a.csv.gz2 holding bzip2", "a.csv.gz2")
    yield case("fname", gz(text, name=b"orig.csv", mtime=1_400_000_000), "stored FNAME", "a.gz2")
    yield case("fname-path", gz(text, name=b"p/q/orig.csv"), "a path in FNAME is kept as folders")
    yield case("fname-escape", gz(text, name=b"../../evil"), "FNAME with ..")
    yield case("fname-absolute", gz(text, name=b"/abs/x"), "FNAME absolute")
    yield case("fname-empty", gz(text, name=b""), "an empty FNAME is ignored")
    yield case("fname-dots", gz(text, name=b".."), "FNAME ..")
    yield case("fname-256", gz(text, name=b"n" * 256), "FNAME over 255 bytes: nothing", status="unsafe")
    yield case(
        "fname-self",
        gz(text, name=b"a.csv.gz"),
        "FNAME of the archive itself",
        status="unsafe",
        difference="self",
    )
    yield case("fname-tar", gz(text, name=b"x.tar"), "a.gz can create x.tar")
    yield case("extra-comment", gz(text, extra=b"ABCD", comment=b"hi", name=b"c"), "gzip header fields")
    yield case("tar-inside", gz(PLAIN), "one layer only: the tar stays", "x.gz")
    yield case("multi", gz(text) + gz(b"more"), "multi-member gzip: one file")
    yield case("multi-fname", gz(text, name=b"one") + gz(b"more", name=b"two"), "FNAME of the first member")
    yield case("multi-xz", xz(text) + xz(b"more"), "multi-stream xz", "a.xz")
    yield case("xz-padding", xz(text) + bytes(8), "xz padding", "a.xz")
    yield case("content-zip", zipped(Zipped(b"m", A)), "a.gz holding zip", "a.gz")
    yield case("content-7z", seven(Seven("m", A)), "a.gz holding 7z", "a.gz")
    yield case("content-tar", PLAIN, "a.gz holding tar", "a.gz")
    yield case("content-xz", xz(text), "a.gz holding xz", "a.gz")
    yield case("content-zstd", _sh("zstd -qc a.txt > x", SMALL, "x"), "a.gz holding zstd", "a.gz")
    yield case("empty-content", gz(b""), "gzip of nothing", "a.gz")
    yield case(
        "zeros-after",
        gz(text) + bytes(50),
        "zeros after the stream: 2, the whole good file",
        difference="warned",
    )
    yield case(
        "garbage-after",
        gz(text) + b"garbage!",
        "garbage after the stream: 2, the whole good file",
        difference="warned",
    )
    yield case(
        "xz-garbage-after",
        xz(text) + b"garbage!",
        "xz garbage: 2, the whole good file",
        "a.xz",
        difference="warned",
    )
    cut = gz(bytes((index * 31) % 251 for index in range(4000)))
    yield case(
        "cut",
        cut[: len(cut) // 2],
        "cut: the partial file",
        "a.gz",
        status="damaged",
        difference="whole-only",
        missing=("a",),
    )
    yield case(
        "cut-trailer",
        gz(text)[:-4],
        "cut inside the trailer: the whole file",
        "a.gz",
        status="damaged",
        difference="whole-only",
        missing=("a",),
    )
    whole = gz(text)
    yield case(
        "bad-crc",
        whole[:-8] + b"abcd" + whole[-4:],
        "bad CRC: the whole wrong file",
        "a.gz",
        status="damaged",
        difference="whole-only",
        missing=("a",),
    )
    yield case(
        "bad-size",
        whole[:-4] + b"abcd",
        "false size in the trailer",
        "a.gz",
        status="damaged",
        difference="whole-only",
        missing=("a",),
    )
    yield case(
        "xz-cut", xz(text)[:-20], "xz cut", "a.xz", status="damaged", difference="whole-only", missing=("a",)
    )
    for name, data in (
        ("text", b"plain text\n" * 10),
        ("empty", b""),
        ("three", b"\x1f\x8b\x08"),
        ("html", b"<html>404</html>"),
    ):
        yield case(f"no-{name}", data, "text, 0 bytes, 3 bytes: nothing", "a.gz", status="damaged")
    yield case(
        "lzma-alone", _sh("xz --format=lzma -c a.txt > x", SMALL, "x"), "7z opens by signature", "a.gz"
    )


def _zip_cases() -> Iterator[Case]:
    def case(name: str, data: bytes, row: str, archive: str = "a.zip", **more) -> Case:
        return Case("zip", name, archive, data, row, **more)

    def made(command: str, files: dict[str, bytes] | None = None) -> bytes:
        return _sh(command, files or SMALL, "x.zip")

    text = b"1,2,3\n" * 40
    # --- by the real packers
    yield case("info-zip", made("zip -qr x.zip a.txt d"), "deflate, stored, extended times")
    yield case("info-zip-plain", made("zip -qrX x.zip a.txt d"), "DOS times only")
    yield case(
        "info-zip-links", made("ln -s a.txt l; touch -h -d @1500000000 l; zip -qry x.zip a.txt l"), "symlinks"
    )
    yield case("info-zip-comment", made("echo hi | zip -qz x.zip a.txt; zip -q x.zip d/b.csv"), "comment")
    for method in ("Copy", "Deflate", "Deflate64", "BZip2", "LZMA", "PPMd"):
        yield case(f"method-{method.lower()}", made(f"7zz a -mm={method} x.zip a.txt d"), "methods")
    zstd = _sh("zstd -qc a.txt > x", {"a.txt": text}, "x")
    yield case("method-zstd", zipped(Zipped(b"a", text, 93, packed=zstd)), "methods")
    yield case("method-xz", zipped(Zipped(b"a", text, 95, packed=xz(text))), "methods")
    yield case("stored-by-pipe", made("cat a.txt | zip -q x.zip -"), "data descriptors")
    # --- structure
    yield case("zip64", zipped(Zipped(b"a", A, zip64=True), zip64=True), "zip64")
    yield case(
        "descriptor", zipped(Zipped(b"a", text, 8, descriptor=True), Zipped(b"b", B)), "data descriptors"
    )
    yield case("comment", zipped(Zipped(b"a", A), comment=b"a comment"), "comment")
    yield case("empty", zipped(), "empty archive")
    yield case(
        "unknown-method",
        zipped(Zipped(b"a", A, 77), Zipped(b"b", B)),
        "unknown method 77, then a good member",
        status="unsupported",
        difference="whole-only",
        missing=("a",),
    )
    yield case(
        "joined", zipped(Zipped(b"a", A)) + zipped(Zipped(b"b", B)), "two zips joined: the FIRST is read"
    )
    yield case("junk-after", zipped(Zipped(b"a", A)) + b"junk" * 20, "junk after: 0 + warning")
    yield case(
        "junk-before-moved",
        zipped(Zipped(b"a", A), before=b"#!/bin/sh\n" * 20),
        "junk before, offsets right: 0 + warning",
    )
    yield case(
        "junk-before",
        zipped(Zipped(b"a", A), before=b"#!/bin/sh\n" * 20, moved=False),
        "junk before, offsets not moved: nothing",
        status="damaged",
    )
    whole = zipped(Zipped(b"a", A), Zipped(b"b", text, 8), Zipped(b"d/c", B))
    at = whole.index(b"PK\1\2")
    yield case(
        "no-directory", whole[:at], "central directory missing: all members come out", status="damaged"
    )
    yield case(
        "cut-directory", whole[: at + 30], "central directory cut: all members come out", status="damaged"
    )
    yield case("cut-end", whole[:-10], "end record cut", status="damaged")
    yield case(
        "cut-half",
        zipped(Zipped(b"a", A), Zipped(b"b", bytes(range(256)) * 8))[:600],
        "cut in half: earlier whole, the cut one partial",
        status="damaged",
        difference="whole-only",
        missing=("b",),
    )
    yield case(
        "bad-crc",
        zipped(Zipped(b"a", A, checksum=1), Zipped(b"b", B)),
        "bad CRC: wrong file stays",
        status="damaged",
        difference="whole-only",
        missing=("a",),
        preview="ok",
    )
    yield case(
        "size-small",
        zipped(Zipped(b"a", text, 8, claimed=10), Zipped(b"b", B)),
        "usize lie small: cut to it",
        status="damaged",
        difference="whole-only",
        missing=("a",),
        preview="ok",
    )
    yield case(
        "size-big",
        zipped(Zipped(b"a", text, 8, claimed=5000), Zipped(b"b", B)),
        "usize lie big: as it is",
        status="damaged",
        difference="whole-only",
        missing=("a",),
        preview="ok",
    )
    yield case("local-name", zipped(Zipped(b"central", A, local_name=b"localxx")), "central name wins")
    # --- names
    yield case("dup", zipped(Zipped(b"n", A), Zipped(b"n", B)), "one name twice: last wins")
    for label, raw in (
        ("escape", b"../evil.txt"),
        ("inner", b"d/../../e"),
        ("last", b"a/.."),
        ("absolute", b"/p/x"),
        ("dotdot", b".."),
        ("dot", b"."),
        ("empty", b""),
        ("slashes", b"a//./b"),
        ("backslash", b"a\\b"),
        ("drive", b"C:/x"),
        ("almost", b"..x/.../y.."),
    ):
        yield case(f"name-{label}", zipped(Zipped(raw, A), Zipped(b"z", B)), "member path to path on disk")
    yield case("name-meet", zipped(Zipped(b"../n", A), Zipped(b"n", B)), "two members can fall on one name")
    yield case("name-nul", zipped(Zipped(b"z", B), Zipped(b"cut\0here", A)), "NUL cuts a zip name")
    yield case(
        "name-nul-first",
        zipped(Zipped(b"cut\0here", A)),
        "a NUL in the first name: not opened",
        status="damaged",
    )
    yield case("name-gbk", zipped(Zipped("数据.csv".encode("gbk"), A)), "raw bytes come out as those bytes")
    yield case(
        "name-cp437", zipped(Zipped(b"caf\x82", A, host=0, mode=None)), "raw bytes come out as those bytes"
    )
    yield case("name-utf8-flag", zipped(Zipped("ü".encode(), A, flags=0x800)), "UTF-8 flag")
    yield case(
        "name-unicode-path",
        zipped(Zipped(b"u.txt", A, extra=unicode_path(b"u.txt", "ü.txt".encode()))),
        "0x7075 field gives UTF-8",
    )
    yield case(
        "name-unicode-path-stale",
        zipped(Zipped(b"u.txt", A, extra=unicode_path(b"other", "ü.txt".encode()))),
        "0x7075 of another name",
    )
    yield case(
        "name-control",
        zipped(Zipped(b"new\nline", A), Zipped(b"esc\x1b[2J", B)),
        "control characters: made as they are",
    )
    yield case(
        "name-windows",
        zipped(Zipped(b"CON", A), Zipped(b"dots...", B), Zipped(b"a*?b:c", A), Zipped(b"-rf", B)),
        "made as they are on Linux",
    )
    yield case("name-case", zipped(Zipped(b"n", A), Zipped(b"N", B)), "case collisions")
    yield case(
        "name-256",
        zipped(Zipped(b"n" * 256, A), Zipped(b"z", B)),
        "over 255 bytes: exit 2, others out",
        status="unsafe",
    )
    # --- kinds
    yield case(
        "folder-with-data",
        zipped(Zipped(b"n/", A), Zipped(b"z", B)),
        "n/ with data: a directory, data dropped silently",
        difference="folder-access",
    )
    yield case("folder-by-mode", zipped(Zipped(b"n", b"", mode=0o40750)), "a folder by its mode")
    yield case(
        "folder-by-dos",
        zipped(Zipped(b"n", b"", mode=None, host=0, dos_attributes=0x10)),
        "a folder by its DOS attribute",
    )
    yield case(
        "fifo",
        zipped(Zipped(b"p", b"", mode=0o010644), Zipped(b"c", b"", mode=0o020644)),
        "fifo, device mode: empty regular file",
    )
    yield case("symlink", zipped(Zipped(b"t", A), Zipped(b"n", b"t", mode=0o120777)), "symlink")
    yield case(
        "symlink-out",
        zipped(Zipped(b"n", b"../out", mode=0o120777), Zipped(b"z", A)),
        "Dangerous link path was ignored: a 0-byte file stays",
        status="unsafe",
        difference="link-out",
        missing=("n",),
    )
    yield case(
        "symlink-up",
        zipped(Zipped(b"d/t", A), Zipped(b"d/n", b"../d/t", mode=0o120777)),
        "a climbing link is refused by 7z",
        status="unsafe",
        difference="whole-only",
        missing=("d/n",),
    )
    yield case(
        "symlink-absolute",
        zipped(Zipped(b"n", b"/etc/passwd", mode=0o120777), Zipped(b"z", A)),
        "absolute target rewritten",
        status="unsafe",
        difference="link-out",
        missing=("n",),
    )
    yield case(
        "symlink-empty",
        zipped(Zipped(b"n", b"", mode=0o120777), Zipped(b"z", A)),
        "empty target: plain file",
        status="unsafe",
        difference="link-out",
        missing=("n",),
    )
    yield case(
        "symlink-then-file",
        zipped(Zipped(b"t", A), Zipped(b"n", b"t", mode=0o120777), Zipped(b"n", B)),
        "links are made last",
        status="unsafe",
    )
    yield case(
        "symlink-write-through",
        zipped(Zipped(b"e/", mode=0o40755), Zipped(b"n", b"e", mode=0o120777), Zipped(b"n/x", A)),
        "symlink then write through it",
        status="unsafe",
    )
    yield case(
        "symlink-through-link",
        zipped(Zipped(b"e/f", A), Zipped(b"a", b"e", mode=0o120777), Zipped(b"b", b"a/f", mode=0o120777)),
        "a link through a link",
        status="unsafe",
        difference="whole-only",
        missing=("b",),
    )
    yield case(
        "symlink-twice",
        zipped(Zipped(b"n", b"t", mode=0o120777), Zipped(b"n", b"u", mode=0o120777)),
        "the first link stays",
        status="unsafe",
    )
    yield case(
        "file-over-full-folder",
        zipped(Zipped(b"n/x", A), Zipped(b"n", B), Zipped(b"z", B)),
        "file over full directory: the first stays",
        status="unsafe",
    )
    yield case(
        "file-over-empty-folder",
        zipped(Zipped(b"n/", mode=0o40755), Zipped(b"n", B)),
        "over an EMPTY directory: replaced",
    )
    yield case(
        "folder-over-file",
        zipped(Zipped(b"n", A), Zipped(b"n/", mode=0o40755), Zipped(b"z", B)),
        "directory over file: the first stays",
        status="unsafe",
    )
    # --- attributes
    yield case(
        "mode",
        zipped(
            Zipped(b"n", A, mode=0o106755), Zipped(b"m", A, mode=0o100600), Zipped(b"o", A, mode=0o100777)
        ),
        "mode & 0777 & ~umask, setuid dropped",
    )
    yield case("mode-none", zipped(Zipped(b"n", A, mode=0), Zipped(b"d/", mode=0)), "no mode: 0644/0755")
    yield case(
        "mode-read-only",
        zipped(Zipped(b"n", A, mode=None, host=0, dos_attributes=1)),
        "Windows read-only: 0444",
    )
    yield case(
        "mode-folder-555",
        zipped(Zipped(b"d/", mode=0o40555), Zipped(b"d/x", A)),
        "zip directory mode 0555 becomes 0755",
    )
    yield case(
        "time-unix",
        zipped(Zipped(b"n", A, extra=unix_time(1_400_000_001), local_extra=unix_time(1_400_000_001))),
        "the extended-timestamp field is exact",
    )
    yield case("time-ntfs", zipped(Zipped(b"n", A, extra=ntfs_time(1_400_000_003))), "NTFS times")
    yield case(
        "time-both",
        zipped(Zipped(b"n", A, extra=unix_time(1_400_000_001) + ntfs_time(1_400_000_003))),
        "NTFS before extended",
    )
    yield case("time-dos", zipped(Zipped(b"n", A)), "DOS times are local to the server's zone")
    # --- content
    yield case("holds-7z", seven(Seven("m", A)), "zip holding 7z: 0 + warning")
    yield case("holds-tar", PLAIN, "zip holding tar")
    yield case("holds-tar-gz", gz(PLAIN), "tar.gz in a zip name leaves a tar")
    for name, data in (
        ("text", b"plain text\n" * 10),
        ("html", b"<!doctype html>"),
        ("elf", b"\x7fELF" + bytes(100)),
        ("empty", b""),
    ):
        yield case(f"no-{name}", data, "text, html error page, ELF, 0 bytes: nothing", status="damaged")
    yield case(
        "rar", b"Rar!\x1a\x07\x01\x00" + bytes(60), "zip holding RAR: 2 on Debian", status="unsupported"
    )
    # --- encrypted, by the real packers
    yield case(
        "encrypted",
        made("zip -q -P secret x.zip a.txt; zip -q x.zip d/b.csv"),
        "with a dummy password: plain members out, encrypted ones 0 bytes",
        status="encrypted",
        difference="encrypted",
        missing=("a.txt",),
    )
    yield case(
        "encrypted-aes",
        made("7zz a -psecret -mem=AES256 x.zip a.txt"),
        "AES zip",
        status="encrypted",
        difference="encrypted",
        missing=("a.txt",),
    )
    # --- hostile
    yield case(
        "self",
        zipped(Zipped(b"a.zip", A), Zipped(b"z", B)),
        "member named as the archive",
        status="unsafe",
        difference="self",
    )


def _seven_cases() -> Iterator[Case]:
    def case(name: str, data: bytes, row: str, archive: str = "a.7z", **more) -> Case:
        return Case("7z", name, archive, data, row, **more)

    def made(command: str, files: dict[str, bytes] | None = None) -> bytes:
        return _sh(command, files or SMALL, "x.7z")

    numbers = {"n.bin": struct.pack("<500L", *range(0, 5000, 10)), "a.txt": b"hello\n"}
    for method in ("LZMA", "LZMA2", "PPMd", "BZip2", "Deflate", "Deflate64", "Copy"):
        yield case(f"method-{method.lower()}", made(f"7zz a -m0={method} x.7z a.txt d"), "codecs")
    for branch in (
        "BCJ",
        "ARM",
        "ARMT",
        "PPC",
        "SPARC",
        "IA64",
        "Delta:4",
        "BCJ2",
        "ARM64",
        "RISCV",
        "Swap2",
        "Swap4",
    ):
        for last in ("LZMA2", "LZMA"):
            name = f"filter-{branch.lower().replace(':', '')}-{last.lower()}"
            yield case(name, made(f"7zz a -m0={branch} -m1={last} x.7z n.bin a.txt", numbers), "codecs")
    yield case("solid-off", made("7zz a -ms=off x.7z a.txt d"), "not solid")
    yield case("header-plain", made("7zz a -mhc=off x.7z a.txt d"), "plain header")
    yield case("links", made("ln -s a.txt l; touch -h -d @1500000000 l; 7zz a -snl x.7z a.txt l"), "symlinks")
    yield case("empty", made("7zz a x.7z a.txt; 7zz d x.7z a.txt"), "no members")
    yield case(
        "times", made("touch -d '2001-02-03 04:05:06.789' a.txt; 7zz a -mtm=on x.7z a.txt d"), "mtime kept"
    )
    yield case("holds-zip", zipped(Zipped(b"m", A)), "7z holding zip")
    yield case("holds-tar", PLAIN, "7z holding tar")
    yield case("holds-gzip", gz(A), "7z holding gzip")
    yield case(
        "plain",
        seven(Seven("a", A), Seven("d", None), Seven("d/b", B), Seven("e", b"")),
        "plain header, copied content",
    )
    yield case("dup", seven(Seven("n", A), Seven("n", B)), "one name twice: last wins")
    for label, raw in (
        ("escape", "../evil.txt"),
        ("inner", "d/../../e"),
        ("last", "a/.."),
        ("absolute", "/p/x"),
        ("dotdot", ".."),
        ("slash", "a/"),
        ("backslash", "a\\b"),
        ("drive", "C:/x"),
        ("control", "new\nline\x1b"),
        ("surrogate", b"s\0\x00\xd8x\0"),
        ("emoji", "\U0001f600"),
    ):
        yield case(f"name-{label}", seven(Seven(raw, A), Seven("z", B)), "member path to path on disk")
    yield case("mode", seven(Seven("n", A, mode=0o104755), Seven("m", A, mode=0o100600)), "setuid dropped")
    yield case("mode-read-only", seven(Seven("n", A, attributes=0x21)), "Windows read-only: 0444")
    yield case(
        "mode-windows",
        seven(Seven("n", A, attributes=0x20), Seven("d", None, attributes=0x10)),
        "no mode: 0644/0755",
    )
    yield case("symlink", seven(Seven("t", A), Seven("n", b"t", mode=0o120777)), "symlink")
    yield case(
        "symlink-out",
        seven(Seven("n", b"../out", mode=0o120777), Seven("z", A)),
        "dangerous link: a 0-byte file stays",
        status="unsafe",
        difference="link-out",
        missing=("n",),
    )
    yield case(
        "anti",
        seven(Seven("gone", b"", anti=True), Seven("z", A)),
        "anti item deletes",
        status="unsafe",
        difference="anti",
    )
    yield case(
        "bad-crc",
        seven(Seven("a", A, checksum=1), Seven("b", B)),
        "bad CRC",
        status="damaged",
        difference="whole-only",
        missing=("a",),
        preview="ok",
    )
    whole = seven(Seven("a", A), Seven("b", B))
    yield case("cut", whole[:-10], "cut: nothing", status="damaged")
    yield case("junk-before", b"junk" * 8 + whole, "7z with junk before: nothing", status="damaged")
    yield case("junk-after", whole + b"junk" * 8, "junk after")
    yield case(
        "zstd",
        seven(Seven("a", A), method=b"\x04\xf7\x11\x01", packed=b"\x28\xb5\x2f\xfd" + bytes(9)),
        "zstd as others write it: unsupported",
        status="unsupported",
        difference="whole-only",
        missing=("a",),
    )
    yield case(
        "encrypted",
        made("7zz a -psecret x.7z a.txt"),
        "encrypted",
        status="encrypted",
        difference="encrypted",
        missing=("a.txt",),
    )
    yield case(
        "encrypted-names", made("7zz a -psecret -mhe=on x.7z a.txt"), "encrypted names", status="encrypted"
    )
    yield case(
        "self",
        seven(Seven("a.7z", A), Seven("z", B)),
        "member named as the archive",
        status="unsafe",
        difference="self",
    )


def _name_cases() -> Iterator[Case]:
    """Traps that lie in the archive's own name."""
    one = zipped(Zipped(b"m", A))
    for index, name in enumerate(
        (
            "-x.zip",
            "-osub.zip",
            "@list.zip",
            "a*.zip",
            "a?.zip",
            "a b.zip",
            "new\nline.zip",
            "a:b.zip",
            "a\\b.zip",
            "a[1].zip",
            "$(x).zip",
        )
    ):
        yield Case(
            "name",
            f"zip-{index}",
            name,
            one,
            "odd archive names",
            difference="command-line" if name[0] in "-a" and set(name) & set("-*?") else None,
        )
    for index, name in enumerate(
        (
            "a:b.tar",
            "2024-01-01T12:00.tar",
            "-x.tar",
            "--help.tar",
            "a b.tar",
            "ü.tar",
            ".tar",
            "x.tar.part",
            "data.tarball",
        )
    ):
        yield Case(
            "name",
            f"tar-{index}",
            name,
            PLAIN,
            "odd archive names",
            difference="command-line" if ":" in name else None,
        )
    for index, name in enumerate(
        ("A.TAR", "A.ZIP", "a.tgz", "a.bz2", "a.zip.part", "a.7z.001", "tar", "a.rar")
    ):
        yield Case("name", f"none-{index}", name, PLAIN, "no rule applies", status="no-rule")
