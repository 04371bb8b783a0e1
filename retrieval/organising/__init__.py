"""Acting on files whose content is kept elsewhere, so that every act can be undone.

A `plan` says what shall be done with which file, and which file stays. `acting` carries a plan out. Before each act it
looks at the files again (`rules`) and writes to the `journal` what it is about to do. `steps` does it. After a kill,
`acting` finds out from the disk what happened. `undo` reverts what was done.
"""

__all__ = ["acting", "journal", "plan", "rules"]
