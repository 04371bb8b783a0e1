"""Results as files to look at: `report` says what is shown, and two forms of it are written.

    matches, groups, clusters, … -reports-> Report -pages-> one HTML file, with all pictures in it
                                                   -sheets-> one picture with all pictures

The templates and the style are those of the page of the server, too.
"""

__all__ = ["pages", "report", "reports", "sheets"]
