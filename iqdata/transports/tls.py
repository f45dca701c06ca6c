"""What makes a TLS server believed: a certificate authority, or one pinned certificate.

Refuses unverified encryption: it would keep the password from an onlooker and hand it to whoever stands in between.
"""

import hashlib
import hmac
import ssl
from pathlib import Path

import msgspec

from iqdata.errors import ConfigError, ConnectFailed


class TlsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to check a server's certificate.

    Attributes:
        ca_file: certificates to trust instead of the system's (`--tls-ca`).
        fingerprint: SHA-256 of the one certificate to trust, in hex, with or without colons; then neither issuer nor
            name nor date matter.
    """

    ca_file: Path | None = None
    fingerprint: str | None = None


SYSTEM_TRUST = TlsOptions()


def make_context(options: TlsOptions) -> ssl.SSLContext:
    """Return a context for control and data connections alike.

    Raises:
        ConfigError: the file with certificates cannot be read, or the fingerprint is none.
    """
    if options.fingerprint is not None:
        normal_fingerprint(options.fingerprint)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # `check_pin` is the check
    else:
        try:
            context = ssl.create_default_context(cafile=str(options.ca_file) if options.ca_file else None)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(f"certificates in {options.ca_file}: {exc}; give a file in PEM form") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def normal_fingerprint(text: str) -> str:
    """Return a fingerprint as 64 hex digits.

    Raises:
        ConfigError: it is no SHA-256.
    """
    digits = text.removeprefix("SHA256:").removeprefix("sha256:").replace(":", "").replace(" ", "").lower()
    if len(digits) != 64 or any(char not in "0123456789abcdef" for char in digits):
        raise ConfigError(f"certificate fingerprint {text!r} is no SHA-256 in hex (64 digits)")
    return digits


def fingerprint_of(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate in DER form as people compare it: pairs with colons."""
    digits = hashlib.sha256(certificate).hexdigest().upper()
    return ":".join(digits[at : at + 2] for at in range(0, 64, 2))


def check_pin(sock: ssl.SSLSocket, options: TlsOptions) -> None:
    """Compare the peer's certificate with the pinned one, where one is.

    Raises:
        ConnectFailed: it is another certificate.
    """
    if options.fingerprint is None:
        return
    certificate = sock.getpeercert(binary_form=True) or b""
    found = hashlib.sha256(certificate).hexdigest()
    if not hmac.compare_digest(found, normal_fingerprint(options.fingerprint)):
        raise ConnectFailed(
            f"the server's certificate has the fingerprint {fingerprint_of(certificate)}, not the pinned one;"
            " ask the organizer whether it was changed, and pin the new one if so",
            op="connect",
        )


def certificate_problem(exc: ssl.SSLError, *, where: str, fingerprint: str | None) -> ConnectFailed:
    """Return what a failed check of a certificate means to the user."""
    why = exc.verify_message if isinstance(exc, ssl.SSLCertVerificationError) else (exc.reason or str(exc))
    pin = f" (its SHA-256 fingerprint is {fingerprint})" if fingerprint else ""
    if isinstance(exc, ssl.SSLCertVerificationError):
        what_next = "if the organizer confirms the fingerprint, pin it (tls_fingerprint), or give the authority's file (--tls-ca)"
    else:
        what_next = "check scheme and port: ftpes:// begins in clear on port 21, ftps:// is TLS from the first byte on port 990"
    return ConnectFailed(f"TLS with {where}: {why}{pin}; {what_next}", op="connect", reply=str(why))
