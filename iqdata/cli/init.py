"""`init`: a workspace with its settings file and areas; nothing that exists is touched."""

import click

from iqdata.cli.options import Everywhere, everywhere
from iqdata.cli.render import emit, say
from iqdata.config import CONFIG_FILE
from iqdata.errors import ConfigError
from iqdata.location import Location
from iqdata.paths import AREAS

_TEMPLATE = """\
# Settings of this workspace; every one can be overridden on the command line.

# Where the space is: ftp:// ftpes:// ftps:// sftp:// or file://. No password here: `iqdata login` keeps it.
{space}

# Paths that stay here, with the rules of .gitignore (also in a file .iqdataignore).
# exclude = ["*.tmp", "scratch/"]
"""


@click.command("init")
@everywhere
def init_command(options: Everywhere) -> int:
    """Make a workspace: iqdata.toml, train_data/ and group_data/. Never overwrites."""
    folder = options.workspace
    if options.space:
        location = Location.parse(options.space)
        if location.password is not None:
            raise ConfigError(
                "the space URL holds a password, which would end up in a file; leave it out and run `iqdata login`"
            )
        line = f'space = "{location}"'
    else:
        line = '# space = "ftp://team@space.example.org/"'
    made = []
    try:
        for area in AREAS:
            if not (folder / area).exists():
                (folder / area).mkdir(parents=True)
                made.append(f"{area}/")
        config = folder / CONFIG_FILE
        try:
            with config.open("x", encoding="utf-8") as file:
                file.write(_TEMPLATE.format(space=line))
            made.append(CONFIG_FILE)
        except FileExistsError:
            pass
    except OSError as exc:
        raise ConfigError(f"{folder} cannot be made a workspace: {exc.strerror}") from exc
    if options.json_lines:
        emit({"event": "init", "workspace": str(folder), "created": made})
    elif not options.quiet:
        say(
            f"{folder}: "
            + (f"made {', '.join(made)}" if made else "is a workspace already, nothing was changed")
        )
    return 0
