"""How annotations are checked at run time while the tests run."""

from __future__ import annotations

from beartype import BeartypeConf, FrozenDict, beartype
from pydantic import ValidationInfo

# pydantic's ValidationInfo is a protocol that cannot be checked at run time; everything else is.
checked = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({ValidationInfo: object})))
