"""How fast the server starts and answers, beside a bare server of the SDK measured in the same run.

Absolute figures drift with whatever else the machine does, so the two servers take turns and the ratios are what
counts. Run it by `make bench`, or `python -m benchmarks --help`.
"""
