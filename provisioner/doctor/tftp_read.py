"""``python -m provisioner.doctor.tftp_read HOST PORT SECONDS FILE…``: read files as a loader would, by tftpy.

A process of its own: tftpy is not the code that serves, so the two cannot agree by accident. One JSON object a
line: ``{"file", "size", "sha256", "failed"}``.
"""

import contextlib
import hashlib
import io
import json
import logging
import sys

import tftpy


class _Sum(io.RawIOBase):
    """Takes the bytes and keeps their sum."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        block = bytes(data)  # type: ignore[call-overload]
        self.sha256.update(block)
        self.size += len(block)
        return len(block)

    def close(self) -> None:
        """tftpy closes what it filled; there is nothing to end."""


def read(host: str, port: int, seconds: float, file: str) -> dict[str, object]:
    client = tftpy.TftpClient(host, port, options={"blksize": 1432, "tsize": 0})
    into = _Sum()
    failed = ""
    try:
        client.download(file, into, timeout=seconds)
    except Exception as error:
        failed = str(error) or type(error).__name__
    finally:
        with contextlib.suppress(Exception):
            client.context.end()
    return {"file": file, "size": into.size, "sha256": into.sha256.hexdigest(), "failed": failed}


def main(argv: list[str]) -> None:
    logging.disable(logging.CRITICAL)
    host, port, seconds, *files = argv
    for file in files:
        sys.stdout.write(json.dumps(read(host, int(port), float(seconds), file)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
