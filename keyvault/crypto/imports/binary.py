"""
Read keys and certificates in DER or PKCS#12.

A PKCS#12 file is itself DER, so its structure decides: `pkcs12` reads such a file, `der` a single key or certificate.
"""

from __future__ import annotations

from keyvault.core.ber import is_pkcs12
from keyvault.crypto.imports.der import read_der
from keyvault.crypto.imports.found import Found, Password


def read_binary(data: bytes, password: Password) -> list[Found]:
    """Return the keys and certificates in *data*; raise the errors of `read_der` and `read_pkcs12`."""
    if not is_pkcs12(data):
        return read_der(data, password)
    from keyvault.crypto.imports.pkcs12 import read_pkcs12

    return read_pkcs12(data, password)
