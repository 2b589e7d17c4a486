"""The wheel: setuptools', with what lies beside the package in a tree put into it.

PEP 517 backend. An editable install is setuptools' own and finds all that where it is.
"""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
)

__all__ = [
    "build_editable",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
]

_BESIDE = ("migrations", "cloud_configs", "netboot_assets")
_LEFT = shutil.ignore_patterns("__pycache__", "build")


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, str] | None = None,
    metadata_directory: str | None = None,
) -> str:
    tree = Path.cwd()
    with TemporaryDirectory() as folder:
        draft = Path(folder)
        shutil.copytree(tree / "provisioner", draft / "provisioner", ignore=_LEFT)
        for name in _BESIDE:
            shutil.copytree(tree / name, draft / "provisioner" / f"_{name}", ignore=_LEFT)
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(tree / name, draft)
        os.chdir(draft)
        try:
            return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
        finally:
            os.chdir(tree)
