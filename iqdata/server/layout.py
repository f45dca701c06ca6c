"""Where things lie under the root of a space, and what makes a root unusable.

    ROOT/homes/<team>/train_data, group_data, .iqdata/extractions.jsonl, .iqdata/space.json
    ROOT/.iqdata-space/accounts.sqlite, journal.sqlite, audit.jsonl, tls/, stage/

What the space keeps for itself lies outside every home: no session can reach it.
"""

import dataclasses
import fcntl
import os
import re
import stat
from pathlib import Path

import msgspec

from iqdata.errors import ConfigError
from iqdata.paths import AREAS, RelPath
from iqdata.server.permissions import LOG_FOLDER

PRIVATE_FOLDER = ".iqdata-space"
PROFILE_NAME = "space.json"
LOG_NAME = "extractions.jsonl"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def check_account_name(name: str, *, what: str = "account") -> str:
    """Return `name` if it can name an account (and so a folder) or a group.

    Raises:
        ConfigError: with the rule in words.
    """
    if not _NAME.fullmatch(name) or name.casefold() == "anonymous":
        raise ConfigError(
            f"{name!r} cannot name an {what}: use 1 to 64 letters, digits and . _ @ -, starting with a letter or digit, "
            "and not 'anonymous'"
        )
    return name


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpaceProfile:
    """What `/.iqdata/space.json` tells a client, so that it need not probe.

    Attributes:
        extracts_on: what triggers the rules.
        into: where members land.
        log: where outcomes are written, as seen by the team.
        quota_bytes: what the team may hold, None without limit.
    """

    extracts_on: tuple[str, ...] = ("upload", "rename")
    keeps_archive: bool = True
    overwrites: bool = True
    into: str = "same-folder"
    log: str = f"/{LOG_FOLDER}/{LOG_NAME}"
    case_sensitive: bool = True
    mtime_step_ns: int = 1_000_000_000
    hashes: tuple[str, ...] = ("sha256", "sha1", "md5")
    quota_bytes: int | None = None
    server: str = "iqdata"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The folders of a space with a home for every team."""

    root: Path

    @property
    def homes(self) -> Path:
        """The folder with a home for each team."""
        return self.root / "homes"

    @property
    def private(self) -> Path:
        """What the space keeps for itself."""
        return self.root / PRIVATE_FOLDER

    @property
    def stage(self) -> Path:
        """Where members wait until they are complete."""
        return self.private / "stage"

    def home(self, team: str) -> Path:
        """Return the home of a team."""
        return self.homes / team

    def prepare(self) -> None:
        """Make the folders that are missing and check that nobody else can write here.

        Raises:
            ConfigError: the root is a link, belongs to somebody else, or is writable by everybody.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o755)
            seen = self.root.lstat()
            if not stat.S_ISDIR(seen.st_mode):
                raise ConfigError(f"{self.root} is no folder; give the folder itself as --root")
            if seen.st_mode & stat.S_IWOTH:
                raise ConfigError(
                    f"{self.root} can be written by every user of this machine, who could plant links there; "
                    f"run: chmod o-w {self.root}"
                )
            self.homes.mkdir(exist_ok=True, mode=0o755)
            for folder in (self.private, self.stage):
                folder.mkdir(exist_ok=True, mode=0o700)
                folder.chmod(0o700)
        except OSError as exc:
            raise ConfigError(
                f"cannot use {self.root} as the root of a space: {exc.strerror} ({exc.filename})"
            ) from exc

    def prepare_home(self, team: str, profile: SpaceProfile) -> Path:
        """Make a team's home with both areas, as on its first login, and declare what the space does."""
        home = self.home(team)
        for folder in (home, *(home / area for area in AREAS), home / LOG_FOLDER):
            folder.mkdir(exist_ok=True, mode=0o755)
        declare(home, profile)
        return home

    def view(self, team: str, owner: str) -> dict[str, Path]:
        """Return the two real folders that a model of `team` sees, by area."""
        return {"train_data": self.home(team) / "train_data", "group_data": self.home(owner) / "group_data"}


def declare(home: Path, profile: SpaceProfile) -> None:
    """Write `/.iqdata/space.json` if it says something else; readers see the old text or the new, whole."""
    wanted = msgspec.json.format(msgspec.json.encode(profile), indent=2) + b"\n"
    target = home / LOG_FOLDER / PROFILE_NAME
    try:
        if target.read_bytes() == wanted:
            return
    except FileNotFoundError:
        pass
    part = target.with_name(f"{PROFILE_NAME}-{os.getpid()}")
    part.write_bytes(wanted)
    part.replace(target)


def hold_root(layout: Layout) -> int:
    """Take the root for this process; the lock dies with it.

    Raises:
        ConfigError: another process serves it.
    """
    descriptor = os.open(layout.private / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigError(f"another process serves {layout.root} already; stop it first") from None
    return descriptor


def log_path() -> RelPath:
    """Return where the extraction log lies in a home."""
    return RelPath(f"{LOG_FOLDER}/{LOG_NAME}")
