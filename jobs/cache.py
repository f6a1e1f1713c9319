"""List or remove cached images of earlier training runs: python -m jobs.cache ls or rm."""

from datetime import UTC, datetime

from .program import Parser, number, run_program, say


def main() -> None:
    """Run the program."""
    parser = Parser(prog="jobs.cache", description="List or remove cached data sets.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("ls", help="list cached data sets, most recently used first")
    removal = actions.add_parser("rm", help="remove cached data sets, least recently used first")
    removal.add_argument(
        "--keep-gb", type=number(float, 0), default=0.0, help="how much to keep, in GB [default: nothing]"
    )
    asked = parser.parse_args()
    if asked.action == "ls":
        run_program("jobs.cache", show)
    else:
        run_program("jobs.cache", lambda: remove(asked.keep_gb))


def show() -> None:
    """Print when each cached data set was last used, its size and its path."""
    from .images.cache import FOLDER, TOTAL_BYTES, list_files

    files = list_files(FOLDER)
    for path, info in files:
        used = datetime.fromtimestamp(info.st_mtime, UTC).astimezone()
        say(f"{used:%Y-%m-%d %H:%M}  {info.st_size / 1e9:8.3f} GB  {path}")
    total_bytes = sum(info.st_size for _, info in files)
    say(f"{len(files)} cached data sets, {total_bytes / 1e9:.3f} of {TOTAL_BYTES / 1e9:g} GB")


def remove(keep_gb: float) -> None:
    """Remove cached data sets until the rest has at most this size."""
    from .images.cache import FOLDER, trim

    say(f"freed {trim(FOLDER, int(keep_gb * 1e9)) / 1e9:.3f} GB")


if __name__ == "__main__":
    main()
