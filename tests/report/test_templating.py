"""What is put into a template is escaped and must be there; JSON ends no script."""

from __future__ import annotations

import json

import pytest
from jinja2 import UndefinedError

from selfrep.report.templating import environment, inert


def test_what_is_put_in_is_escaped_and_may_not_be_missing() -> None:
    template = environment("selfrep.report").from_string("{{ word }}")
    assert template.render(word="<b> 5 %") == "&lt;b&gt; 5\u00a0%"
    with pytest.raises(UndefinedError):
        template.render()


def test_templates_of_several_packages_are_found() -> None:
    both = environment("selfrep.report", "selfrep.report.explore")
    assert {"report.html", "page.html", "explore.js"} <= set(both.list_templates())


def test_json_stays_what_it_is_and_ends_no_script() -> None:
    value = {"a": "</script><!-- & \u2028", "b": [1.5, None]}
    assert json.loads(inert(value)) == value
    assert not set("<>&\u2028") & set(inert(value))
