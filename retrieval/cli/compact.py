"""`retrieval compact`: give back space."""

from retrieval import plugins
from retrieval.cli.options import DEFAULT_FOLDER, Folder, Quiet, Verbose
from retrieval.cli.output import put


def compact(index: Folder = DEFAULT_FOLDER, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Give back the space of removed pictures."""
    with plugins.load("api:Index").open(index) as opened:
        before = opened.info().bytes
        opened.compact()
        put(f"{before / 1e6:.1f} MB before, {opened.info().bytes / 1e6:.1f} MB now")
