"""Names of a grid in braces, in the arguments of a job; the node replaces them for each task.

Only the names of the grid in braces are replaced: every other brace is the script's own, as in a JSON argument.
"""

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence

from cli.arrays.grids import variable_of
from infra.errors import UsageError

BRACED = re.compile(r"(?<!\$)\{([A-Za-z][A-Za-z0-9_.-]{0,39})\}", re.ASCII)


def check_placeholders(command: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names in braces that are not the grid's; raises UsageError for one that looks mistyped."""
    strange = [name for name in find_names(command) if name not in names]
    for name in strange:
        near = difflib.get_close_matches(name.lower(), [each.lower() for each in names], 1)
        if near:
            meant = next(each for each in names if each.lower() == near[0])
            raise UsageError(
                f"the grid has no name '{name}'; did you mean {{{meant}}}?", f"--grid sets: {', '.join(names)}"
            )
    return strange


def find_names(command: Sequence[str]) -> list[str]:
    """Return each name in braces once."""
    return list(dict.fromkeys(found[1] for word in command for found in BRACED.finditer(word)))


def check_shell(command: Sequence[str], tasks: Sequence[Mapping[str, str]]) -> None:
    """Raise UsageError if a value in a shell command would mean something to the shell."""
    if tuple(command[:2]) != ("bash", "-c"):
        return
    used = find_names(command)
    for name, value in ((name, values[name]) for values in tasks for name in used if name in values):
        if shlex.quote(value) != value:
            raise UsageError(
                f"the value '{value}' of {name} has characters that the shell would read",
                f'write "${variable_of(name)}" instead of {{{name}}} in the command',
            )
