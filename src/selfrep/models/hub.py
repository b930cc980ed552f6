"""Models by their Hugging Face id: from its cache where they are complete there, else from the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selfrep.errors import SelfrepError
from selfrep.models import folders


class NotOnHub(SelfrepError):
    """The hub (or, offline, its cache) has no model of this name. The message is a clause that gives the reason.

    Example:
        >>> str(NotOnHub("the hub has no such model"))
        'the hub has no such model'
    """


def fetch(repo: str) -> Path:
    """The folder of a model id in the Hugging Face cache, fetched if need be (never when HF_HUB_OFFLINE=1).

    Raises:
        NotOnHub: no such model.
        SelfrepError: gated, out of reach, or without weights.

    Example (needs the network, or the model in the cache):
        >>> (fetch("Qwen/Qwen2.5-0.5B-Instruct") / "config.json").is_file()  # doctest: +SKIP
        True
    """
    from huggingface_hub import constants

    with _explained(repo):
        for cached_only in (True, False):
            folder = _snapshot(repo, [*folders.BESIDE_WEIGHTS, folders.WEIGHTS[0]], cached_only)
            if folder is not None and _complete(folder):
                return folder
    if constants.is_offline_mode():
        raise NotOnHub("only a part of it is in the Hugging Face cache, and HF_HUB_OFFLINE forbids fetching the rest")
    raise SelfrepError(
        f"A model must come with weights ({folders.WEIGHTS[0]}; no pickle is fetched); the hub's {repo} has none."
    )


def fetch_outline(repo: str) -> Path:
    """The folder of a model id with all but the weights: configuration and tokenizer. Raises as `fetch` does.

    Example (needs the network, or the model in the cache):
        >>> (fetch_outline("Qwen/Qwen2.5-0.5B-Instruct") / "config.json").is_file()  # doctest: +SKIP
        True
    """
    with _explained(repo):
        folder = _snapshot(repo, folders.BESIDE_WEIGHTS, cached_only=True)
        if folder is not None and (folder / "config.json").is_file():
            return folder
        return _snapshot(repo, folders.BESIDE_WEIGHTS, cached_only=False) or Path()


def _snapshot(repo: str, patterns: Iterable[str], cached_only: bool) -> Path | None:
    """The folder of these files; None where none of them is in the cache, and nothing else is asked for."""
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(
            repo,
            allow_patterns=list(patterns),
            ignore_patterns=["*/*"],  # sub-folders hold other formats of the same weights
            local_files_only=cached_only,
        )
    except errors.LocalEntryNotFoundError:
        if cached_only:
            return None
        raise
    return Path(str(folder))


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """What the hub raises, as a sentence that says what to do."""
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise SelfrepError(
            f"{repo} is gated: its licence must be accepted on the hub, and HF_TOKEN set to your token, before it "
            "loads."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise NotOnHub("the Hugging Face hub has no such model (or it is private and HF_TOKEN is not set)") from error
    except (OSError, errors.XetDownloadError) as error:  # the hub's own errors are OSErrors too
        if constants.is_offline_mode():
            raise NotOnHub("it is not in the Hugging Face cache, and HF_HUB_OFFLINE forbids fetching it") from error
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise SelfrepError(
            f"{repo} is neither a folder here nor complete in the Hugging Face cache, and fetching it failed "
            f"({reason}). Check the network and HF_ENDPOINT, or download the model elsewhere and name its folder."
        ) from error


def cached_models() -> Iterator[tuple[str, Path]]:
    """(id, folder) of the models in the Hugging Face cache that are complete, sorted by id.

    Example:
        >>> all(folder.is_dir() for repo, folder in cached_models())
        True
    """
    from huggingface_hub import constants, scan_cache_dir

    if not Path(constants.HF_HUB_CACHE).is_dir():
        return
    for repo in sorted(scan_cache_dir(constants.HF_HUB_CACHE).repos, key=lambda repo: repo.repo_id):
        for revision in repo.revisions:
            model = repo.repo_type == "model" and not folders.is_adapter(revision.snapshot_path)
            if model and "main" in revision.refs and _complete(revision.snapshot_path):
                yield repo.repo_id, revision.snapshot_path


def _complete(folder: Path) -> bool:
    weights = folders.weight_files(folder) or folders.adapter_weights(folder)
    return bool(weights) and not folders.missing_shards(folder)
