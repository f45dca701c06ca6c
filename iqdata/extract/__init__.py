"""What the server's `tar` and `7z` make of an archive: read its headers, plan where each member lands, carry it out.

`model` holds the values, `mapping` says where a member lands (per tool), the readers parse one format each, `engine`
ties them together, and `writer` alone creates files. A preview first tries a `glance`: archives of nothing but ordinary
files and folders are planned column by column; whatever is odd goes through the `walk`, member by member.

Nothing here asks for a password, recurses or deletes.
"""
