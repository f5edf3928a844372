"""The cost of hpcompat, compared with the alternatives: `python -m benchmarks`, or `make bench`.

Each module measures one thing and yields `Row`s; a figure is the ratio of two times of one run.
"""
