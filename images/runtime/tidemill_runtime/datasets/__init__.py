"""Data sets by URI: where they are, which revision they have, and what they look like as a table.

`errors` is what every module here raises; `sources` finds files, revisions and copies them; `tables`
parses them; `expectations` judges the table. Nothing here trains or knows of runs.
"""
