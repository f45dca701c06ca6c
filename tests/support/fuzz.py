"""Damaged copies of good archives, and the judgement on what an engine leaves of them."""

import random
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from iqdata.extract.engine import extract, inspect
from tests.support.archives import (
    Seven,
    Zipped,
    bz,
    gz,
    seven,
    tar,
    tar_file,
    tar_folder,
    tar_link,
    xz,
    zipped,
)
from tests.support.realtools import tree

TEXT = b"".join(b"%d,%d,%d\n" % (index, index * 7 % 13, index * index % 101) for index in range(300))
NOISE = random.Random(5).randbytes(900)


def samples() -> dict[str, bytes]:
    """One small archive of each kind, by the name it gets."""
    from backports import zstd

    plain = tar(
        tar_folder(b"d/"),
        tar_file(b"d/a.csv", TEXT),
        tar_file(b"n.bin", NOISE),
        tar_link(b"l", b"n.bin"),
        tar_file(b"z", b"end\n"),
    )
    options = {zstd.CompressionParameter.checksum_flag: 1}
    return {
        "s.tar": plain,
        "s.tar.gz": gz(plain),
        "s.tar.bz2": bz(plain),
        "s.tar.xz": xz(plain),
        "s.tar.zst": zstd.compress(plain, options=options),
        "multi.tar.gz": gz(plain[:2048]) + gz(plain[2048:]),
        "s.csv.gz": gz(TEXT),
        "n.gz": gz(TEXT, name=b"stored.csv", mtime=1_400_000_000),
        "s.csv.xz": xz(TEXT),
        "s.csv.gz2": bz(TEXT),
        "s.zip": zipped(Zipped(b"d/", mode=0o40755), Zipped(b"d/a.csv", TEXT, 8), Zipped(b"n.bin", NOISE), Zipped(b"z", b"end\n", 12)),
        "d.zip": zipped(Zipped(b"a.csv", TEXT, 8, descriptor=True), Zipped(b"z", b"end\n", descriptor=True)),
        "s.7z": seven(Seven("d", None), Seven("d/a.csv", TEXT), Seven("n.bin", NOISE), Seven("e", b"")),
    }  # fmt: skip


@dataclass
class Tally:
    """What was tried and what came of it; everything but `tried` and `statuses` must stay empty."""

    tried: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    escaped: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def bad(self) -> list[str]:
        return [*self.wrong, *self.raised, *self.escaped, *self.left]


class Judge:
    """Extracts variants in a folder of its own and compares with what the whole archive holds."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.tally = Tally()

    def truth(self, name: str, data: bytes) -> dict[str, tuple]:
        folder = self._fresh()
        (folder / name).write_bytes(data)
        result = extract(folder / name)
        assert result.status.value == "ok", (name, result)
        (folder / name).unlink()
        return tree(folder, times=False)

    def _fresh(self) -> Path:
        shutil.rmtree(self.place, ignore_errors=True)
        folder = self.place / "around" / "in"
        folder.mkdir(parents=True)
        return folder

    def judge(self, label: str, name: str, data: bytes, truth: dict[str, tuple]) -> None:
        """Extract one variant; note what is not as it must be."""
        folder = self._fresh()
        (folder / name).write_bytes(data)
        tally = self.tally
        tally.tried += 1
        try:
            plan = inspect(folder / name)
            result = extract(folder / name)
        except Exception as exc:  # noqa: BLE001  # whatever is raised is what the test looks for
            tally.raised.append(f"{label}: {exc!r}")
            return
        tally.statuses[result.status.value] = tally.statuses.get(result.status.value, 0) + 1
        del plan
        if (folder / name).read_bytes() != data:
            tally.wrong.append(f"{label}: the archive was changed")
        (folder / name).unlink()
        contents = {facts[3] for facts in truth.values() if facts[0] == "file"}
        for path, facts in tree(folder, times=False).items():
            if "iqdata-stage" in path:
                tally.left.append(f"{label}: {path}")
            # A flipped name is a whole file under another name: no format but .7z checks its names.
            elif facts[0] == "file" and facts[3] not in contents:
                tally.wrong.append(f"{label}: {path} ({len(facts[3])} bytes, {result.status.value})")
            elif facts[0] == "file" and path in truth and truth[path][3] != facts[3]:
                tally.wrong.append(f"{label}: {path} has another file's content")
        around = [path for path in tree(self.place, times=False) if not path.startswith("around")]
        siblings = [path.name for path in (self.place / "around").iterdir() if path.name != "in"]
        tally.escaped.extend(f"{label}: {path}" for path in [*around, *siblings])


def cuts(data: bytes, *, step: int = 1) -> Iterator[tuple[str, bytes]]:
    for length in range(0, len(data), step):
        yield f"cut at {length}", data[:length]


def flips(name: str, data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Flip one bit at random places; of a plain tar only in headers, because its content has no checksum at all."""
    draw = random.Random(f"{name} {seed}")
    places = (
        range(len(data))
        if not name.endswith(".tar")
        else [at for at in range(len(data)) if _in_header(data, at)]
    )
    for _ in range(count):
        at, bit = draw.choice(places), draw.randrange(8)
        changed = bytearray(data)
        changed[at] ^= 1 << bit
        yield f"bit {bit} at {at}", bytes(changed)


def _in_header(data: bytes, at: int) -> bool:
    block = data[at // 512 * 512 :][:512]
    return block[257:262] == b"ustar"


def noise(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Random bytes behind each signature."""
    draw = random.Random(seed)
    heads = (
        b"",
        b"PK\3\4",
        b"7z\xbc\xaf\x27\x1c\0\4",
        b"\x1f\x8b\x08\0",
        b"\xfd7zXZ\0\0\4",
        b"BZh9",
        b"\x28\xb5\x2f\xfd",
        b"\x1f\x9d\x90",
    )
    for index in range(count):
        yield f"noise {index}", draw.choice(heads) + draw.randbytes(draw.randrange(600))


def field_lies(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Put extreme numbers over every aligned 4 and 8 bytes of the first and last 600: sizes, counts, offsets."""
    for at in [*range(0, min(600, len(data) - 8), 4), *range(max(0, len(data) - 600), len(data) - 8, 4)]:
        for value in (0, 0x7FFFFFFF, 0xFFFFFFFE):
            yield f"{value:x} at {at}", data[:at] + struct.pack("<L", value) + data[at + 4 :]
