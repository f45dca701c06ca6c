"""`iqdata.toml`, the environment and the command line → one `Settings`; and the paths of a workspace.

Refuses to guess: an unknown field, a wrong type and a workspace without areas are errors that say what to write.
"""

import enum
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from iqdata.actions import ConflictPolicy
from iqdata.errors import ConfigError
from iqdata.filters import IGNORE_FILE
from iqdata.location import Location
from iqdata.paths import AREAS

CONFIG_FILE = "iqdata.toml"

USUAL_JOBS = 8
"""Connections at once where nobody says how many: near, more of them only wait for the processor."""

FAR_JOBS = 24
"""The same where each request waits for its answer longer than it takes."""


class BundleMode(enum.Enum):
    """Whether many small files travel as one archive; the words of `--bundle`."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The fields of `iqdata.toml`."""

    space: str | None = None
    areas: list[str] = msgspec.field(default_factory=lambda: list(AREAS))
    exclude: list[str] = []
    include: list[str] = []
    jobs: int | None = None
    retries: int = 3
    timeout_s: float = 30.0
    wait_timeout_s: float = 600.0
    trash_days: int = 30
    bwlimit: str | None = None
    conflict: str = "keep-both"
    bundle: str = "auto"
    max_delete: str = "25%"
    insecure: bool = False
    tls_ca: str | None = None
    tls_fingerprint: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run is told, after file, environment and flags were put together.

    Attributes:
        workspace: absolute folder that holds the areas.
        location: the space, or None where none was named.
        named_areas: areas given by `--area`; for these a refusal is an error.
        jobs: connections at once; None leaves it to the distance.
        insecure: whether a password may travel in clear to another machine.
        tls_ca: file with certificates to trust, instead of the system's.
        tls_fingerprint: SHA-256 of the server's certificate, hexadecimal, to trust whatever its issuer.
    """

    workspace: Path
    location: Location | None = None
    areas: tuple[str, ...] = AREAS
    named_areas: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    jobs: int | None = None
    retries: int = 3
    timeout_s: float = 30.0
    wait_timeout_s: float = 600.0
    trash_days: int = 30
    bwlimit_bytes_s: int | None = None
    conflict: ConflictPolicy = ConflictPolicy.KEEP_BOTH
    bundle: BundleMode = BundleMode.AUTO
    max_delete: str = "25%"
    insecure: bool = False
    tls_ca: str | None = None
    tls_fingerprint: str | None = None

    def need_location(self) -> Location:
        """Return the space.

        Raises:
            ConfigError: none was named.
        """
        if self.location is None:
            raise ConfigError(
                f"no space is named: add --space URL, or in {self.workspace / CONFIG_FILE}:"
                ' space = "ftp://team@space.example.org/"'
            )
        return self.location


def load_settings(
    workspace: Path, *, space: str | None = None, env: Mapping[str, str] | None = None
) -> Settings:
    """Read a workspace's settings.

    Args:
        workspace: the folder; `iqdata.toml` in it is optional.
        space: a URL that wins over the file's; `IQDATA_SPACE` in `env` stands between the two.
        env: environment variables.

    Raises:
        ConfigError: the file cannot be read, is no TOML, has an unknown or ill-typed field, or the URL is wrong.
    """
    path = workspace / CONFIG_FILE
    try:
        given = msgspec.toml.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        given = _File()
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    except (msgspec.DecodeError, ValueError) as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}") from exc
    url = space or (env or {}).get("IQDATA_SPACE") or given.space
    location = Location.parse(url) if url else None
    for area in given.areas:
        if area not in AREAS:
            raise ConfigError(f"{path}: areas: {area!r} is none of {', '.join(AREAS)}")
    return Settings(
        workspace=workspace,
        location=location,
        areas=tuple(given.areas),
        exclude=(*given.exclude, *_ignore_lines(workspace)),
        include=tuple(given.include),
        jobs=given.jobs,
        retries=given.retries,
        timeout_s=given.timeout_s,
        wait_timeout_s=given.wait_timeout_s,
        trash_days=given.trash_days,
        bwlimit_bytes_s=parse_size(given.bwlimit, what="bwlimit") if given.bwlimit else None,
        conflict=parse_choice(ConflictPolicy, given.conflict, what=f"{path}: conflict"),
        bundle=parse_choice(BundleMode, given.bundle, what=f"{path}: bundle"),
        max_delete=given.max_delete,
        insecure=given.insecure,
        tls_ca=given.tls_ca,
        tls_fingerprint=given.tls_fingerprint,
    )


def need_workspace(workspace: Path) -> None:
    """Check that a folder is a workspace.

    Raises:
        ConfigError: it has neither `iqdata.toml` nor an area.
    """
    if not workspace.is_dir():
        raise ConfigError(f"{workspace} is not a folder")
    if not (workspace / CONFIG_FILE).is_file() and not any((workspace / area).is_dir() for area in AREAS):
        raise ConfigError(
            f"{workspace} is no workspace: it has neither {CONFIG_FILE} nor {' or '.join(f'{area}/' for area in AREAS)};"
            " `iqdata init --space URL` makes one, -C DIR names another folder"
        )


def find_workspace(start: Path) -> Path | None:
    """Return the nearest folder at or above `start` that is a workspace, or None."""
    for folder in (start, *start.parents):
        if (folder / CONFIG_FILE).is_file() or any((folder / area).is_dir() for area in AREAS):
            return folder
    return None


def _ignore_lines(workspace: Path) -> Sequence[str]:
    """Return the lines of `.iqdataignore`, none where there is no such file."""
    try:
        return (workspace / IGNORE_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{workspace / IGNORE_FILE} cannot be read: {exc}") from exc


E = TypeVar("E", bound=enum.Enum)


def parse_choice(kind: type[E], text: str, *, what: str) -> E:
    """Return the member of `kind` that `text` names, or say which there are."""
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(
            f"{what}: {text!r} is none of {', '.join(str(item.value) for item in kind)}"
        ) from None


_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)(?:/s)?\s*", re.IGNORECASE)
_SCALE = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def parse_size(text: str, *, what: str) -> int:
    """Return a number of bytes from `10M`, `1.5GiB`, `500k` or a plain number; prefixes count in 1024s, as in rclone.

    Raises:
        ConfigError: it is none of these; `what` names the setting.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{what}: {text!r} is no size; write 10M, 1.5G or a number of bytes")
    return int(float(match[1]) * _SCALE[match[2].lower()])
