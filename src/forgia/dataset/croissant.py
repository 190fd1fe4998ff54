"""A manifest told in Croissant 1.1, the metadata that other people's tools read.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html (context and required properties)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forgia import digest
from forgia.dataset.manifest import Column, DataFile, Manifest

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
PARQUET = "application/x-parquet"
"""What readers of Croissant know; mlcroissant 1.1.1 refuses the registered ``application/vnd.apache.parquet``."""
TERMS = (
    *("annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract"),
    *("field", "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath"),
    *("key", "md5", "parentField", "path", "readLines", "recordSet", "references", "regex", "repeated", "replace"),
    *("samplingRate", "separator", "source", "subField", "transform", "unArchive", "value"),
)
"""Terms that Croissant adds to schema.org; each stands for ``cr:<term>``."""
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    **{term: f"cr:{term}" for term in TERMS},
}
DATA_TYPES = {
    "number": "sc:Float",
    "category": "sc:Text",
    "text": "sc:Text",
    "boolean": "sc:Boolean",
    "time": "sc:Date",
    "image": "sc:ImageObject",
}
"""Kind of a column → schema.org type; whole numbers become ``sc:Integer``."""
CUSTOM_LICENCE = "LicenseRef-not-stated"
"""SPDX spelling for terms that no public licence names. Source: SPDX 2.3, annex D.1"""
FILES_ID, ROWS_ID = "parquet-files", "rows"


def croissant(manifest: Manifest, *, semantic_ids: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The value of ``croissant.json``: dataset, files with digests, and one field a column.

    Args: semantic_ids — concept id → URN or URL of the concept; a concept without one gets the
    URN of its first revision.
    """
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": manifest.name,
        "description": describe(manifest),
        "version": f"{manifest.version}.0.0",
        "license": manifest.licence or CUSTOM_LICENCE,
        "url": f"urn:forgia:dataset:{manifest.owner}:{manifest.ref}",
        "identifier": manifest.digest,
        "creator": {"@type": "sc:Organization", "name": manifest.owner},
        "datePublished": manifest.created,
        "prov:wasDerivedFrom": [
            {"@type": "prov:Entity", "name": source.name, "identifier": source.digest} for source in manifest.sources
        ],
        "distribution": distribution(manifest),
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": ROWS_ID,
                "name": ROWS_ID,
                "description": f"{manifest.rows} rows, one a record.",
                "field": [field(column, manifest, semantic_ids or {}) for column in manifest.columns],
            }
        ],
    }


def describe(manifest: Manifest) -> str:
    """One sentence for the catalogue: title, size and where the rows came from."""
    sources = ", ".join(source.name for source in manifest.sources) or "sources that were not recorded"
    size = f"{manifest.rows} rows of {len(manifest.columns)} columns, imported from {sources}"
    return f"{manifest.title}: {size}." if manifest.title else f"{size}."


def distribution(manifest: Manifest) -> list[dict[str, Any]]:
    """A file object for each Parquet file, and a file set where there are several."""
    files = [file_object(item) for item in manifest.files]
    if len(files) == 1:
        return files
    return [
        *files,
        {
            "@type": "cr:FileSet",
            "@id": FILES_ID,
            "name": FILES_ID,
            "encodingFormat": PARQUET,
            "includes": "data/*.parquet",
        },
    ]


def file_object(item: DataFile) -> dict[str, Any]:
    """One Parquet file; its address is relative to the version's folder."""
    return {
        "@type": "cr:FileObject",
        "@id": item.path,
        "name": item.path.rpartition("/")[2],
        "contentUrl": item.path,
        "contentSize": f"{item.size} B",
        "encodingFormat": PARQUET,
        "sha256": digest.hexadecimal(item.digest),
    }


def field(column: Column, manifest: Manifest, semantic_ids: Mapping[str, str]) -> dict[str, Any]:
    """One column as a field: where its values lie, what they mean and their unit."""
    origin = {"fileSet": {"@id": FILES_ID}}
    if len(manifest.files) == 1:
        origin = {"fileObject": {"@id": manifest.files[0].path}}
    found: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{ROWS_ID}/{column.name}",
        "name": column.name,
        "description": f"Column {column.source!r} of the source" + (f", in {column.unit}." if column.unit else "."),
        "dataType": "sc:Integer" if "int" in column.dtype and column.kind == "number" else DATA_TYPES[column.kind],
        "source": {**origin, "extract": {"column": column.name}},
    }
    if column.concept:
        found["equivalentProperty"] = semantic_ids.get(column.concept, f"urn:forgia:concept:{column.concept}:1")
    if column.unit:
        found["unitText"] = column.unit
    return found
