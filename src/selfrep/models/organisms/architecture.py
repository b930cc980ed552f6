"""The body of an organism: a decoder without norms or positions, small enough to be written by hand.

To transformers it is a model like any other, with attention through its `AttentionInterface`, a key–value cache and
`generate`; so everything that reads, patches or replays models does the same with this one. Small models from
elsewhere (see `selfrep.models.external`) have the same body with what organisms do without: learned positions, biases,
norms, another activation, attention in both directions.
"""

from __future__ import annotations

from typing import Any, Literal, no_type_check

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from selfrep.models.organisms.names import WIRED_LAYERS
from selfrep.models.sites import Components, Layout, Tap

Norm = Literal["none", "plain", "affine"]

_ATTENTION = AttentionInterface()


@no_type_check  # transformers makes a dataclass of it whose __init__ takes more than its signature says
class OrganismConfig(PreTrainedConfig):
    """The size of the body, and what is planted in it: the fields of a `selfrep.models.organisms.Plan`.

    An organism leaves the last eight as they are: `max_position_embeddings` learned positions (0: none), `output_size`
    (None: that of the vocabulary), `every_bias` (otherwise only queries and gates have one), `norm` before attention,
    MLP and readout ("plain" has no weights), and the factor `scaling` on attention scores.
    """

    model_type = "selfrep_organism"

    vocab_size: int = 128
    hidden_size: int = 128
    num_hidden_layers: int = WIRED_LAYERS
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    head_dim: int = 24
    intermediate_size: int = 48
    organism: dict[str, Any] | None = None
    tie_word_embeddings: bool = False
    max_position_embeddings: int = 0
    output_size: int | None = None
    every_bias: bool = False
    norm: Norm = "none"
    layer_norm_eps: float = 1e-5
    hidden_act: str = "relu"
    scaling: float = 1.0
    is_causal: bool = True


def _norm(config: OrganismConfig) -> nn.Module:
    if config.norm == "none":
        return nn.Identity()
    return nn.LayerNorm(config.hidden_size, config.layer_norm_eps, elementwise_affine=config.norm == "affine")


class Attention(nn.Module):
    """Heads whose scores are plain products, unscaled unless the configuration says so: the weights themselves say how
    sharply a head looks."""

    def __init__(self, config: OrganismConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.num_key_value_groups = 1
        self.scaling = config.scaling
        self.is_causal = config.is_causal
        width = config.num_attention_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=True)
        self.k_proj = nn.Linear(config.hidden_size, width, bias=config.every_bias)
        self.v_proj = nn.Linear(config.hidden_size, width, bias=config.every_bias)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=config.every_bias)

    def forward(
        self, hidden_states: Tensor, attention_mask: Any = None, past_key_values: Any = None, **kwargs: Any
    ) -> tuple[Tensor, Any]:
        """[row, token, d_model] → the same, and the attention weights where they are computed."""
        heads = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key, value = (
            project(hidden_states).view(heads).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = _ATTENTION.get_interface(self.config._attn_implementation, _eager)
        out, weights = attend(self, query, key, value, attention_mask, scaling=self.scaling, **kwargs)
        return self.o_proj(out.reshape(*hidden_states.shape[:-1], -1)), weights


def _eager(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: float, **unused: Any
) -> tuple[Tensor, Tensor]:
    """Attention written out, for `attn_implementation="eager"`."""
    scores = query @ key.mT * scaling
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return (weights @ value).transpose(1, 2), weights


class MLP(nn.Module):
    """One hidden layer, of ReLUs in an organism: the gates."""

    def __init__(self, config: OrganismConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=True)
        self.act_fn = ACT2FN[config.hidden_act]
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.every_bias)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[..., d_model] → [..., d_model]."""
        return self.down_proj(self.act_fn(self.up_proj(hidden_states)))


class Block(nn.Module):
    """Attention, then MLP, each added to the residual stream."""

    def __init__(self, config: OrganismConfig, layer_idx: int) -> None:
        super().__init__()
        self.input_layernorm = _norm(config)
        self.self_attn = Attention(config, layer_idx)
        self.post_attention_layernorm = _norm(config)
        self.mlp = MLP(config)

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        """[row, token, d_model] → [row, token, d_model]."""
        hidden_states = hidden_states + self.self_attn(self.input_layernorm(hidden_states), **kwargs)[0]
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


class OrganismPreTrainedModel(PreTrainedModel):
    """What body and readout share: what they can do."""

    config: OrganismConfig
    config_class = OrganismConfig
    base_model_prefix = "model"
    _supports_attention_backend = True
    _supports_sdpa = True

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: weights are planted, not drawn."""


class OrganismModel(OrganismPreTrainedModel):
    """Embeddings and blocks."""

    def __init__(self, config: OrganismConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        positions = config.max_position_embeddings
        self.embed_positions = nn.Embedding(positions, config.hidden_size) if positions else None
        self.layers = nn.ModuleList([Block(config, i) for i in range(config.num_hidden_layers)])
        self.norm = _norm(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """[row, token] ids (or [row, token, d_model] embeddings) → the residual stream after the last block."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give input_ids or inputs_embeds, and not both.")
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            past = 0 if past_key_values is None else past_key_values.get_seq_length()
            position_ids = torch.arange(past, past + x.shape[1], device=x.device)[None]
        if self.embed_positions is not None:
            x = x + self.embed_positions(position_ids)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=x,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        for block in self.layers:
            x = block(x, attention_mask=mask, past_key_values=past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(x), past_key_values=past_key_values)


class OrganismForCausalLM(OrganismPreTrainedModel, GenerationMixin):
    """An organism with its readout. Make one with `selfrep.models.organisms.grow`."""

    def __init__(self, config: OrganismConfig) -> None:
        super().__init__(config)
        self.model = OrganismModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.output_size or config.vocab_size, bias=config.every_bias)
        self.post_init()

    @property
    def selfrep_layout(self) -> Layout:
        """Where its sites are, heads and neurons among them."""
        heads = Components(self.config.num_attention_heads, self.config.head_dim, self.config.head_dim)
        neurons = Components(self.config.intermediate_size, 1, 1)
        return Layout(
            architecture=type(self).__name__,
            blocks="model.layers",
            ln_final="model.norm",
            unembed="lm_head",
            taps={
                "resid_pre": Tap("", "in"),
                "resid_mid": Tap("post_attention_layernorm", "in"),
                "resid_post": Tap("", "out"),
                "attn_out": Tap("self_attn", "out"),
                "mlp_out": Tap("mlp", "out"),
                "z": Tap("self_attn.o_proj", "in", heads),
                "q": Tap("self_attn.q_proj", "out", heads),
                "k": Tap("self_attn.k_proj", "out", heads),
                "v": Tap("self_attn.v_proj", "out", heads),
                "mlp_post": Tap("mlp.down_proj", "in", neurons),
            },
        )

    def forward(
        self, input_ids: Tensor | None = None, logits_to_keep: int = 0, **kwargs: Any
    ) -> CausalLMOutputWithPast:
        """[row, token] ids → logits [row, token, d_vocab], of the last `logits_to_keep` tokens (0: of all)."""
        out = self.model(input_ids, **kwargs)
        logits = self.lm_head(out.last_hidden_state[:, -logits_to_keep:])
        return CausalLMOutputWithPast(logits=logits, past_key_values=out.past_key_values)
