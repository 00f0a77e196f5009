"""Pretrained encoders of texts and pictures (optional: ``pip install 'recbole-sibrar[encoders]'``)."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from recbole_sibrar.errors import DataError, not_installed

Loaded = TypeVar("Loaded")
Encoder = Callable[[list[Any]], np.ndarray]  # texts, or paths of pictures, to (B, D) float32
MODELS = {"text": "sentence-transformers/all-mpnet-base-v2", "image": "microsoft/resnet-50"}


def _extra(package: str) -> DataError:
    return DataError(not_installed("--encode", package, "encoders"))


def _load(model: str, load: Callable[[str], Loaded]) -> Loaded:
    try:
        return load(model)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"The model {model!r} cannot be loaded ({str(error).splitlines()[0]:.200}). Without network, give the "
            "folder of a downloaded model with --text-model or --image-model."
        ) from None


def _text_encoder(model: str) -> Encoder:
    """A function from texts to (B, D) float32."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise _extra("sentence-transformers") from None
    encoder = _load(model, SentenceTransformer)
    return lambda texts: encoder.encode(texts, batch_size=len(texts), show_progress_bar=False)


def _image_encoder(model: str) -> Encoder:
    """A function from paths to (B, D) float32: the model's pooled output, or the mean over its positions."""
    try:
        from PIL import Image
        from transformers import AutoImageProcessor, AutoModel
    except ImportError:
        raise _extra("transformers with pillow") from None
    import torch

    # The slow processor: the fast one needs torchvision.
    processor = _load(model, lambda name: AutoImageProcessor.from_pretrained(name, use_fast=False))
    network = _load(model, AutoModel.from_pretrained).eval()
    if hasattr(network, "get_image_features"):
        network = network.vision_model

    def encode(paths: list[str]) -> np.ndarray:
        pictures = []
        for path in paths:
            try:
                with Image.open(path) as picture:
                    pictures.append(picture.convert("RGB"))
            except OSError as error:
                raise DataError(f"{path}: no readable picture ({error}); replace or remove it.") from None
        with torch.inference_mode():
            output = network(pixel_values=processor(pictures, return_tensors="pt")["pixel_values"])
        pooled = getattr(output, "pooler_output", None)
        return (output.last_hidden_state.mean(dim=1) if pooled is None else pooled).flatten(1).numpy()

    return encode


LOADERS = {"text": _text_encoder, "image": _image_encoder}
