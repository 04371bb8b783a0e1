"""Files of pictures, and pictures that callers hand in, become upright RGB pixels of the size that a network wants.

A `source` lists the files of a root and opens them. `scan` walks through a folder and skips the files that the exclude
patterns match; `excludes` adds and removes these patterns. `reading` gets the bytes of one file, within limits.
`formats` tells from the bytes whether they are a picture that can be read, and `decode` turns them into pixels: over
white, in sRGB, scaled. `metadata` reads what the camera and people noted; `xmp` reads and writes one of its forms.
`given` makes pixels of a PIL image or an array. `thumbnails` makes small pictures for pages. A picture that cannot be
used raises `UnreadableImage`, with a reason for a person.
"""

__all__ = ["decode", "excludes", "formats", "given", "metadata", "reading", "scan", "source", "thumbnails", "xmp"]
