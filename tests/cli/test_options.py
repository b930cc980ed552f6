"""Options that several commands share."""

from __future__ import annotations

from selfrep.cli.options import STUDY
from selfrep.study import study


def test_the_help_names_every_built_in_study() -> None:
    assert all(name in STUDY for name in study.presets()), "written out there, since --help reads no files"
