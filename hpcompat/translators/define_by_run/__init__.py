"""The search space inside a define-by-run function: `def suggest(trial): …; return params`.

| room | |
|---|---|
| `finding` | `space_of`: a function's space, checked against the function |
| `exploring` | which draws decide what else is suggested and returned |
| `conditions` | what the runs so far say of each entry's conditions |
| `replaying` | the function called with chosen draws, and what contradicts itself from run to run |
| `tracing` | one call: the trial that the function gets |
| `returned` | the dict that came back: draws and constants by path |
| `watching` | draws that remember what they are compared with |
"""

from hpcompat.translators.define_by_run.builder import space_of

__all__ = ["space_of"]
