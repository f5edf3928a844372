"""Measure, show, and write docs/benchmarks.md: `python -m benchmarks [--smoke] [imports translating …]`."""

from __future__ import annotations

import argparse
import compileall
import os
import subprocess
import sys
import warnings
from importlib import import_module

from benchmarks import page


def main() -> None:
    """Measure the requested benchmarks, one module after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: all): {', '.join(page.NAMES)}")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs; no results are saved")
    options = parser.parse_args()
    if unknown := set(options.names) - set(page.NAMES):
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    names = options.names or page.NAMES
    if len(names) > 1 and not options.smoke:
        # one process per benchmark, because garbage collection takes longer the more a process has imported
        for name in names:
            subprocess.run([sys.executable, "-m", "benchmarks", name], check=True)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")  # the warnings of the peers
    compileall.compile_dir(page.ROOT / "hpcompat", quiet=1)  # as pip compiles the peers when it installs them
    results = {}
    for name in names:
        module = import_module(f"benchmarks.{name}")
        print(f"\n{module.TITLE}\n", flush=True)
        rows = []
        for row in module.measure(options.smoke):
            rows.append(row)
            print(page.render_table([row]).splitlines()[-1], flush=True)
        if options.smoke:
            results[name] = page.to_result(rows)
        else:
            page.save_rows(name, rows)
    if options.smoke:
        print(page.render_page(results))
    elif page.write_page():
        print(f"\n{page.PAGE_PATH.relative_to(page.ROOT)}")


if __name__ == "__main__":
    main()
