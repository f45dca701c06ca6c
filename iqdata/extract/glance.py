"""A plan at one glance, for archives of ordinary members; None for all others, which the walk takes member by member.

Refuses compressed tars: their time goes into decoding. Opens a file by its content exactly as `opening` does.
"""

import dataclasses

from iqdata.extract.detect import HEAD_BYTES, SEVENZIP_MAGIC, codec_of, is_tar
from iqdata.extract.model import Limits
from iqdata.extract.ordinary import Members, plan_in_bulk
from iqdata.extract.ordinary_tar import tar_members
from iqdata.extract.ordinary_zip import zip_members
from iqdata.extract.source import RawFile
from iqdata.extract.table import EntryTable
from iqdata.extract.zip import LOCAL, ZipReader
from iqdata.rules import Tool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What the tool makes of an archive in which everything is well.

    Attributes:
        content: what the file really holds, in words.
        warnings: the reader's.
    """

    entries: EntryTable
    content: str
    warnings: tuple[str, ...]


def glance(source: RawFile, tool: Tool, *, name: str, limits: Limits) -> Glance | None:
    """Return the plan of an archive of ordinary members, None where the walk has to look.

    Args:
        source: the file.
        tool: the tool that the name chose.
        name: its base name.
        limits: what it may cost; what is over one is left to the walk.
    """
    head = source.at(0, HEAD_BYTES)
    members: Members | None = None
    content = ""
    if tool is Tool.SEVENZIP and head.startswith(SEVENZIP_MAGIC):
        # Imported here because few archives need it, and its codecs take longer to import than most previews.
        from iqdata.extract.ordinary_sevenzip import sevenzip_members
        from iqdata.extract.sevenzip import SevenZipReader

        reader = SevenZipReader(source, max_dictionary_bytes=limits.max_dictionary_bytes, meter=_unmetered)
        content, members = "7z", sevenzip_members(reader)
    elif is_tar(head) and codec_of(head) is None:
        content, members = "tar", tar_members(source)
    elif tool is Tool.SEVENZIP and head.startswith(LOCAL):
        zip_reader = ZipReader(source, max_dictionary_bytes=limits.max_dictionary_bytes)
        content, members = "zip", zip_members(source, zip_reader)
    if members is None:
        return None
    entries = plan_in_bulk(members, tool, archive_name=name, limits=limits)
    if entries is None or source.has_changed():
        return None
    return Glance(entries=entries, content=content, warnings=tuple(members.warnings))


def _unmetered(_size: int) -> None:
    """Only the header is decoded, which has a limit of its own."""
