"""What the server's `tar` and `7z` make of an archive: read its headers, plan where each member lands, carry it out.

`model` holds the values, `mapping` says where a member lands (per tool), the readers parse one format each, `engine`
ties them together, and `writer` alone creates files. Nothing here asks for a password, recurses or deletes.
"""
