"""Where a model's files are, a folder or a hub repository, and one strict way to read them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from textedit_core.models import checkpoint, hub

os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # no request in the background of a .bin

MOST_TOKENS = 10**6  # of a prompt; transformers has a larger number where a tokenizer tells none
NO_OBJECT = "it is no JSON object"
POSITION_IDS = "embeddings.position_ids"  # 0, 1, 2... in older files: no weights, and not needed


@dataclass(frozen=True)
class Source:
    """A part of a model: a folder or a hub repository, and the subfolder of it that has the files.

    weights: the weight files without suffix, or single files with it; the part is local where all are.
    bin: also read .bin files (as tensors only), for a repository that has no safetensors.
    listed: the files of a hub repository as the hub lists them, for one that is not known beforehand; where
    it is empty, the repository has safetensors of the plain names, or .bin files with `bin`.
    size_gb, license: of a hub repository; a folder is measured, and says its licence in its manifest.
    digests: relative path -> sha256 for a folder with a manifest.
    """

    repo: str
    prefix: str = ""
    weights: tuple[str, ...] = ()
    bin: bool = False
    size_gb: float = 0.0
    license: str = ""
    digests: Mapping[str, str] = field(default_factory=dict, hash=False)
    listed: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def folder(self) -> Path | None:
        """The folder with the files, None for a hub repository."""
        root = Path(self.repo)
        return root / self.prefix if root.is_dir() else None

    def is_local(self) -> bool:
        """Whether the weights are on this machine. Asks no network."""
        return all(any(map(self._find, self._files(name))) for name in self.weights)

    def gigabytes(self) -> float:
        """Size of the files: measured in a folder, known for a hub repository."""
        if self.folder is None:
            return sum(self._fetched()) / 1e9 if self.listed else self.size_gb
        return sum(path.stat().st_size for path in self._own_files()) / 1e9

    def network(self, cls: Any, part: str = "", dtype: torch.dtype = torch.float32) -> Any:
        """A diffusers or transformers model in the precision asked for, frozen and in eval mode.

        Raises ValueError when the files are not there or a tensor is missing, unexpected or misshapen.
        """
        if cls.__module__.startswith("diffusers"):
            options: dict[str, Any] = {"torch_dtype": dtype}
        else:
            from textedit_core.models.towers import key_mapping

            options = {"dtype": dtype, "ignore_mismatched_sizes": True}  # told below, by name
            if mapping := key_mapping(cls):
                options["key_mapping"] = mapping
        options |= self._format(part)
        if self.folder is not None and (names := self._names(part)) and not self._best(names):
            lacking = ValueError(f"there is no {names[0].rpartition('/')[2]}.safetensors in it")
            raise ValueError(self._complaint(part, lacking))
        with _silent() if self.is_local() else nullcontext():
            model, info = self.read(cls.from_pretrained, part, output_loading_info=True, **options)
        for kind in ("missing", "unexpected", "mismatched"):
            keys = [key if isinstance(key, str) else str(key[0]) for key in info.get(f"{kind}_keys", ())]
            if names := sorted(key for key in keys if not key.endswith(POSITION_IDS)):
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                raise ValueError(
                    f"The weights in {self._where(part)} have {kind} tensors: {', '.join(names[:3])}{more}."
                )
        return model.eval().requires_grad_(False)

    def tokenizer(self, part: str = "", **options: Any) -> Any:
        """The CLIPTokenizer of a part. Raises ValueError as `read`, and for one without words or a length,
        of which transformers makes one that takes every word for the same."""
        from transformers import CLIPTokenizer

        found = self.read(CLIPTokenizer.from_pretrained, part, **options)
        if found.vocab_size <= len(found.all_special_tokens):
            raise ValueError(self._complaint(part, ValueError("there is no vocabulary in it")))
        if found.model_max_length > MOST_TOKENS:
            lacking = ValueError("its tokenizer_config.json tells no model_max_length")
            raise ValueError(self._complaint(part, lacking))
        return found

    def read(self, from_pretrained: Callable[..., Any], part: str = "", **options: Any) -> Any:
        """Call a `from_pretrained`; what goes wrong becomes a ValueError that says which files are needed."""
        options["subfolder"] = self._subfolder(part)
        try:
            if self.folder is not None:
                return from_pretrained(self.repo, **options)
            return self._from_hub(from_pretrained, options)
        except Exception as error:  # a damaged file can raise anything
            raise ValueError(self._complaint(part, error)) from error

    def _from_hub(self, from_pretrained: Callable[..., Any], options: Mapping[str, Any]) -> Any:
        """Call a `from_pretrained` on what is in the hub's cache, and on the hub for what is not."""
        if self.is_local():
            try:
                return from_pretrained(self.repo, local_files_only=True, **options)
            except (OSError, ValueError):  # a small file may be missing beside the weights
                if not hub.answers():
                    raise
        hub.require()
        return from_pretrained(self.repo, **options)

    def json(self, path: str, optional: bool = False) -> dict[str, Any]:
        """A JSON file of this part, such as scheduler/scheduler_config.json. Raises ValueError as `read`.

        optional: {} where a folder, or a repository that is fetched already or listed, does not have it.
        """
        if optional and not self._find(path):
            listed = self._subfolder(path) in self.listed
            if not listed and (self.folder is not None or self.listed or self.is_local()):
                return {}
        file = self.file(path)
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise ValueError(NO_OBJECT)
            return found
        except (OSError, ValueError) as error:
            raise ValueError(self._complaint(path, error)) from error

    def cached(self, path: str) -> Path | None:
        """A file of this part where it is on this machine, else None. Asks no network."""
        found = self._find(path)
        return Path(found) if found else None

    def fetched_bytes(self) -> int:
        """How much of the files that loading takes is on this machine, those under way included.

        Of a repository of the hub: all that its cache holds of it.
        """
        from huggingface_hub.constants import HF_HUB_CACHE

        if self.folder is not None:
            return sum(path.stat().st_size for path in self._own_files())
        blobs = Path(HF_HUB_CACHE) / f"models--{self.repo.replace('/', '--')}" / "blobs"
        sizes = 0
        for path in blobs.glob("*") if blobs.is_dir() else ():
            with suppress(OSError):  # it has just been renamed
                sizes += path.stat().st_size
        return sizes

    def file(self, path: str) -> Path:
        """A file of this part, in the folder or fetched into the hub cache. Raises ValueError as `read`."""
        from huggingface_hub import hf_hub_download

        if self.folder is not None:
            return self.folder / path
        if found := self._find(path):
            return Path(found)
        try:
            hub.require()
            return Path(hf_hub_download(self.repo, self._subfolder(path)))
        except (OSError, ValueError, RuntimeError) as error:
            raise ValueError(self._complaint(path, error)) from error

    def fingerprint(self) -> str:
        """A sha256 that identifies the files, by the manifest, the commit, or the files' sizes and times."""
        if self.folder is None:
            return _sha([self.repo, self.prefix, self._commit()])
        start = f"{self.prefix}/" if self.prefix else ""
        if listed := sorted(item for item in self.digests.items() if item[0].startswith(start)):
            return _sha(listed)
        return _sha([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self._own_files()])

    def _subfolder(self, part: str) -> str:
        return "/".join(name for name in (self.prefix, part) if name)

    def _files(self, name: str) -> list[str]:
        """The files that may hold the weights of this name, or say which do, the best first.

        The plain ones, those of half precision only (diffusers' variant "fp16"), and the .bin of either.
        """
        if "." in name:
            return [name]
        folder, slash, stem = name.rpartition("/")
        older = f"{folder}{slash}{'pytorch_model' if stem == 'model' else stem}"
        kinds = [(name, "safetensors"), *([(older, "bin")] if self.bin else [])]
        return [
            file
            for start, end in kinds
            for half in ("", ".fp16")
            for file in (f"{start}{half}.{end}", f"{start}.{end}.index{half}.json")
        ]

    def _format(self, part: str) -> dict[str, Any]:
        """The options of a `from_pretrained` for the best files that there are of this part."""
        if file := self._best(self._names(part)):
            half = {"variant": "fp16"} if ".fp16" in file else {}
            return {"use_safetensors": ".safetensors" in file} | half
        return {"use_safetensors": None if self.bin else True}

    def _names(self, part: str) -> list[str]:
        """The names of the weights of a part."""
        start = f"{part}/" if part else ""
        return [name for name in self.weights if name.startswith(start) and "/" not in name[len(start) :]]

    def _best(self, names: Sequence[str]) -> str:
        """The best of the files that may hold these weights, on this machine or listed; "" for none."""
        files = (file for name in names for file in self._files(name))
        return next((file for file in files if self._find(file) or self._subfolder(file) in self.listed), "")

    def _fetched(self) -> Iterator[int]:
        """The bytes of each weight file of a listed repository that loading it takes."""
        for name in self.weights:
            best = next((file for file in self._files(name) if self._subfolder(file) in self.listed), "")
            if not best.endswith(".json"):
                yield self.listed.get(self._subfolder(best), 0)
                continue
            stem, end = best.split(".index")[0].rsplit(".", 1)  # sharded: NAME-00001-of-00002[.fp16].END
            half, start = ".fp16" in best, self._subfolder(stem)
            yield from (
                size
                for file, size in self.listed.items()
                if file.startswith((f"{start}-", f"{start}.fp16-"))
                and file.endswith(f".{end}")
                and half == (".fp16" in file)
            )

    def _own_files(self) -> list[Path]:
        """The files of this part in its folder: the single ones it names, or all."""
        folder = Path(self.repo) / self.prefix
        single = [folder / name for name in self.weights if "." in name]
        return sorted(path for path in single or folder.rglob("*") if path.is_file())

    def _find(self, name: str) -> str | None:
        """The path of a file on this machine, in the folder or in the hub cache."""
        from huggingface_hub import try_to_load_from_cache

        if self.folder is not None:
            return str(self.folder / name) if (self.folder / name).is_file() else None
        found = try_to_load_from_cache(self.repo, self._subfolder(name))
        return found if isinstance(found, str) else None

    def _commit(self) -> str:
        """The commit of the hub repository in the cache: the folder above the file in it."""
        for name in (file for stem in self.weights for file in self._files(stem)):
            if found := self._find(name):
                return Path(found).parents[self._subfolder(name).count("/")].name
        return ""

    def _where(self, part: str) -> str:
        return f"{self.repo}/{self._subfolder(part)}".rstrip("/")

    def _complaint(self, part: str, error: Exception) -> str:
        from huggingface_hub.errors import GatedRepoError

        if isinstance(error, GatedRepoError):
            return hub.gated(self.repo)
        if _disk_is_full(error):
            return (
                f"The disk has no room for {self._where(part)} (about {self.gigabytes():.2g} GB in all): "
                "free some, or name another disk's folder in HF_HOME."
            )
        reason = checkpoint.reason(error)
        if self.folder is None and not self.is_local():
            return (
                f"{self._where(part)} is not here and could not be fetched from the Hugging Face "
                f"hub (about {self.gigabytes():.2g} GB): connect once, or choose another model. ({reason})"
            )
        return f"The model files in {self._where(part)} could not be read: {reason}."


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that there is no room on the disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _silent() -> Iterator[None]:
    """Without progress bars, for files that are on this machine."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    shown = [log for log in (of_diffusers, of_transformers) if log.is_progress_bar_enabled()]
    for log in shown:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in shown:
            log.enable_progress_bar()


def _sha(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
