"""The command line: each command calls the library once and presents the result.

`app` reads a command line and runs the command that it names. Every command has a module of its own. Options that
several commands share are in `options`. `find_index` finds the index. `formats` tells how results are to be written:
`results` and `printing` write them, `screen` and `preview` for a terminal, `templates` by `--format`, and `execution`
runs commands on them. `errors` turns every error into a sentence, a hint and an exit code.

Results go to stdout; notes, progress and errors go to stderr. Exit codes:

    0    done, or something was found
    1    nothing found (`query`, `list`), a failed command (`-x`, `-X`), a damaged index (`verify`), unreadable files
         (`index --strict`, `classify`), or no images to make an index of (`index`)
    2    an error
    130  interrupted with Ctrl-C
    141  the program that read stdout has ended
"""

__all__ = ["app", "main", "printing"]


def main() -> None:
    """Run the command line of this process and exit."""
    from retrieval.cli.app import main as run  # the face of the folder stays cheap to import

    run()
