"""Entry point of the command."""

import sys
from pathlib import Path

# cli, infra and jobs are top-level folders in the repository, and inside gpujob/ in the wheel. Both import them by the same
# names (`from infra.model import Node`), so the folder above cli/ must be on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    """Run the command; Ctrl-C during startup prints no traceback."""
    try:
        from cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
