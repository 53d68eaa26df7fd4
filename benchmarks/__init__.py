"""Measure how fast the server starts and responds, compared with a bare SDK server in the same run.

Absolute figures vary with the load of the machine, so the two servers take turns and only the ratios count. Run
`make bench`, or `python -m benchmarks --help`.
"""
