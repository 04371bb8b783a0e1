"""Files of pictures, and what callers hand in, become upright RGB pixels of the size that a network wants.

A `source` lists the files of a root and opens them: `scan` walks through a folder, without what `excludes` leave out.
`reading` gets the bytes of one file, within limits. `formats` tells from these bytes whether they are a picture that
can be read, and `decode` makes pixels of them: over white, in sRGB, scaled. `given` makes pixels of a PIL image or an
array. Whatever is wrong with a picture is raised as `UnreadableImage`, with a reason for a person.
"""

__all__ = ["decode", "excludes", "formats", "given", "reading", "scan", "source"]
