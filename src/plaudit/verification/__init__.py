"""One reward for one text: is it so, here and elsewhere?

`verify.verify` is the road: rows to score (`rows`), the model against itself (`alone`), against
whatever else serves it (`peers`, one file each), and where the two part, why (`causes`).
"""
