"""Wheels for tests, made here: nothing is downloaded."""

import zipfile
from collections.abc import Sequence
from pathlib import Path


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    needs: Sequence[str] = (),
    command: str = "",
    body: str = "",
    script: str = "",
) -> Path:
    """A wheel of one module that knows its version."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"VERSION = {version!r}\n{body}")
        requires = "Provides-Extra: runtime\n" + "".join(f"Requires-Dist: {need}\n" for need in needs)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        if command:
            wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{command} = {name}:main\n")
        if script:
            program = zipfile.ZipInfo(f"{name}-{version}.data/scripts/{name}")
            program.external_attr = 0o100755 << 16  # pip looks for a regular file with x bits
            wheel.writestr(program, script)
        wheel.writestr(f"{info}/RECORD", "")
    return path
