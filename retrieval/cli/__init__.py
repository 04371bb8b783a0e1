"""The command line: each command is one call of the library and the presentation of its result.

A command line is read by `app` and runs the command of that name; every command has a module of its own. Options that
several commands share are in `options`. The index is found by `find_index`, results are written by `results` and
`printing`, and everything that goes wrong is told by `errors`.

Results go to stdout; notes, progress and errors go to stderr. Exit codes:

    0    done, or something was found
    1    nothing found (`query`), a damaged index (`verify`), unreadable files (`index --strict`, `classify`), or no
         images to make an index of (`index`)
    2    an error
    130  interrupted with Ctrl-C
    141  the program that read stdout has ended
"""

__all__ = ["app", "main", "printing"]


def main() -> None:
    """Run the command line of this process and exit."""
    from retrieval.cli.app import main as run  # the face of the folder stays cheap to import

    run()
