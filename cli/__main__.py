"""Entry point of the command."""

import sys
from pathlib import Path

# cli, infra and jobs are top-level folders in the repository, and inside gpujob/ in the wheel. Both import them by the same
# names (`from infra.model import Node`), so the folder above cli/ must be on the path. Python puts that of a script there:
# cli/ itself, whose modules would hide those of the standard library that have the same name.
HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(each for each in sys.path if each != str(HERE))]


def main() -> None:
    """Run the command; Ctrl-C during startup prints no traceback."""
    try:
        from cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
