"""The space: an FTP server for teams that extracts what is uploaded or renamed, and the parts that `iqdata agent` shares.

`permissions` decides from values alone who may do what; `jail` is the only part that touches a team's files for a
session; `handler` speaks FTP; `autoextract` carries archives from an upload to their line in the log, through `journal`
(what must not be forgotten over a crash) and worker processes; `quota` counts what both draw; `doors` and `privileges`
are what root is needed for, and how it is given up; `app` puts it together and `space` runs it inside another program. Nothing here follows a link out of a team's home, and nothing slow runs on the event loop.
"""
