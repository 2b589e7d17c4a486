"""The system's UUID out of Get System GUID (IPMI 2.0 §22.14), whose byte order BMCs disagree on."""

from uuid import UUID


def system_uuid(raw: bytes) -> tuple[UUID | None, str]:
    """The UUID and a note if something is odd about it.

    Of the orders found in the field (SMBIOS's, RFC 4122's, IPMI's own) the one is taken that makes a real UUID:
    variant of RFC 4122, version 1 to 5. Where more than one does, or none, SMBIOS's order, the commonest, is taken.
    """
    if len(raw) != 16 or raw in (bytes(16), b"\xff" * 16):
        return None, "system UUID is blank"
    orders = (UUID(bytes_le=raw), UUID(bytes=raw), UUID(bytes=raw[::-1]))
    real = [uuid for uuid in orders if uuid.variant == "specified in RFC 4122" and uuid.version in range(1, 6)]
    if len(real) == 1:
        return real[0], ""
    note = f"byte order of the system UUID is uncertain; read as SMBIOS writes it ({raw.hex()})"
    return (real or orders)[0], note
