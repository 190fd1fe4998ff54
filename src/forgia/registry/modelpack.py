"""ModelPack: how the cloud-native world writes a model as OCI; the one module that knows this young format.

Source: https://github.com/modelpack/model-spec/blob/v0.0.7/docs/spec.md and schema/config-schema.json
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from forgia.registry import oci
from forgia.registry.oci import Descriptor
from forgia.release import Media, ReleaseDraft

ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
FILE_PATH = "org.cncf.model.filepath"

FORMATS = {".safetensors": "safetensors", ".onnx": "onnx"}
"""Suffix of a file of weights → the format's name; the first that a model has is the model's format."""


def layer_type(media: Media) -> str:
    """The media type of a file stored as it is, neither packed nor compressed."""
    return f"application/vnd.cncf.model.{media}.v1.raw"


def layer_annotations(name: str) -> dict[str, str]:
    """The file's relative path, once for ModelPack's tools and once for everybody else's."""
    return {FILE_PATH: name, oci.TITLE: name}


def config(draft: ReleaseDraft, layers: Sequence[Descriptor]) -> dict[str, Any]:
    """The model's config document; only fields that the schema knows, for it allows no others."""
    described = {
        "createdAt": draft.created,
        "authors": list(draft.authors),
        "name": draft.name,
        "version": draft.recipe_version,
        "licenses": [draft.licence] if draft.licence else [],
        "title": draft.title,
        "description": draft.summary,
    }
    technical: dict[str, Any] = {"capabilities": {"inputTypes": ["other"], "outputTypes": ["other"]}}
    suffixes = [PurePosixPath(file.name).suffix for file in draft.model_files if file.media == "weight"]
    facts = {
        "architecture": draft.architecture,
        "format": next((name for suffix, name in FORMATS.items() if suffix in suffixes), None),
        "precision": draft.precision,
    }
    technical.update({key: value for key, value in facts.items() if value})
    # For a raw layer the digest of the unpacked content is the layer's own.
    return {
        "descriptor": described,
        "config": technical,
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }
