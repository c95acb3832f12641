#!/bin/sh
# Sets up .venv with everything that tutelage needs. Run by `make setup`; safe to run again.
#   EXTRA=cpu (default) or gpu; PYTHON=python3.11 to choose an interpreter.
set -eu

EXTRA=${EXTRA:-cpu}
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1' 2>/dev/null ||
    .venv/bin/python -m pip install 'uv>=0.9,<1'

# uv reads its own variable for extra wheels; take pip's where only that is set.
if [ -z "${UV_FIND_LINKS:-}" ] && [ -n "${PIP_FIND_LINKS:-}" ]; then
    UV_FIND_LINKS=$PIP_FIND_LINKS
    export UV_FIND_LINKS
fi
UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300}
export UV_HTTP_TIMEOUT
install() { .venv/bin/uv pip install --quiet --python .venv/bin/python "$@"; }

if [ "$EXTRA" = cpu ]; then
    # The CPU build of torch is not on PyPI. A local wheel directory is tried first, then PyTorch's own index.
    install 'torch==2.13.0+cpu' 2>/dev/null || install --torch-backend cpu 'torch==2.13.0'
    install --override cluster/overrides.txt --override cluster/overrides-cpu.txt --editable '.[cpu,dev]'
else
    install --torch-backend auto --override cluster/overrides.txt --editable ".[$EXTRA,dev]"
fi
touch .venv/.ready
