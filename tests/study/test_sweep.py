"""Studies × models: each part is done once, by whoever holds its model, and nothing is lost with an actor."""

from __future__ import annotations

import builtins
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.analyses.planted import described
from tests.study.test_shards import differences

from selfrep.errors import SelfrepError
from selfrep.store.shard import Shard
from selfrep.study.run import run
from selfrep.study.study import Study
from selfrep.study.sweep import TRIES, Queue, Unit, Worker, loaded_by, name_of, sweep

PARTS = """
separation: {item: who_are_you}
transfer:
  pairs: [[network, nurse], [robot, farmer]]
  items: [who_are_you]
  sweeps: [{site: resid_pre, by: segment, layers: [1, 4]}]
"""


def studies(*models: str) -> list[tuple[Study, Path]]:
    return [(described(f"organism:{model}", ""), Path(model)) for model in models]


# ---- the queue ------------------------------------------------------------------------------------------------------


def test_a_worker_is_given_what_its_model_does_and_the_rest_comes_after_all_shards() -> None:
    one, other = studies("separate", "bleed")
    queue = Queue.of([one, other], 2)
    first = queue.take(None)
    assert first == Unit(*one, Shard(0, 2))
    assert queue.take(loaded_by(other[0])) == Unit(*other, Shard(0, 2)), "not the next in line, but of its model"
    second = queue.take(loaded_by(one[0]))
    assert second == Unit(*one, Shard(1, 2))
    assert first is not None
    assert second is not None
    queue.did(second)
    assert Unit(*one, None) not in queue.units, "a shard is left"
    queue.did(first)
    rest = queue.take(loaded_by(one[0]))
    assert rest == Unit(*one, None)
    queue.did(rest)  # type: ignore[arg-type]
    assert queue.done == [one[1]]


def test_one_worker_does_each_run_in_one_go() -> None:
    queue = Queue.of(studies("separate", "bleed"), 1)
    assert [unit.shard for unit in queue.units] == [None, None]


def test_a_part_is_tried_again_and_then_its_run_is_given_up_and_no_other() -> None:
    queue = Queue.of(studies("separate", "bleed"), 2)
    for left in range(TRIES, 0, -1):
        unit = queue.take(None)
        assert unit is not None
        assert unit.name == "separate, shard 0/2"
        queue.lost(unit, "lost", again=True)
        assert bool(queue.failed) == (left == 1)
    assert queue.failed == {"separate": "lost"}
    assert {unit.out.name for unit in queue.units} == {"bleed"}
    wrong = queue.take(None)
    queue.lost(wrong, "The rule.", again=False)  # type: ignore[arg-type]
    assert queue.failed["bleed"] == "The rule."
    assert queue.units == []


# ---- workers --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("pageless")
def test_a_worker_keeps_its_model_for_all_studies_that_ask_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from selfrep.study import sweep as place

    sound, loads = place.model_of, list[str]()
    monkeypatch.setattr(place, "model_of", lambda study, device: loads.append(study.model) or sound(study, device))
    worker = Worker("cpu")
    for i, (study, _) in enumerate(studies("separate", "separate", "bleed", "separate")):
        worker.work(Unit(study, tmp_path / str(i), Shard(0, 1)))
    assert loads == ["organism:separate", "organism:bleed", "organism:separate"]


def test_folders_are_named_by_study_and_model_and_two_runs_share_none(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    study = described("organism:separate", "")
    assert name_of(study, None) == "planted"
    assert name_of(study, "org/model: 2") == "planted-model-2"
    with pytest.raises(SelfrepError, match="folder of its own; of 2 runs there are 1"):
        sweep([study, study], out=tmp_path)
    with pytest.raises(SelfrepError, match="layers are 0 to 5"):
        sweep([described("organism:separate", "separation: {item: who_are_you, layers: [9]}\n")], out=tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_without_ray_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(SelfrepError, match=r"pip install 'selfrep\[ray\]'"):
        sweep(studies("separate")[0][:1], out=tmp_path)


# ---- on Ray ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """As many as Ray gives an actor with one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("_one_thread")
def test_two_actors_of_whom_one_is_killed_leave_what_one_process_leaves(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    psutil = pytest.importorskip("psutil")
    study, models = described("organism:separate", PARTS), ["organism:separate?noise=0.3", "organism:bleed?beta=0.4"]
    killed: list[int] = []

    def kill() -> None:
        """The first actor that is at work, as soon as one is."""
        deadline = time.monotonic() + 120
        while not killed and time.monotonic() < deadline:
            for process in psutil.Process().children(recursive=True):
                try:
                    title = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if title.startswith("ray::Worker.work") and not killed:
                    time.sleep(2)
                    process.kill()
                    killed.append(process.pid)
            time.sleep(0.05)

    thread, told, own = threading.Thread(target=kill), list[str](), builtins.print
    thread.start()
    runs = sweep([study], models, tmp_path / "sweep", workers=2, device="cpu", tell=told.append)
    thread.join()
    assert killed
    assert builtins.print is own, "what Ray changes in this process is put back"
    assert any("its process was lost" in line for line in told), told
    for made, model in zip(runs, models, strict=True):
        alone = run(study, tmp_path / name_of(study, model), model=model, device="cpu", warn=lambda message: None)
        assert differences(alone.directory, made.directory) == []
        assert made.findings == alone.findings
    page = (tmp_path / "sweep" / "index.html").read_text("utf-8")
    for made in runs:
        assert f'href="{made.directory.path.name}/report.html"' in page
        assert made.directory.report.is_file()
    assert "Content-Security-Policy" in page
