"""A bundle from the hub and to it, by its own library (extra ``cmust[hub]``)."""

import re
from pathlib import Path
from typing import Any

from cmust.errors import CmustError, RunError, reason

FILES = ("README.md", "model.json", "intervals.json", "*.safetensors", "tasks/*.safetensors")
"""What is fetched and pushed; nothing else in a repository is touched or opened."""
_OURS = ("intervals.json", "*.safetensors", "tasks/*.safetensors")


def fetch(repo_id: str, **options: Any) -> Path:
    """A local copy of the bundle in a repository of the hub.

    Args:
        repo_id: ``OWNER/NAME``.
        options: of ``snapshot_download``: ``revision``, ``token``, ``cache_dir``, ``force_download``,
            ``local_files_only``.

    Raises:
        RunError: there is no such repository, or it cannot be had.
        CmustError: the library is missing.
    """
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repo_id):
        raise RunError(f"there is no folder {repo_id}, and it is not the name of a repository (OWNER/NAME)")
    hub = hub_library(f"there is no folder {repo_id}; to look for it on the hub")
    try:
        return Path(hub.snapshot_download(repo_id, allow_patterns=list(FILES), **options))
    except Exception as error:  # its errors, and those of the network below it, have no base in common
        raise RunError(
            f"cannot fetch {repo_id} from the hub: {reason(error)}; check the name, the network, and your access"
        ) from error


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    commit_message: str = "Push model using cmust",
    branch: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload a bundle, making the repository where there is none; weights it had before and has no more are removed.

    Returns:
        The address of the commit.

    Raises:
        RunError: the hub refuses or cannot be reached.
        CmustError: the library is missing.
    """
    hub = hub_library("to push to the hub")
    try:
        api = hub.HfApi(token=token, library_name="cmust")
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=commit_message,
            revision=branch,
            create_pr=create_pr,
            allow_patterns=list(FILES),
            delete_patterns=list(_OURS),
        )
    except Exception as error:  # as above
        raise RunError(
            f"cannot push to {repo_id}: {reason(error)}; log in with `hf auth login`, check the name and the network"
        ) from error
    return str(commit)


def hub_library(purpose: str) -> Any:
    """The module ``huggingface_hub``.

    Raises:
        CmustError: it is not installed; the message begins with ``purpose``.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise CmustError(f"{purpose}, huggingface_hub has to be installed: pip install 'cmust[hub]'") from error
    return huggingface_hub
