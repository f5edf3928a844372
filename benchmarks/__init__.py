"""What hpcompat costs, beside the alternatives: `python -m benchmarks`, or `make bench`.

Each module measures one thing, and yields `Row`s; each figure is a ratio of two times of one run.
"""
