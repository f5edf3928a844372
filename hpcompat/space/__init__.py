"""The canonical search space: `SearchSpace`, its parameters and their distributions, and its JSON form."""

from hpcompat.space.search_space import SearchSpace

__all__ = ["SearchSpace"]
