"""Where the command starts."""

import sys
from pathlib import Path

# In the repository the folders cli, infra and jobs stand at the top; in the wheel they stand inside gpujob/. Imports are plain
# in both (`from infra.model import Node`), so the folder above cli/ must be on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    """Run the command; Ctrl-C while it still loads is no traceback."""
    try:
        from cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
