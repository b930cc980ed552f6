"""Loading: a name, a folder, a file or a model in memory becomes a `LanguageModel`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from selfrep.errors import SelfrepError
from selfrep.models import adapters, bridges, config_files, devices, folders, resolve, tokenizer_files
from selfrep.models.exclusive import exclusive
from selfrep.models.language_model import LanguageModel
from selfrep.models.layouts import layout_of
from selfrep.models.loadable import attend, unloadable
from selfrep.models.outline import ORGANISM
from selfrep.prompts.chat import Variables

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    model: str | Path | PreTrainedModel | TransformerBridge = "embedded",
    *,
    tokenizer: Any = None,
    device: str = "auto",
    dtype: str = "float32",
    chat_template: str | None = None,
    template_vars: Variables | None = None,
    clock: datetime | None = None,
    attn: str | None = None,
    tf32: bool = False,
    device_map: devices.DeviceMap | None = None,
    offload_folder: str | Path | None = None,
    compile: bool = False,
) -> LanguageModel:
    """Load a model by name, or wrap one that is in memory.

    Args:
        model: "embedded" (SmolLM2-135M-Instruct), a folder, a GGUF file, a Hugging Face id, a planted model such as
            "organism:bleed?beta=0.4&seed=1", a `PreTrainedModel`, or a `TransformerBridge` (its weights are shared, not
            copied). One brought in memory is put into evaluation mode, and its weights are frozen.
        tokenizer: for a `PreTrainedModel`: its tokenizer. Needed for everything that starts from text.
        device: "auto", "cpu", "cuda", "cuda:1", "mps". A model brought in memory stays where it is unless one is named.
        dtype: "float32", "bfloat16" or "float16"; metrics are read out in float32 in any case. A model brought in
            memory keeps its own.
        chat_template: a Jinja chat template to use in place of the tokenizer's.
        template_vars: what the chat template reads beside the messages, e.g. {"date_string": "26 Jul 2024"}; see
            `lm.chat.text`. `enable_thinking` is false unless it is given.
        clock: what a chat template that asks for the time is told; now, when None.
        attn: the attention of transformers ("sdpa", "eager", "flash_attention_2", …) with which plain forward passes
            are run; its own choice, when None. What is patched is replayed with selfrep's.
        tf32: let CUDA multiply float32 matrices in TF32, which is faster and keeps ten bits of the mantissa instead of
            23. torch has this setting for the whole process only: each call sets it, on or off.
        device_map: for a model too large for one device, read from files: "auto", or which part goes where, e.g.
            {"model.layers.0": 0, "model.layers.1": "cpu", "lm_head": "disk", …}; see accelerate, which it needs. A
            model brought in memory may have been dispatched by accelerate already.
        offload_folder: where accelerate writes weights that stay on disk and are not in the model's own files.
        compile: run patched blocks through `torch.compile`, which halves what a GPU is asked to launch for a block. The
            first sweep takes a minute longer. It needs a compiler (Triton on CUDA), and is no quicker on a CPU.

    Returns:
        `LanguageModel`, in evaluation mode, its weights frozen.

    Raises:
        SelfrepError: unknown name, unreachable hub, corrupt weights, a device that does not exist; a device_map
            together with a device, without accelerate, or for a model that is not read from files; an attention that
            the model does not have, or a template variable that its chat template does not read; compile=True without
            a compiler, or for a model that is spread over devices.

    Example:
        >>> lm = load_model("organism:bleed?beta=0.4&seed=1")
        >>> lm.name, lm.n_layers
        ('organism:bleed?beta=0.4&seed=1', 6)
        >>> load_model(dtype="float8")
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: dtype is one of float32, bfloat16, float16; got 'float8'.
    """
    if dtype not in DTYPES:
        raise SelfrepError(f"dtype is one of {', '.join(DTYPES)}; got {dtype!r}.")
    if isinstance(model, (str, Path)):
        for why in unloadable(str(model), device=device, device_map=device_map, attn=attn).values():
            raise SelfrepError(why)
    elif device_map is not None:
        raise SelfrepError(
            f"A device_map is for models read from files; got {type(model).__name__}. Use accelerate.dispatch_model on "
            "the model before it is loaded, or leave device_map out."
        )
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32  # on by default, for the convolutions of state-space models
    if isinstance(model, str) and model.startswith(ORGANISM):
        from selfrep.models import organisms

        hf: PreTrainedModel = nn.Module.to(
            organisms.grow(organisms.parse(model)), devices.device(device), DTYPES[dtype]
        )
        tokenizer, name, weights = tokenizer or organisms.tokenizer(), model, None
    elif isinstance(model, (str, Path)):
        where = resolve.resolve(str(model))
        target = devices.device(device)
        hf, tokenizer = _from_files(where, dtype, tokenizer, device_map, offload_folder)
        if device_map is None:
            hf = _moved(hf, target)
        name, weights = _called(str(model)), None if folders.has_adapter(where) else resolve.weights_hash(where)
    else:
        hf, tokenizer = _in_memory(model, tokenizer)
        if device != "auto":
            if devices.is_spread(hf):
                raise SelfrepError(f"A model that accelerate has dispatched stays where it is; got device={device!r}.")
            hf = _moved(hf, devices.device(device))
        name, weights = _called(hf.config._name_or_path or type(hf).__name__), None
    hf.eval()
    hf.requires_grad_(False)
    if getattr(hf, "is_quantized", False):
        with exclusive(hf):  # some weights are packed at their first use
            hf(torch.zeros(1, 1, dtype=torch.long, device=devices.entrance(hf)))
    if attn is not None:
        attend(hf, attn)
    layout, variables = layout_of(hf), dict(template_vars or {})
    if compile:
        devices.require_compiler(hf)
    lm = LanguageModel(hf, tokenizer, name, layout, chat_template, variables, clock or datetime.now(), compile)
    if weights is not None:
        lm._hashes[lm.state.weights] = weights
    if variables:
        _ = lm.chat  # a variable that the template does not read is refused now
    return lm


def _called(name: str) -> str:
    """What a model is called: a folder or a file by its last part, since results should not tell where it lies."""
    path = Path(name).expanduser()
    return path.resolve().name if path.is_absolute() or path.exists() else name


def _moved(hf: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    if getattr(hf, "is_quantized", False) and hf.device.type == device.type:
        return hf  # some kinds of quantised weights refuse any move
    try:
        return cast("PreTrainedModel", cast(Any, hf).to(device))  # torch's stubs lose the type of `to`
    except (ValueError, NotImplementedError) as error:
        raise SelfrepError(f"This model cannot be moved to {device}: {error} Load it where it is to stay.") from error


def _from_files(
    where: str | Path, dtype: str, tokenizer: Any, device_map: devices.DeviceMap | None, folder: str | Path | None
) -> tuple[PreTrainedModel, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = resolve.base_of(Path(where)) if folders.is_adapter(Path(where)) else Path(where)
    config_files.require_buildable(base)
    for one in {Path(where), base}:
        tokenizer_files.require_bounded(one)
    places = device_map if isinstance(device_map, str | None) else dict(device_map)
    spreading = {} if places is None else {"device_map": places, "offload_folder": folder}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            base,
            dtype=DTYPES[dtype],
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **spreading,
        )
        hf, report = loaded  # a pair, which the stubs do not know
        own = (Path(where) / "tokenizer_config.json").is_file()
        if not tokenizer:
            tokenizer = AutoTokenizer.from_pretrained(where if own else base, trust_remote_code=False)
            tokenizer("a")  # some mistakes in its files show only now
    except Exception as error:  # the readers of these files raise all kinds; whichever it is, they cannot be used
        if "trust_remote_code" in str(error):
            raise SelfrepError(
                f"{where} brings code of its own, and selfrep runs no code of a model folder. If you trust it, load "
                "model and tokenizer with transformers (trust_remote_code=True) and give both to sr.load_model; what "
                "was trusted then stands in provenance.json."
            ) from error
        raise SelfrepError(
            f"The model at {where} cannot be read: {error} ({type(error).__name__}). If its files were changed, fetch "
            "them again."
        ) from error
    folders.require_complete(base, report["missing_keys"])
    return hf if base == Path(where) else adapters.attach(hf, Path(where)), tokenizer


def _in_memory(model: Any, tokenizer: Any) -> tuple[PreTrainedModel, Any]:
    from transformers import PreTrainedModel

    model = getattr(model, "_orig_mod", model)  # what torch.compile wrapped
    if isinstance(model, PreTrainedModel):
        return model, tokenizer
    if adapters.is_peft(model):
        return _in_memory(adapters.unwrap(model), tokenizer)
    from transformer_lens.model_bridge import TransformerBridge

    if isinstance(model, TransformerBridge):
        return bridges.original(model), tokenizer or model.tokenizer
    raise SelfrepError(
        "A model is 'embedded', a folder, a GGUF file, a Hugging Face id, a PreTrainedModel, a PeftModel or a "
        f"TransformerBridge; got {type(model).__name__}."
    )
