"""`retrieval compact`: free the disk space of removed images."""

from retrieval.cli.find_index import open_index
from retrieval.cli.options import Folder, Quiet, Verbose
from retrieval.cli.printing import put


def compact(index: Folder = None, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Free the disk space that removed images still take.

        retrieval compact
        retrieval compact --index /data/index_data

    The search structures are built again, in the form that `retrieval index --faiss` has set.
    """
    with open_index(index) as opened:
        before = opened.info().bytes
        opened.compact()
        put(f"{before / 1e6:.1f} MB before, {opened.info().bytes / 1e6:.1f} MB now")
