"""`python -m hpcompat`: see hpcompat.cli."""

from hpcompat.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
