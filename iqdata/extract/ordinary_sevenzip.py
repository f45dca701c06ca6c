""".7z headers of ordinary members, taken over column by column; see `ordinary`.

Refuses (with None) links, anti items, unknown times and whatever cannot be decoded here: the full reader's.
"""

import itertools
from array import array

from iqdata.errors import ArchiveError
from iqdata.extract.members import Stored
from iqdata.extract.ordinary import NO_MODE, Members
from iqdata.extract.sevenzip import SevenZipReader, kind_and_mode, raw_name
from iqdata.extract.zip_fields import FILETIME_EPOCH


def sevenzip_members(reader: SevenZipReader) -> Members | None:
    """Return the members of a .7z, None where one is not ordinary."""
    try:
        streams, files = reader.header()
    except ArchiveError:
        return None
    chains = {id(folder.coders): folder for folder in streams.folders}
    if any(map(reader.flaw_of, chains.values())) or any(files.is_anti) or None in files.mtimes:
        return None
    facts = list(zip(files.attributes, files.has_stream, files.is_empty_file, strict=True))
    kinds = {fact: kind_and_mode(*fact) for fact in set(facts)}
    if any(kind is Stored.SYMLINK for kind, _ in kinds.values()):
        return None
    chosen = [kinds[fact] for fact in facts]
    is_folder = bytearray(kind is Stored.DIRECTORY for kind, _ in chosen)
    names = raw_name("\0".join([*files.names, ""]))
    if b"/\0" in names or any(itertools.compress(files.has_stream, is_folder)):
        return None
    contents = iter(streams.sizes)
    try:
        return Members(
            names=bytearray(names),
            is_folder=is_folder,
            sizes=array("q", [next(contents) if has_stream else 0 for has_stream in files.has_stream]),
            modes=array("h", [NO_MODE if mode is None else mode for _, mode in chosen]),
            mtimes_ns=array(
                "q", [(time - FILETIME_EPOCH) * 100 for time in files.mtimes if time is not None]
            ),
        )
    except OverflowError:
        return None
