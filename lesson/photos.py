"""Collect photographs of birds and mammals in photos/, one folder for each class: python3 photos.py.

They are those of Debian's package tuxpaint-stamps-default, about 100 of them.
"""

import shutil
import sys
from pathlib import Path

STAMPS = Path("/usr/share/tuxpaint/stamps/animals")
CLASSES = {"bird": ["birds"], "mammal": ["mammals", "marsupials"]}
PHOTOS = Path("photos")
MISSING = (
    f"{PHOTOS}/ is missing. On your computer, with Debian or Ubuntu: sudo apt-get install tuxpaint-stamps-default && "
    "python3 photos.py. Otherwise, put your own photographs into folders such as photos/bird and photos/mammal."
)


def collect(stamps: Path = STAMPS, photos: Path = PHOTOS) -> int:
    """Copy the photographs and return their number; 0 if the package is not installed."""
    found = [
        (name, path)
        for name, folders in CLASSES.items()
        for folder in folders
        for path in sorted((stamps / folder).rglob("*.png"))
        if not {"cartoon", "toys"} & {*path.parts}
    ]
    for name, path in found:
        (photos / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, photos / name / path.name)
    return len(found)


if __name__ == "__main__":
    if PHOTOS.exists():
        sys.exit(f"{PHOTOS}/ already exists; nothing was copied")
    count = collect()
    if not count:
        sys.exit(MISSING)
    print(f"copied {count} photographs to {PHOTOS}/")
