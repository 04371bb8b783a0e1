"""What an index keeps: rows in SQLite and vectors in segments, which change together, by commits alone.

    view.Change -> commit.Store.commit: a segment, then rows and refs in one transaction -> COMMIT -> sweep
    commit.Store.reading -> view.View: the rows and vectors of one committed state -> whoever asks

`records` are rows as objects, `conditions` are conditions on rows. `claims` decides which root a folder belongs to.
`facts`, `artefacts`, `settings`, `decisions` and `tag_store` have what is derived or chosen. `verify` finds damage,
`repair` corrects it. No other folder runs SQL or parses a ref; `sqlite` is the SEAM of the database's dialect.
"""

__all__ = [
    "artefacts",
    "claims",
    "commit",
    "conditions",
    "decisions",
    "facts",
    "records",
    "repair",
    "rows",
    "settings",
    "tag_state",
    "tag_store",
    "verify",
    "view",
]
