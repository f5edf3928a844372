"""The canonical search space: `SearchSpace`, the kinds of parameters in it, their laws, and its JSON form."""

from hpcompat.space.search_space import SearchSpace

__all__ = ["SearchSpace"]
