"""Mirror `train_data/` and `group_data/` to a space whose server extracts archives, and know what it will do.

The parts, from the edge inwards:

* `cli` parses and renders; each verb calls one function below it.
* `sync` is scan (`scan`, I/O) → plan (`plan`, pure) → execute (`execute`, I/O); `watch` feeds it with settled paths.
* `transports` reach a space (FTP, SFTP, a mounted folder, RAM); `profile` knows what the space does with an archive.
* `extract` parses an archive into a plan and carries it out; `preview` prints the same plan; `server` and `agent` run it.
* `rules` decides by name alone which tool a server runs; every name made here that must not trigger comes from there.
* `state` holds what both sides last agreed on; `manifest` which archive produced which paths (`iqeval` reads it).

Imports go downwards only; `lint-imports` holds that. This file imports nothing, so that any part loads alone.
"""

__version__ = "0.1.0"
