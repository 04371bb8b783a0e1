"""What an index keeps: rows in SQLite and vectors in segments, which change together, and only by a commit.

    Change -> commit.Store.commit -> a segment, then rows and refs in one transaction -> COMMIT
    commit.Store.reading -> view.View (one committed state: its rows and vectors) -> whoever asks

`records` are the rows as objects. `claims` decides which root a folder belongs to. `facts`, `artefacts`, `settings` and
`tag_store` keep what is derived. `verify` finds damage and `repair` mends it. The wall: no other folder runs SQL, and
none knows the names of files or what a ref looks like. `sqlite` is the SEAM of the dialect.
"""

__all__ = [
    "artefacts",
    "claims",
    "commit",
    "facts",
    "records",
    "repair",
    "rows",
    "settings",
    "tag_store",
    "verify",
    "view",
]
