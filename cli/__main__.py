"""Where the command starts."""

import sys
from pathlib import Path

# In the repository the folders cli, infra and jobs stand at the top; in the wheel they stand inside gpujob/. Imports are plain
# in both (`from infra.model import Node`), so the folder above cli/ must be on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cli.main import main

if __name__ == "__main__":
    main()
