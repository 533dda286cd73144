"""What frozen encoders made of a picture or a sentence, kept so that it is computed once and not in every epoch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lisa_core.durable import usual_mode
from lisa_core.errors import CheckpointError
from lisa_core.geometry import pad_grids
from lisa_core.vlm import Batch, ImageFeatures

_TEXT_BYTES = 2**30
"""Most that text states may take in memory; beyond it, they are read from disk each time."""


class FeatureStore:
    """Tensors by picture or sentence, one file each, below a folder that is named after what computes them.

    What is read back is what was written, bit for bit. Several processes and runs may share a folder.

    Args:
        folder: of all stores; made when it is needed.
        fingerprint: of everything that they depend on but the picture or sentence; see `fingerprint`.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder / fingerprint

    def load(self, keys: Sequence[str]) -> list[dict[str, Tensor]] | None:
        """What is kept under all these keys, or None if there is nothing (yet) under one."""
        found = []
        for key in keys:
            try:
                found.append(load_file(self._path(key)))
            except (OSError, SafetensorError):  # not there, or cut off: it is computed (again)
                return None
        return found

    def has(self, key: str) -> bool:
        """Whether something is kept under this key; it may still turn out to be unreadable."""
        return self._path(key).is_file()

    def save(self, key: str, features: dict[str, Tensor]) -> None:
        """Keep the features of a picture or sentence; readers see the whole file or none.

        Raises:
            CheckpointError: if it cannot be written.
        """
        path = self._path(key)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: value.detach().cpu().contiguous() for name, value in features.items()}, part)
            usual_mode(part)
            os.replace(part, path)
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                part.unlink()
            raise CheckpointError(
                f"features cannot be kept in {self.folder} ({error}): free space, give another --feature-cache, or none"
            ) from error

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


class TextStates:
    """Hidden states by sentence, in memory and on disk.

    Args:
        store: of the language model.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self._states: dict[tuple[int, ...], Tensor] = {}
        self._bytes = 0

    def get(self, ids: Tensor, mask: Tensor, encode: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The hidden states of right-padded rows.

        Args:
            ids: int64 [N,L].
            mask: [N,L], 1 where there is text.
            encode: gives the states [K,L',D] of rows [K,L'] that are not known yet.

        Returns:
            float32 [N,L,D] on the device of `ids`; zero where the mask is 0.
        """
        lengths = mask.sum(1).tolist()
        rows = [tuple(row[:length]) for row, length in zip(ids.tolist(), lengths)]
        made: dict[tuple[int, ...], Tensor] = {}
        fresh: dict[tuple[int, ...], int] = {}
        for place, row in enumerate(rows):
            if row in self._states or row in made or row in fresh:
                continue
            kept = self.store.load([_row_key(row)])
            if kept is None:
                fresh[row] = place
            else:
                made[row] = kept[0]["states"]
        if fresh:
            places = torch.tensor(list(fresh.values()), device=ids.device)
            width = max(map(len, fresh))
            states = encode(ids[places, :width], mask[places, :width]).float().cpu()
            for number, row in enumerate(fresh):
                made[row] = states[number, : len(row)].clone()
                self.store.save(_row_key(row), {"states": made[row]})
        for row, value in made.items():
            if self._bytes < _TEXT_BYTES:
                self._states[row] = value
                self._bytes += value.nbytes
        found = [made[row] if row in made else self._states[row] for row in rows]
        result = found[0].new_zeros(len(rows), ids.shape[1], found[0].shape[1])
        for number, value in enumerate(found):
            result[number, : len(value)] = value
        return result.to(ids.device)


def _row_key(row: Sequence[int]) -> str:
    return hashlib.blake2b(" ".join(map(str, row)).encode(), digest_size=20).hexdigest()


def picture_key(image: Image.Image) -> str:
    """A name for what a picture shows: its size and its pixels."""
    digest = hashlib.blake2b(f"{image.mode} {image.width} {image.height} ".encode(), digest_size=20)
    digest.update(image.tobytes())
    return digest.hexdigest()


def fingerprint(module: nn.Module, facts: Any, tensors: dict[str, Tensor] | None = None) -> str:
    """A name for a module's weights, with JSON-able facts and tensors that tell how it is used."""
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    for name, value in sorted({**module.state_dict(), **(tensors or {})}.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


@dataclass(frozen=True)
class PictureStores:
    """The stores of what is frozen; a collator reads them, the model writes them."""

    vision: FeatureStore | None
    """Of the VLM's vision tower."""
    sam: FeatureStore | None
    """Of SAM's image encoder."""

    def read(self, images: Sequence[Image.Image]) -> Batch:
        """What a batch holds of U pictures beside, or in place of, their pixels.

        Returns:
            `picture_keys`; `feature_grid` [U,Dv,h,w] and `feature_content` [U,4] if all of the pictures are known to
            the vision store, `sam_features` [U,C,h,w] and `sam_content` likewise.
        """
        if self.vision is None and self.sam is None:
            return {}
        batch: Batch = {"picture_keys": [picture_key(image) for image in images]}
        vision = None if self.vision is None else self.vision.load(batch["picture_keys"])
        if vision is not None:
            content = torch.stack([one["content"] for one in vision])
            grid, content, _ = pad_grids([one["grid"] for one in vision], content)
            batch["feature_grid"], batch["feature_content"] = grid, content
        sam = None if self.sam is None else self.sam.load(batch["picture_keys"])
        if sam is not None:
            batch["sam_features"] = torch.stack([one["features"] for one in sam])
            batch["sam_content"] = torch.stack([one["content"] for one in sam])
        return batch

    def know(self, image: Image.Image) -> bool:
        """Whether each of these stores has the picture."""
        stores = [store for store in (self.vision, self.sam) if store is not None]
        key = picture_key(image)
        return all(store.has(key) for store in stores)

    def keep_vision(self, keys: Sequence[str], features: ImageFeatures) -> None:
        """Keep the vision tower's features of U pictures, each without the padding that its batch gave it."""
        assert self.vision is not None
        height, width = features.grid.shape[-2:]
        for row, key in enumerate(keys):
            grid, content = features.grid[row], features.content[row]
            if features.mask is not None:
                there = features.mask[row].view(height, width)
                rows, columns = int(there.any(1).sum()), int(there.any(0).sum())
                grid = grid[:, :rows, :columns]
                content = content * content.new_tensor([width / columns, height / rows] * 2)
            self.vision.save(key, {"grid": grid, "content": content})

    def keep_sam(self, keys: Sequence[str], features: Tensor, content: Tensor) -> None:
        """Keep SAM's features [U,C,h,w] with their content boxes [U,4]."""
        assert self.sam is not None
        for row, key in enumerate(keys):
            self.sam.save(key, {"features": features[row], "content": content[row]})


@dataclass(frozen=True)
class EncoderCache:
    """What a model keeps of its frozen encoders' output; by default nothing."""

    pictures: PictureStores = PictureStores(None, None)
    """On disk."""
    text: TextStates | None = None
    """Of the language model."""
    parts: tuple[nn.Module, ...] = ()
    """The encoders, which must compute the same in training as in evaluation."""


def vision_features(batch: Batch) -> ImageFeatures | None:
    """The vision tower's features that a batch holds, if it does."""
    if "feature_grid" not in batch:
        return None
    grid = batch["feature_grid"]
    sequence = grid.flatten(2).transpose(1, 2)
    return ImageFeatures(sequence, grid, batch["feature_content"])
