"""Items, listed and checked."""

from __future__ import annotations

from tests.cli.command import selfrep

from selfrep.models.organisms import BATTERY, PERSONAS


def test_items_are_listed() -> None:
    assert "I am a" in selfrep("battery", "list").stdout
    assert selfrep("battery").stdout == selfrep("battery", "list").stdout, "the list, where no command is given"


def test_a_battery_is_checked_on_a_model() -> None:
    arguments = ("battery", "check", BATTERY, "--model", "organism:separate", "--personas", PERSONAS)
    done = selfrep(*map(str, arguments), "--device", "cpu", COLUMNS="120")
    assert done.returncode == 0, done.stderr
    assert "items can be read on this model" in done.stdout
    assert "act_in_peace:" in done.stdout, "what cannot be read is named, with its reason"
