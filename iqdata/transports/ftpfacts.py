"""What a server offers, from FEAT and from what it answers: never from its name."""

import re

from iqdata.transports.ftpreplies import Reply, failure
from iqdata.transports.ftpsession import DateCommand, Session

_HASHES = (("sha256", "XSHA256", "SHA-256"), ("sha1", "XSHA1", "SHA-1"), ("md5", "XMD5", "MD5"))


def learn_facts(session: Session) -> None:
    """Ask FEAT, choose binary transfers and UTF-8, and note what follows for the way to work.

    The three are sent together: one round trip at the beginning of a connection.
    """
    control, facts = session.control, session.facts
    control.send(("FEAT", "TYPE I", "OPTS UTF8 ON"))
    features, binary, _utf8 = control.reply(), control.reply(), control.reply()
    if not binary.positive:
        raise failure(binary, op="choose binary transfers")
    known = parse_features(features)
    facts.features = known
    # A server that has MLST has MLSD; some name the one, some the other.
    facts.lists_facts = "MLST" in known or "MLSD" in known
    facts.resumes = "STREAM" in known.get("REST", "").upper()
    dating = []
    if "MFMT" in known:
        dating.append(DateCommand.MFMT)
    elif "MDTM" in known:
        dating.append(DateCommand.MDTM)
    if "UTIME" in known.get("SITE", "").upper() or not dating or dating[0] is DateCommand.MDTM:
        dating += [DateCommand.UTIME_LONG, DateCommand.UTIME_SHORT]
    facts.date_commands = tuple(dating)
    offered = known.get("HASH", "").upper()
    facts.hashes = tuple(name for name, command, word in _HASHES if command in known or word in offered)
    facts.probed = True


def parse_features(reply: Reply) -> dict[str, str]:
    """Return FEAT's lines as first word (capitals) → rest; empty when the server has no FEAT.

    Source: RFC 2389 section 3.2: each feature stands on a line of its own that begins with one space.
    """
    if not reply.positive:
        return {}
    known: dict[str, str] = {}
    for line in reply.text.split("\n")[1:]:
        if re.match(r"\d{3}[ -]", line):
            continue
        word, _, rest = line.strip().partition(" ")
        if word:
            key = word.upper()
            known[key] = f"{known[key]};{rest}" if key in known else rest
    return known
