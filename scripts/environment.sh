# Sourced by the scripts beside it: a .venv that holds this checkout with some extras, made when it is not there yet.
#
# A stamp file per set of extras remembers pyproject.toml, constraints.txt and the interpreter they were installed for, so
# that only a change of these installs again. It is written last: an interrupted installation is done over.
#
# PYTHON chooses the interpreter (default: the first of python3, python3.14 … python3.11 that is new enough).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"

fail() {
  echo "selfrep: $*" >&2
  exit 2
}

version_of() { "$1" --version 2>/dev/null || echo "not there"; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    new_enough "$PYTHON" || fail "PYTHON must name a Python of at least 3.11; $PYTHON is $(version_of "$PYTHON")."
    echo "$PYTHON"
    return
  fi
  local candidate
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.11 or newer is needed; python3 is $(version_of python3). Install one, or set PYTHON to its path."
}

make_venv() { # python
  rm -rf "$venv"
  if "$1" -c 'import ensurepip' 2>/dev/null; then
    "$1" -m venv "$venv"
  elif command -v uv >/dev/null; then # Debian keeps ensurepip in a package of its own
    uv venv --quiet --seed --python "$1" "$venv"
  else
    fail "$1 cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv"
  fi
}

ensure_environment() { # extras, such as "figures" or "figures,notebook"
  local python stamp wanted
  stamp="$venv/selfrep-$1.stamp"
  wanted="$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum) ${PYTHON:-}"
  if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  python=$(find_python)
  if ! new_enough "$venv/bin/python" || [ -n "${PYTHON:-}" ]; then
    make_venv "$python"
  fi
  echo "selfrep: installing into $venv (about a minute, once)" >&2
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --editable "$root[$1]" --constraint "$root/constraints.txt" >&2
  echo "$wanted" >"$stamp"
}
