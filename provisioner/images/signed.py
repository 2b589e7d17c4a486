"""Who signed a kernel: the certificates in a PE file, by which shim and firmware judge it under Secure Boot.

Only names are read, nothing is verified: that is the firmware's business. Source: Microsoft's "PE Format", part
"The Attribute Certificate Table".
"""

import struct

from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates
from cryptography.x509.oid import NameOID

from provisioner.images.beneath import Opened

DEBIAN = "Debian Secure Boot"
"""How the names of Debian's signing certificates begin; the certificate authority is built into its shim."""
_PE_OFFSET = 0x3C
_OPTIONAL_HEADER = 24
_CERTIFICATE_DIRECTORY = {0x10B: 128, 0x20B: 144}
"""Offset of the fifth data directory in the optional header, by its magic (PE32, PE32+)."""
_PKCS7 = 2
_LARGEST = 1 << 20


def signers(file: Opened) -> tuple[str, ...]:
    """Common names in the signatures of a PE file, in their order; empty: it is not signed, or no PE file."""
    try:
        return _names(file)
    except (struct.error, ValueError):
        return ()


def by_debian(file: Opened) -> bool:
    """Would Debian's shim take it, as far as names tell?"""
    return any(name.startswith(DEBIAN) for name in signers(file))


def _names(file: Opened) -> tuple[str, ...]:
    (header,) = struct.unpack("<I", file.read(_PE_OFFSET, 4))
    if file.read(header, 4) != b"PE\0\0":
        return ()
    optional = header + _OPTIONAL_HEADER
    (magic,) = struct.unpack("<H", file.read(optional, 2))
    if magic not in _CERTIFICATE_DIRECTORY:
        return ()
    at, size = struct.unpack("<II", file.read(optional + _CERTIFICATE_DIRECTORY[magic], 8))
    found: list[str] = []
    end = at + min(size, _LARGEST)
    while at + 8 < end:
        length, _revision, kind = struct.unpack("<IHH", file.read(at, 8))
        if length <= 8:
            break
        if kind == _PKCS7:
            for certificate in load_der_pkcs7_certificates(_der(file, at + 8)):
                names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
                found += [str(name.value) for name in names]
        at += (length + 7) & ~7
    return tuple(found)


def _der(file: Opened, at: int) -> bytes:
    """One DER sequence (X.690 §8.1.3) without the padding that may follow it."""
    tag, first = file.read(at, 2)
    if tag != 0x30 or not 0x81 <= first <= 0x83:
        raise ValueError("no DER sequence of 128 bytes or more")
    octets = first & 0x7F
    length = int.from_bytes(file.read(at + 2, octets), "big")
    return file.read(at, 2 + octets + min(length, _LARGEST))
