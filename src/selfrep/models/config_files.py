"""What a model's configuration may ask for, looked at before anything is built from it.

A configuration of a few lines can ask for a billion layers, and whoever builds them is busy for ever. Which weights
there must be, and how large, transformers compares with the files itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfrep.errors import SelfrepError

FILE, MOST_LAYERS = "config.json", 1_000
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""What the families of models call the number of their layers. The deepest have a few hundred."""


def require_buildable(folder: Path) -> None:
    """Refuse a configuration that is no JSON object, or asks for less than one layer or more than `MOST_LAYERS`.

    Raises:
        SelfrepError: it names the file, and the entry.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / FILE).write_text('{"num_hidden_layers": 1000000000}')
        >>> require_buildable(folder)
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: ...config.json asks for 1000000000 layers (num_hidden_layers); ...
    """
    file = folder / FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SelfrepError(f"{file} must describe a model, but cannot be read ({error}). Fetch it again.") from None
    if not isinstance(config, dict):
        raise SelfrepError(f"{file} must describe a model, name by value; it holds something else. Fetch it again.")
    for name, layers in _layers(config):
        if isinstance(layers, bool) or not isinstance(layers, int) or not 1 <= layers <= MOST_LAYERS:
            raise SelfrepError(
                f"{file} asks for {str(layers)[:60]} layers ({name}); a model has from 1 to {MOST_LAYERS:,}. Take the "
                "file from the authors of the model."
            )


def _layers(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The numbers of layers, also those of the parts that a model is put together from."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        yield from ((name, part[name]) for name in LAYERS if part.get(name) is not None)
        waiting += [inner for inner in part.values() if isinstance(inner, dict)]
