"""The model under study: an untouched Hugging Face decoder, and a `TransformerBridge` on the same weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from selfrep.errors import CannotReplay, SelfrepError
from selfrep.models import bridges, devices, products
from selfrep.models.attention import attending
from selfrep.models.exclusive import current_state, exclusive
from selfrep.models.quantised import rounding_inputs
from selfrep.models.rotary import Side, side
from selfrep.models.sites import Layout, Tap
from selfrep.models.state import State, is_bare_linear, others, weights_digest
from selfrep.prompts.chat import ChatFormat, Variables, chat_format
from selfrep.prompts.shown import shown

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel

CAPACITY = ("expert_capacity", "capacity_factor", "moe_capacity_factor", "eval_capacity_factor",
            "moe_eval_capacity_token_fraction")  # fmt: skip
"""What configurations call the most tokens of a batch that an expert takes."""


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
    """A decoder with its tokenizer. Make one with `sr.load_model`.

    Attributes:
        hf: the Hugging Face model, in evaluation mode and with its weights frozen; its modules stay as they are.
        tokenizer: its fast tokenizer, or None for a model that is only fed token ids.
        name: the name that the user gave.
        layout: where this architecture has its blocks and sites.
        chat_template: a Jinja chat template that replaces the tokenizer's own, or None.
        template_vars: what the chat template reads beside the messages.
        clock: what a chat template that asks for the time is told: when the model was loaded.
        compile: whether patched runs go through blocks compiled by torch.

    Example:
        >>> from selfrep.models.loading import load_model
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
    compile: bool = False
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

    @cached_property
    def quick_blocks(self) -> list[Callable[..., Any]]:
        """The same for patched runs: compiled by torch, for any number of tokens, where that was asked for.

        The modules themselves stay as they are. What is compiled for one block serves all that are like it.
        """
        blocks: list[Callable[..., Any]] = list(self.blocks)
        return [torch.compile(block.forward, dynamic=True) for block in self.blocks] if self.compile else blocks

    def tap(self, site: str, layer: int) -> tuple[nn.Module, Tap]:
        """The module that holds a site in a block, and which end of it.

        Raises:
            SelfrepError: an unknown site, or one that this architecture, or this very block, lacks.
        """
        tap, block = self.layout.tap(site), self.blocks[layer]
        try:
            return tap.module(block), tap
        except AttributeError as error:
            raise SelfrepError(
                f"{site!r} is read at {tap.path!r} in a block; block {layer} of {self.name}, a {type(block).__name__}, "
                "has none. Use resid_pre or resid_post."
            ) from error

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
        beside other prompts: by hooks of others, of which nobody knows what they do, by layers that round their inputs,
        or by experts that take so many tokens of a batch and no more."""
        config = self.hf.config.get_text_config()
        if limits := [name for name in CAPACITY if getattr(config, name, None) is not None]:
            raise CannotReplay(
                f"selfrep runs prompts side by side; the experts of {self.name} drop tokens beyond a capacity "
                f"({', '.join(limits)} in its configuration), so that a prompt depends on those beside it."
            )
        if added := others(self.hf) + rounding_inputs(self.hf):
            more = f" and {len(added) - 3} more" if len(added) > 3 else ""
            raise CannotReplay(
                f"selfrep replays parts of prompts, side by side; {self.name} has {', '.join(added[:3])}{more}, "
                "which may treat a token by its place, or by what is run beside it."
            )
