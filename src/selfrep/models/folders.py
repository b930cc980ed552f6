"""What a folder must hold to be a model, and the hash that identifies its weights.

Damage is noticed here, before transformers reads the files. Otherwise an incomplete download shows up as a tensor error
deep inside a loader, or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from selfrep.errors import SelfrepError
from selfrep.models import cache, published

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")  # in order of preference; the second is refused by name
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
BESIDE_WEIGHTS = ("*.json", "*.model", "*.txt", "*.jinja")
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.*"
"""What peft writes. An adapter stands in a folder of its own, or in that of the model it belongs to."""


def check(folder: Path) -> Path:
    """The folder itself, if it can be a model.

    Raises:
        SelfrepError: a file that is missing, damaged or incomplete; an adapter, where peft is not installed.

    Example:
        >>> import tempfile
        >>> check(Path(tempfile.mkdtemp()))
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: A model folder must hold a config.json; ...
    """
    if has_adapter(folder):
        _check_adapter(folder)
    published.require_as_published(path for pattern in (*BESIDE_WEIGHTS, WEIGHTS[0]) for path in folder.glob(pattern))
    if is_adapter(folder):
        return folder
    if not (folder / "config.json").is_file():
        raise SelfrepError(f"A model folder must hold a config.json; {folder} does not. Name a folder that does.")
    if missing := missing_shards(folder):
        raise SelfrepError(
            f"A model folder must hold every weight file its index names; {folder} lacks {', '.join(missing)}. "
            "Copy or download the rest."
        )
    _require_weights(folder)
    if (record := cache.read_record(folder)) and (damaged := cache.damaged_files(folder, record)):
        raise SelfrepError(
            f"Files of a converted model must match the sha256 in its {cache.RECORD}; in {folder} these are missing, "
            f"damaged or changed: {', '.join(damaged)}. Copy or convert the model again."
        )
    for file in folder.glob("*.safetensors"):
        _require_whole(file)
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, sorted by name; safetensors where there are any.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "model.safetensors").write_bytes(b"weights")
        >>> [file.name for file in weight_files(folder)]
        ['model.safetensors']
    """
    files = (sorted(set(folder.glob(pattern)) - set(folder.glob(ADAPTER_WEIGHTS))) for pattern in WEIGHTS)
    return next(filter(None, files), [])


def has_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, with a model or without.

    Example:
        >>> has_adapter(Path("no such folder"))
        False
    """
    return (folder / ADAPTER).is_file()


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and not the model it belongs to.

    Example:
        >>> is_adapter(Path("no such folder"))
        False
    """
    return has_adapter(folder) and not weight_files(folder)


def base_of(folder: Path) -> str:
    """The name of the model that the adapter in a folder belongs to.

    Raises:
        SelfrepError: it names none, or cannot be read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / ADAPTER).write_text('{"base_model_name_or_path": "org/model"}')
        >>> base_of(folder)
        'org/model'
    """
    try:
        name = json.loads((folder / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise SelfrepError(f"{folder / ADAPTER} must describe an adapter, but cannot be read ({error}).") from error
    if not isinstance(name, str) or not name:
        raise SelfrepError(
            f"An adapter names the model it belongs to; {folder / ADAPTER} has no base_model_name_or_path. Write it "
            "there, or put the adapter on its model with peft and pass the PeftModel to sr.load_model."
        )
    return name


def missing_shards(folder: Path) -> list[str]:
    """Names of weight files that are in the folder's index but not in the folder.

    Raises:
        SelfrepError: an index that cannot be read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "model.safetensors.index.json").write_text('{"weight_map": {"lm_head": "2.safetensors"}}')
        >>> missing_shards(folder)
        ['2.safetensors']
    """
    missing: set[str] = set()
    for index in folder.glob("model.safetensors.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            if not all(isinstance(shard, str) and shard == Path(shard).name not in ("", "..") for shard in shards):
                raise ValueError("a weight file lies beside its index")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SelfrepError(
                f"{index} must be an index of weight files, but cannot be read. Fetch it again."
            ) from error
        missing |= {shard for shard in shards if not (folder / shard).is_file()}
    return sorted(missing)


def weights_hash(folder: Path) -> str:
    """sha256 that identifies the weights in a model folder.

    One weight file: that file's sha256, as `sha256sum` prints it. Several: the sha256 of the lines "sha256  name",
    sorted by name. A process reads each file once.

    Raises:
        SelfrepError: no weights.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "model.safetensors").write_bytes(b"weights")
        >>> weights_hash(folder) == hashlib.sha256(b"weights").hexdigest()
        True
    """
    return combined_hash({file.name: digest for file, digest in cache.file_sha256s(_require_weights(folder)).items()})


def require_complete(origin: Path, missing: Collection[str]) -> None:
    """Refuse a model of which weights are missing: transformers puts random numbers there and logs it.

    Args:
        origin: where the model was read from; missing: the names of the weights that were not there.

    Raises:
        SelfrepError: there are some.

    Example:
        >>> require_complete(Path("model"), ["lm_head.weight"])
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: model lacks 1 of the weights that its configuration asks for (lm_head.weight), ...
    """
    if missing:
        names = sorted(missing)
        raise SelfrepError(
            f"{origin} lacks {len(names)} of the weights that its configuration asks for "
            f"({', '.join(names[:3])}{', …' * (len(names) > 3)}), and random numbers would stand there. Fetch the "
            "model again, or correct its config.json."
        )


def adapter_weights(folder: Path) -> list[Path]:
    """The files that hold the weights of an adapter.

    Example:
        >>> adapter_weights(Path("no such folder"))
        []
    """
    return sorted(folder.glob(ADAPTER_WEIGHTS))


def combined_hash(digests: dict[str, str]) -> str:
    """One hash for the weight files {name: sha256}, as `weights_hash` describes.

    Example:
        >>> combined_hash({"model.safetensors": "ab12"})
        'ab12'
    """
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def record(folder: Path, name: str, source_sha256: str) -> cache.Record:
    """The record of a folder that transformers has just written.

    Args:
        name: of the model; source_sha256: what it was made from.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "model.safetensors").write_bytes(b"weights")
        >>> list(record(folder, "tiny", "ab12").files)
        ['model.safetensors']
    """
    files = {path.name: cache.read_sha256(path) for path in sorted(folder.iterdir())}
    weights = combined_hash({path.name: files[path.name] for path in weight_files(folder)})
    return cache.Record(name, source_sha256, weights, files, {lib: version(lib) for lib in ("transformers", "torch")})


def size(folder: Path) -> int:
    """The size of the folder's files in bytes.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "model.safetensors").write_bytes(b"weights")
        >>> size(folder)
        7
    """
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _require_weights(folder: Path) -> list[Path]:
    files = [file for file in weight_files(folder) if file.suffix == ".safetensors"]
    if not files and (pickled := sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)):
        raise SelfrepError(
            f"{folder} holds its weights as a pickle ({pickled[0]}), which runs code when it is read. "
            f"{_CONVERT.format('AutoModelForCausalLM')}"
        )
    if files:
        return files
    raise SelfrepError(f"A model folder must hold weights (*.safetensors); {folder} holds none.")


def _check_adapter(folder: Path) -> None:
    if find_spec("peft") is None:
        raise SelfrepError(
            f"{folder} holds an adapter ({ADAPTER}), which peft loads, and peft is not installed: pip install "
            "'selfrep[adapters]'. To study the model without its adapter, name a folder that holds the model alone."
        )
    if not adapter_weights(folder):
        raise SelfrepError(f"{folder} holds {ADAPTER} but no {ADAPTER_WEIGHTS}. Copy or download the rest.")
    if pickled := [file for file in adapter_weights(folder) if file.suffix != ".safetensors"]:
        raise SelfrepError(
            f"{folder} holds its adapter as a pickle ({pickled[0].name}), which runs code when it is read. "
            f"{_CONVERT.format('AutoPeftModelForCausalLM')}"
        )
    for file in folder.glob("adapter_model.safetensors"):
        _require_whole(file)


_CONVERT = (
    "Take the safetensors that its authors have, or, if you trust them, convert it where nothing can be lost: "
    '{}.from_pretrained("old").save_pretrained("new"). Then remove the pickle.'
)


def _require_whole(file: Path) -> None:
    """Refuse a safetensors file that is not as long as its header says, or has none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as weights:
            if odd := [name for name in weights.keys() if not name.isprintable()]:  # noqa: SIM118 (no mapping)
                raise ValueError(f"a weight is called {odd[0]!a:.60}")  # would be shown in the logs of transformers
    except (SafetensorError, OSError, ValueError) as error:
        raise SelfrepError(
            f"{file} must be a safetensors file, but cannot be read: truncated or damaged ({error}). Fetch it again."
        ) from error
