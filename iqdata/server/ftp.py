"""The parts of pyftpdlib that the space builds on, imported in one place.

It rests on asyncore, which Python 3.11 announces as deprecated; on later versions its own dependency carries it.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyftpdlib.exceptions import FilesystemError
    from pyftpdlib.exceptions import _RetryError as RetryLater
    from pyftpdlib.filesystems import AbstractedFS
    from pyftpdlib.handlers import DTPHandler, FTPHandler, TLS_DTPHandler, TLS_FTPHandler
    from pyftpdlib.handlers.ftp.dispatchers import PassiveDTP
    from pyftpdlib.handlers.ftps.ssl import SSLConnectionMixin
    from pyftpdlib.ioloop import AsyncChat, IOLoop
    from pyftpdlib.servers import FTPServer

__all__ = [
    "AbstractedFS",
    "AsyncChat",
    "DTPHandler",
    "FTPHandler",
    "FTPServer",
    "FilesystemError",
    "IOLoop",
    "PassiveDTP",
    "RetryLater",
    "SSLConnectionMixin",
    "TLS_DTPHandler",
    "TLS_FTPHandler",
]
