"""Arguments that are seen to be sound, and in canonical form, at a glance.

Most are; `checks` has a close look at all others, and says what is wrong. Whatever passes here passes
there, unchanged.
"""

from __future__ import annotations

import sys
from typing import Any

_FINEST, _LARGEST = sys.float_info.min, sys.float_info.max
_FAR = 2**52
_FAR_LOG = 2**40
"""Logarithmic ints beyond may hold values too unlikely to be drawn."""
_LISTS, _TEXT, _WHOLE = frozenset([list, tuple]), frozenset([str]), frozenset([int])


def interval(low: Any, high: Any, log: Any) -> bool:
    """Of a Float without a step: two floats in order."""
    if type(low) is not float or type(high) is not float or not low < high <= _LARGEST:
        return False
    return (log is False and low >= -_LARGEST) or (log is True and low >= _FINEST)


def int_range(low: Any, high: Any, log: Any) -> bool:
    """Of an Int without a step: two ints in order."""
    if type(low) is not int or type(high) is not int or not low < high:
        return False
    return (log is False and low >= -_FAR and high < _FAR) or (log is True and low > 0 and high < _FAR_LOG)


def choices(values: Any, ordered: Any) -> bool:
    """Of a Categorical without weights: a list or tuple of different texts, or of different small ints."""
    if type(values) not in _LISTS or not values or type(ordered) is not bool:
        return False
    if _TEXT.issuperset(map(type, values)):
        sound = "".join(values).isascii()
    else:
        sound = _WHOLE.issuperset(map(type, values)) and min(values) > -_FAR and max(values) < _FAR
    return sound and len(set(values)) == len(values)
