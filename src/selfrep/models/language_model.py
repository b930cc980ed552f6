"""The model under study: an untouched Hugging Face decoder, and a `TransformerBridge` on the same weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from selfrep.errors import CannotReplay, SelfrepError
from selfrep.models import adapters, bridges, devices, folders, organisms, products, resolve
from selfrep.models.attention import attending
from selfrep.models.exclusive import current_state, exclusive
from selfrep.models.layouts import layout_of
from selfrep.models.rotary import Side, side
from selfrep.models.sites import Layout, Tap
from selfrep.models.state import State, is_bare_linear, others, quantised_together, weights_digest
from selfrep.prompts.chat import ChatFormat, Variables, chat_format
from selfrep.prompts.shown import shown

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CAPACITY = ("expert_capacity", "capacity_factor", "moe_capacity_factor", "eval_capacity_factor",
            "moe_eval_capacity_token_fraction")  # fmt: skip
"""What configurations call the most tokens of a batch that an expert takes."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@shown(
    lambda self: {
        "name": self.name,
        "chat": "" if self._has_template else "plain dialogue (no chat template)",
        "layers": self.n_layers,
        "d_model": self.d_model,
        "dtype": str(self.dtype).removeprefix("torch."),
        "device": str(self.device),
        "architecture": self.layout.architecture,
    }
)
@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A decoder with its tokenizer. Make one with `load_model`.

    Attributes:
        hf: the Hugging Face model, in evaluation mode and with its weights frozen; its modules stay as they are.
        tokenizer: its fast tokenizer, or None for a model that is only fed token ids.
        name: the name that the user gave.
        layout: where this architecture has its blocks and sites.
        chat_template: a Jinja chat template that replaces the tokenizer's own, or None.
        template_vars: what the chat template reads beside the messages.
        clock: what a chat template that asks for the time is told: when the model was loaded.

    Example:
        >>> lm = load_model("organism:bleed?beta=0.4")
        >>> lm.n_layers, lm.d_model, lm.d_vocab, lm.dtype
        (6, 128, 179, torch.float32)
        >>> lm.tap("resid_post", 0)[1].end
        'out'
        >>> list(lm.logits(torch.zeros(3, lm.d_model, device=lm.device)).shape)
        [3, 179]
    """

    hf: PreTrainedModel
    tokenizer: Any
    name: str
    layout: Layout
    chat_template: str | None = None
    template_vars: Variables = field(default_factory=dict)
    clock: datetime = field(default_factory=datetime.now)
    _hashes: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        """The device of the weights; for a model spread over several devices, that of its input."""
        return devices.entrance(self.hf)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return self.hf.dtype

    @property
    def n_layers(self) -> int:
        """How many blocks it has."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """The width of the residual stream."""
        return self._embedding.shape[1]

    @property
    def d_vocab(self) -> int:
        """How many token ids the model reads."""
        return self._embedding.shape[0]

    @property
    def n_logits(self) -> int:
        """How many tokens it can say: the rows of its unembedding, which may be fewer than it reads, or more."""
        head = self.hf.get_submodule(self.layout.unembed)
        return int(getattr(head, "out_features", None) or cast(Tensor, head.weight).shape[0])

    @property
    def window(self) -> int | None:
        """The most tokens of a prompt (`max_position_embeddings`); None where it is not said or 0 (no positions), or
        where rotary tables grow with the prompt (dynamic scaling)."""
        most = getattr(self.hf.config.get_text_config(), "max_position_embeddings", None)
        return int(most) if most and not any(table > 1 for table in self.rotary_side(most + 2)) else None

    @property
    def chat(self) -> ChatFormat:
        """How conversations become its tokens. Raises SelfrepError without a tokenizer, and as `chat_format` does."""
        if self.tokenizer is None:
            raise SelfrepError(
                "Prompts are text: pass the model's tokenizer to load_model(model, tokenizer=...), or use patch_tokens."
            )
        return chat_format(self.tokenizer, self.chat_template, self.template_vars, self.clock)

    @property
    def _has_template(self) -> bool:
        return self.tokenizer is None or bool(self.chat_template or self.tokenizer.chat_template)

    @property
    def is_causal(self) -> bool:
        """Whether a token attends only to those before it (`is_causal` in a configuration of transformers)."""
        return bool(getattr(self.hf.config.get_text_config(), "is_causal", True))

    @property
    def _embedding(self) -> Tensor:
        return cast(Tensor, self.hf.get_input_embeddings().weight)

    @cached_property
    def blocks(self) -> nn.ModuleList:
        """The decoder blocks, in order."""
        blocks = self.hf.get_submodule(self.layout.blocks)
        if not isinstance(blocks, nn.ModuleList):
            kind = type(blocks).__name__
            raise SelfrepError(f"The blocks of a decoder are a ModuleList; {self.layout.blocks} is {kind}.")
        return blocks

    def tap(self, site: str, layer: int) -> tuple[nn.Module, Tap]:
        """The module that holds a site in a block, and which end of it.

        Raises:
            SelfrepError: an unknown site, or one that this architecture lacks.
        """
        tap = self.layout.tap(site)
        return tap.module(self.blocks[layer]), tap

    def logits(self, residual: Tensor, tokens: Tensor | None = None) -> Tensor:
        """The logits that follow from the residual stream after the last block.

        Args:
            residual: [..., d_model], before the final norm.
            tokens: [k] vocabulary rows to compute, or None for all of them.

        Returns:
            [..., k] or [..., d_vocab] in float32, with the architecture's own logit scale and soft cap; on the
            residual stream's device.
        """
        h = self.hf.get_submodule(self.layout.ln_final)(residual)
        head = self.hf.get_submodule(self.layout.unembed)
        if not is_bare_linear(head):
            out = head(h)
            out = out if tokens is None else out[..., tokens.to(out.device)]
        else:
            with devices.fetch_weights(head):
                weight, bias = cast(Tensor, head.weight), cast(Tensor | None, head.bias)
                if tokens is not None:
                    rows = tokens.to(weight.device)
                    weight, bias = weight[rows], None if bias is None else bias[rows]
                out = products.linear(h.to(weight.device), weight, bias)
        out = out.to(residual.device).float()
        config = self.hf.config.get_text_config()
        if scale := getattr(config, "logit_scale", None):  # Cohere
            out = out * scale
        if scaling := getattr(config, "logits_scaling", None):  # Granite
            out = out / scaling
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2
            out = torch.tanh(out / cap) * cap
        return out

    @cached_property
    def bridge(self) -> TransformerBridge:
        """All of TransformerLens, on these very weights.

        Raises:
            SelfrepError: an architecture that TransformerLens does not know, such as an organism's; a model that is
                spread over devices.
        """
        if devices.is_spread(self.hf):
            raise SelfrepError(
                f"A TransformerBridge shares weights that are all on one device; {self.name} is spread over several. "
                "selfrep itself reads and patches it; for hooks of your own use lm.hf, or load without device_map."
            )
        return bridges.build(self.hf, self.tokenizer, self.name)

    @property
    def state(self) -> State:
        """The state the model is in; what is remembered of the model holds for that state."""
        return current_state(self.hf)

    def exclusive(self) -> AbstractContextManager[State]:
        """Inside the `with` block this thread has the model to itself: see `selfrep.models.exclusive`."""
        return exclusive(self.hf, self.name)

    @property
    def weights_hash(self) -> str:
        """sha256 of the weights: of the files they came from, or of the tensors, where the model was brought in memory
        or has changed since. "unknown", with a warning, for weights whose numbers cannot be read."""
        state = self.state.weights
        if state not in self._hashes:
            try:
                self._hashes[state] = weights_digest(self.hf)
            except (RuntimeError, NotImplementedError, AttributeError, TypeError, ValueError) as error:
                warnings.warn(f"The weights of {self.name} have no hash: they cannot be read ({error}).", stacklevel=2)
                self._hashes[state] = "unknown"
        return self._hashes[state]

    @contextmanager
    def attention(self, function: Callable[..., Any]) -> Iterator[None]:
        """Inside the `with` block the model runs with this attention function (see `transformers.AttentionInterface`).

        Raises:
            CannotReplay: an architecture that computes attention in its own code, has blocks without attention, or
                whose tokens attend to those after them.

        It does so in this thread alone.
        """
        config = self.hf.config.get_text_config()
        if not self.is_causal:
            raise CannotReplay(
                f"selfrep's engine replays what follows a patch; in {self.name} tokens attend to those after them too."
            )
        kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
        if kinds or not self.hf.is_backend_compatible():
            raise CannotReplay(
                "selfrep's engine hands transformers an attention function, for full or sliding-window attention; "
                f"{self.layout.architecture} {f'has {sorted(kinds)}' if kinds else 'takes none'}."
            )
        with attending(config, function):
            yield

    def rotary_side(self, tokens: int) -> Side:
        """Which rotary tables a prompt of so many tokens has; see `selfrep.models.rotary`."""
        return side(self.hf, tokens)

    def require_replay(self) -> None:
        """Raise CannotReplay where tokens may be computed otherwise when they are run without those before them, or
        beside other prompts: by hooks of others, of which nobody knows what they do, by quantisation, or by experts
        that take so many tokens of a batch and no more."""
        config = self.hf.config.get_text_config()
        if limits := [name for name in CAPACITY if getattr(config, name, None) is not None]:
            raise CannotReplay(
                f"selfrep runs prompts side by side; the experts of {self.name} drop tokens beyond a capacity "
                f"({', '.join(limits)} in its configuration), so that a prompt depends on those beside it."
            )
        if added := others(self.hf) + quantised_together(self.hf):
            more = f" and {len(added) - 3} more" if len(added) > 3 else ""
            raise CannotReplay(
                f"selfrep replays parts of prompts, side by side; {self.name} has {', '.join(added[:3])}{more}, "
                "which may act on tokens by their place."
            )


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

    Returns:
        `LanguageModel`, in evaluation mode, its weights frozen.

    Raises:
        SelfrepError: unknown name, unreachable hub, corrupt weights, a device that does not exist; a device_map
            together with a device, without accelerate, or for a model that is not read from files; an attention that
            the model does not have, or a template variable that its chat template does not read.

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
    if device_map is not None:
        if device != "auto":
            raise SelfrepError(f"A model goes to one device or by a device_map, not both; got device={device!r} too.")
        if not isinstance(model, (str, Path)) or str(model).startswith(organisms.PREFIX):
            raise SelfrepError(
                "A device_map is for models read from files; got "
                f"{model if isinstance(model, str) else type(model).__name__}. Use accelerate.dispatch_model on the "
                "model before it is loaded, or leave device_map out."
            )
        device_map = devices.check_device_map(device_map)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32  # on by default, for the convolutions of state-space models
    if isinstance(model, str) and model.startswith(organisms.PREFIX):
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
        name, weights = str(model), None if folders.has_adapter(where) else resolve.weights_hash(where)
    else:
        hf, tokenizer = _in_memory(model, tokenizer)
        if device != "auto":
            if devices.is_spread(hf):
                raise SelfrepError(f"A model that accelerate has dispatched stays where it is; got device={device!r}.")
            hf = _moved(hf, devices.device(device))
        name, weights = str(hf.config._name_or_path or type(hf).__name__), None
    hf.eval()
    hf.requires_grad_(False)
    if getattr(hf, "is_quantized", False):
        with exclusive(hf):  # some weights are packed at their first use
            hf(torch.zeros(1, 1, dtype=torch.long, device=devices.entrance(hf)))
    if attn is not None:
        _attend(hf, attn)
    layout, variables = layout_of(hf), dict(template_vars or {})
    lm = LanguageModel(hf, tokenizer, name, layout, chat_template, variables, clock or datetime.now())
    if weights is not None:
        lm._hashes[lm.state.weights] = weights
    if variables:
        _ = lm.chat  # a variable that the template does not read is refused now
    return lm


def _attend(hf: PreTrainedModel, attn: str) -> None:
    why = "its code has an attention of its own"
    try:
        hf.set_attn_implementation(attn)
    except (ValueError, ImportError) as error:
        why = str(error)
    if hf.config._attn_implementation != attn:
        raise SelfrepError(f"The attention {attn!r} cannot be had with {type(hf).__name__}: {why}. Leave attn out.")


def _moved(hf: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    if getattr(hf, "is_quantized", False) and hf.device.type == device.type:
        return hf  # some kinds of quantised weights refuse any move
    try:
        return cast(PreTrainedModel, cast(Any, hf).to(device))  # torch's stubs lose the type of `to`
    except (ValueError, NotImplementedError) as error:
        raise SelfrepError(f"This model cannot be moved to {device}: {error} Load it where it is to stay.") from error


def _from_files(
    where: str | Path, dtype: str, tokenizer: Any, device_map: devices.DeviceMap | None, folder: str | Path | None
) -> tuple[PreTrainedModel, Any]:
    base = resolve.base_of(Path(where)) if folders.is_adapter(Path(where)) else Path(where)
    spreading = {} if device_map is None else {"device_map": device_map, "offload_folder": folder}
    try:
        hf = AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES[dtype], **spreading)
        own = (Path(where) / "tokenizer_config.json").is_file()
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(where if own else base)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise SelfrepError(f"The model at {where} cannot be read: {error}") from error
    return hf if base == Path(where) else adapters.attach(hf, Path(where)), tokenizer


def _in_memory(model: Any, tokenizer: Any) -> tuple[PreTrainedModel, Any]:
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
