"""`retrieval compact`: give back space."""

from retrieval.cli.index_folder import open_index
from retrieval.cli.options import Folder, Quiet, Verbose
from retrieval.cli.output import put


def compact(index: Folder = None, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Give back the space of removed pictures."""
    with open_index(index) as opened:
        before = opened.info().bytes
        opened.compact()
        put(f"{before / 1e6:.1f} MB before, {opened.info().bytes / 1e6:.1f} MB now")
