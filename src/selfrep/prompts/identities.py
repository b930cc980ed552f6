"""What a model is tuned to call itself, and who made it: the texts of its default reading of the self.

The built-in texts speak of the embedded model, SmolLM. Of another model they would be wrong: told that it is SmolLM, it
plays a role like any other. So each family of models has its name and maker in `models.yaml`; a user may name others;
and where nothing is known nothing is guessed.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import field_validator

from selfrep.prompts import yaml_errors
from selfrep.prompts.yaml_errors import Entry

EMBEDDED = "embedded"
ITSELF = "itself"
"""Where provenance.json keeps who the model of a run is."""
BUILT_IN = "smollm"
"""The family that the built-in texts speak of."""


class Identity(Entry):
    """The name of a model, and its maker, as they stand in "You are NAME, an AI assistant trained by MAKER."

    Example:
        >>> Identity(name="Qwen", maker="Alibaba Cloud").speaks("SmolLM was made by Hugging Face.")
        'Qwen was made by Alibaba Cloud.'
    """

    name: str
    maker: str

    @field_validator("name", "maker")
    @classmethod
    def _word(cls, text: str) -> str:
        if not text.strip() or not text.isprintable():
            raise ValueError("is a name on one line, and not empty")
        return " ".join(text.split())

    @property
    def key(self) -> str:
        """The name as studies and results write names."""
        return re.sub(r"\W+", "_", self.name.casefold()).strip("_") or "itself"

    def speaks(self, text: str) -> str:
        """A built-in text, spoken by this model about itself."""
        own = families()[BUILT_IN]
        return text.replace(own.name, self.name).replace(own.maker, self.maker)


class Family(Identity):
    """Models that share an identity, and how they are recognised; see models.yaml."""

    owners: tuple[str, ...]
    named: str
    template: str = ""
    source: str

    @property
    def identity(self) -> Identity:
        """Name and maker alone."""
        return Identity(name=self.name, maker=self.maker)


class _File(Entry):
    families: dict[str, Family]


@cache
def families() -> dict[str, Family]:
    """The families of models whose identity is known, by their keys.

    Example:
        >>> families()["qwen"].maker
        'Alibaba Cloud'
    """
    return yaml_errors.load(_File, *yaml_errors.read_builtin("selfrep.prompts", "models.yaml")).families


def identity_of(model: str, template: Any = None) -> Identity | None:
    """What a model is tuned to call itself; None where that is not known.

    Its own chat template is believed first, then the name under which its maker publishes it, also as that of a folder.
    A model that somebody has trained further has neither, and no identity here; nor has a base model.

    Args:
        model: as `selfrep.load_model` takes it; template: the chat template of its tokenizer.

    Example:
        >>> identity_of("Qwen/Qwen2.5-7B-Instruct")
        Identity(name='Qwen', maker='Alibaba Cloud')
        >>> identity_of("somebody/Qwen2.5-7B-pirate"), identity_of("Qwen/Qwen2.5-7B")
        (None, None)
    """
    if model == EMBEDDED:
        return families()[BUILT_IN].identity
    for family in families().values():
        if family.template and family.template in str(template or ""):
            return family.identity
    owner, name = _published(model)
    for family in families().values():
        if owner in (None, *family.owners) and re.fullmatch(family.named, name):
            return family.identity
    return None


def of_model(model: Any) -> Identity | None:
    """What a model is tuned to call itself, by its name or as it is loaded; None where that is not known.

    Args:
        model: a name, as `selfrep.load_model` takes it; a model that is loaded, in which a base model, without a chat
            template, is tuned to be nobody; or the identity itself.

    Example:
        >>> of_model("google/gemma-3-4b-it").name
        'Gemma'
        >>> import selfrep as sr
        >>> of_model(sr.load_model("organism:separate")) is None
        True
    """
    if model is None or isinstance(model, Identity):
        return model
    if isinstance(model, str | Path):
        return identity_of(str(model))
    template = getattr(model.tokenizer, "chat_template", None)
    return identity_of(model.name, template) if template else None


def _published(model: str) -> tuple[str | None, str]:
    """Owner and name of a model on the hub; no owner for a folder that is only called so."""
    if cached := re.search(r"models--([\w.-]+?)--([\w.-]+)", model):
        return cached.group(1), cached.group(2)
    owner, slash, name = model.partition("/")
    if slash and "/" not in name and not Path(model).expanduser().exists():
        return owner, name
    file = Path(model)
    return None, file.stem if file.suffix.lower() == ".gguf" else file.name
