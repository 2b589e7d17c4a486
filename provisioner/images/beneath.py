"""Opening a file by a name from the network: only beneath one root, only regular files.

The kernel does the walk (openat2 with RESOLVE_BENEATH, Linux 5.6): ``..``, absolute links and links that lead
out of the root cannot win a race that a check before the open would lose.
"""

import ctypes
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from provisioner.domain.errors import InvalidValue, Refused

_SYS_OPENAT2 = 437
"""The same number on every architecture (it is newer than the common table)."""
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Without O_NONBLOCK a FIFO would hold the caller until somebody writes."""

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Forbidden(Refused):
    """The name leads, or would lead, to something that is not served."""


class Missing(Refused):
    """Nothing is there by that name."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A regular file, open for reading. The owner closes ``fd``."""

    fd: int
    size: int
    """Bytes when it was opened."""

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.fd, length, offset)

    def close(self) -> None:
        os.close(self.fd)


class Root:
    """A directory that names from the network are resolved in."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidValue when it is no directory or the kernel lacks openat2."""
        self.path = path
        try:
            self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InvalidValue(
                "directory", path, f"cannot be opened ({error.strerror})", "create it or correct the setting"
            ) from error
        try:
            os.close(self._openat2(".", os.O_PATH | os.O_CLOEXEC))
        except OSError as error:
            os.close(self._fd)
            raise InvalidValue(
                "directory",
                path,
                f"cannot be walked safely (openat2: {error.strerror})",
                "run on Linux 5.6 or newer, and allow openat2 in the container's seccomp profile",
            ) from error

    def open(self, name: str) -> Opened:
        """Open ``name``. Leading slashes mean the root itself: GRUB and shim ask for ``/grub/grub.cfg``.

        Raises Forbidden or Missing; the reason names what was asked.
        """
        relative = name.lstrip("/")
        if "\0" in name or "\\" in name:
            raise Forbidden(f"name {name!a} holds a NUL or a backslash", "separate folders by '/'")
        if ".." in relative.split("/"):
            raise Forbidden(f"name {name!r} climbs by '..'", f"name a file beneath {self.path.name}/")
        try:
            fd = self._openat2(relative or ".", _FLAGS)
        except UnicodeEncodeError as error:
            raise Missing(f"no file {name!a}") from error
        except OSError as error:
            raise _refusal(name, error) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise Forbidden(f"{name!r} is {_what(status.st_mode)}, not a file", "name a regular file")
        return Opened(fd, status.st_size)

    @property
    def replaced(self) -> bool:
        """Another folder, or none, has its path now: what is missing here may only be on its way out."""
        try:
            return not os.path.samestat(os.fstat(self._fd), self.path.stat())
        except OSError:
            return True

    def close(self) -> None:
        os.close(self._fd)

    def _openat2(self, relative: str, flags: int) -> int:
        how = _OpenHow(flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
        fd: int = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(self._fd),
            ctypes.c_char_p(os.fsencode(relative)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return fd


def _refusal(name: str, error: OSError) -> Refused:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ENAMETOOLONG:
            return Missing(f"no file {name!r}")
        case errno.EXDEV | errno.ELOOP:
            return Forbidden(f"{name!r} is a link that leaves the served folder", "put a copy there instead")
        case errno.EACCES | errno.EPERM:
            return Forbidden(f"{name!r} may not be read by this service", "correct its owner or mode")
        case _:
            return Forbidden(f"{name!r} cannot be opened ({error.strerror})", "look at the server's log")


def _what(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((words for is_kind, words in kinds if is_kind(mode)), "a device")
