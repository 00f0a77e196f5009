"""Files on the Hugging Face Hub (``pip install 'recbole-sibrar[hub]'``), as ``hub:owner/name`` in place of a path."""

import re
from pathlib import Path
from types import ModuleType

from recbole_sibrar.errors import DataError, OptionError, WriteError, not_installed

PREFIX = "hub:"
ADDRESS = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<file>.+))?")
NAME = re.compile(r"[\w.-]+/[\w.-]+")
BESIDE = {".npy": ".ids.txt"}  # the ending of a file that another one needs beside it


def local(path: str | Path, kind: str, file: str | None = None) -> str | Path:
    """Where the file lies that ``hub:owner/name``, ``hub:owner/name/file`` or ``hub:owner/name@revision/file`` stands
    for, fetched if it is not there yet; any other path as it is.

    Args:
        kind: of the repository, ``model`` or ``dataset``.
        file: which one, where the address names none.

    Raises:
        OptionError: the address is none, or ``huggingface_hub`` is not installed. DataError: it cannot be fetched.
    """
    if not str(path).startswith(PREFIX):
        return path
    address = ADDRESS.fullmatch(str(path))
    wanted = address and (address["file"] or file)
    if address is None or not wanted:
        expected = "hub:owner/name" if file else "hub:owner/name/file"
        raise OptionError(f"{path} is no address of a file on the Hub; expected {expected}, with @revision if wanted.")
    hub = _package(str(path))
    try:
        fetched = [
            hub.hf_hub_download(address["name"], name, repo_type=kind, revision=address["revision"])
            for name in (wanted, *beside(wanted))
        ]
    except Exception as error:  # of the network, the server, or the package's own
        raise DataError(
            f"{path}: {wanted} of the {kind} {address['name']} cannot be fetched ({_said(error)}). Is the name right, "
            "is there a connection, and may you read it (HF_TOKEN)?"
        ) from None
    return fetched[0]


def beside(name: str) -> list[str]:
    """The files that go with a file.

    >>> beside("text.npy"), beside("text.npz")
    (['text.ids.txt'], [])
    """
    return [f"{name.removesuffix(suffix)}{end}" for suffix, end in BESIDE.items() if name.endswith(suffix)]


def push(files: dict[str, Path | bytes], name: str, kind: str, public: bool = False) -> str:
    """Put files into a repository, in one commit; it is made, private unless ``public``, if it is not there.

    Args:
        files: {name in the repository: path, or content}.
        name: ``owner/name``. kind: ``model`` or ``dataset``.

    Returns:
        the commit's address.

    Raises:
        OptionError: the name is none, or ``huggingface_hub`` is not installed. WriteError: the Hub did not take them.
    """
    if not NAME.fullmatch(name):
        raise OptionError(f"{name!r} is no name of a repository; expected owner/name.")
    hub = _package("push")
    try:
        api = hub.HfApi()
        api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
        operations = [
            hub.CommitOperationAdd(
                path_in_repo=target, path_or_fileobj=source if isinstance(source, bytes) else str(source)
            )
            for target, source in files.items()
        ]
        commit = api.create_commit(name, operations, commit_message=f"Push {', '.join(files)}", repo_type=kind)
    except Exception as error:  # of the network, the server, or the package's own
        raise WriteError(
            f"The Hub did not take the {kind} {name} ({_said(error)}). Is there a connection, and may you write there "
            "(HF_TOKEN, or 'hf auth login')?"
        ) from None
    return str(commit.commit_url)


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _package(what: str) -> ModuleType:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise OptionError(not_installed(what, error.name, "hub")) from None
    return huggingface_hub
