"""`medreport completion`: the script that makes a shell complete commands, options and names.

`python -m emgecg_cli.commands.completion FOLDER` writes all of them there, as `make completions` does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.completion import get_completion_script

from emgecg_cli.core.names import unknown_name

COMPLETE_VARIABLE = "_MEDREPORT_COMPLETE"  # set by the scripts when they ask for completions
# shell -> its file under completions/, named as the shell looks for it
SHELLS = {"bash": "medreport.bash", "zsh": "_medreport", "fish": "medreport.fish"}
# zsh loads a file of its function path at the first TAB by calling it; without this, that TAB would complete nothing.
_ZSH_FIRST_CALL = '[[ $zsh_eval_context[-1] == loadautofunc ]] && _medreport_completion "$@"\nreturn 0\n'


def script(shell: str) -> str:
    """The completion script of a shell, as it lies in `completions/`; raises MedReportError for another shell."""
    if shell not in SHELLS:
        raise unknown_name("shell", shell, SHELLS)
    text = get_completion_script(prog_name="medreport", complete_var=COMPLETE_VARIABLE, shell=shell) + "\n"
    return text + _ZSH_FIRST_CALL if shell == "zsh" else text


def completion(shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", autocompletion=lambda: list(SHELLS),
                                                    help="The shell to complete in.")]) -> None:
    """Print the completion script of a shell, to be sourced or put where the shell looks for it."""
    print(script(shell), end="")


def write_scripts(folder: Path) -> None:
    """Write the script of every shell into a folder, under the name that shell looks for."""
    folder.mkdir(parents=True, exist_ok=True)
    for shell, name in SHELLS.items():
        (folder / name).write_text(script(shell), encoding="utf-8")


if __name__ == "__main__":
    write_scripts(Path(sys.argv[1]))
