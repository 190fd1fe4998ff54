"""Croissant metadata: what the specification requires, and what readers need to find every column."""

from __future__ import annotations

from typing import Any

import pytest

from forgia.dataset.croissant import croissant
from forgia.dataset.manifest import Column, DataFile, Manifest, Source

REQUIRED = ("@context", "@type", "conformsTo", "name", "description", "license", "url", "creator", "datePublished")


def manifest(*, files: int = 1, **changed: Any) -> Manifest:
    return Manifest(
        **{
            "name": "mill-7",
            "version": 3,
            "owner": "alfa",
            "created": "2026-11-22T10:00:00Z",
            "title": "Mill 7",
            "licence": "CC-BY-4.0",
            "sources": (Source(name="mill.csv", digest="sha256:" + "1" * 64, size=7),),
            "files": tuple(
                DataFile(path=f"data/part-{n:05}.parquet", digest="sha256:" + "ab" * 32, size=1234, rows=5)
                for n in range(files)
            ),
            "columns": (
                Column(name="air_temperature", source="Temp. aria (°C)", concept="air_temperature", unit="K"),
                Column(name="count", source="count", dtype="int64"),
                Column(name="product_grade", source="Type", concept="product_grade", kind="category", dtype="string"),
                Column(
                    name="machine_failure", source="Guasto", concept="machine_failure", kind="boolean", dtype="bool"
                ),
                Column(name="timestamp", source="Ora", concept="timestamp", kind="time", dtype="timestamp[us, tz=UTC]"),
            ),
            "rows": 5 * files,
            **changed,
        }
    )


def fields(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in value["recordSet"][0]["field"]}


def test_everything_the_specification_requires_is_there() -> None:
    found = croissant(manifest())
    assert all(found.get(key) for key in REQUIRED)
    assert found["distribution"]
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert found["version"] == "3.0.0"
    assert "Mill 7" in found["description"]


def test_the_context_speaks_of_schema_org_over_https() -> None:
    context = croissant(manifest())["@context"]
    assert context["@vocab"] == context["sc"] == "https://schema.org/"
    assert context["conformsTo"] == "dct:conformsTo"


def test_a_dataset_without_a_licence_says_that_none_was_stated() -> None:
    assert croissant(manifest(licence=""))["license"] == "LicenseRef-not-stated"


@pytest.mark.parametrize("files", [1, 3])
def test_every_file_stands_with_its_digest_and_size(files: int) -> None:
    objects = [item for item in croissant(manifest(files=files))["distribution"] if item["@type"] == "cr:FileObject"]
    assert len(objects) == files
    assert {item["sha256"] for item in objects} == {"ab" * 32}
    assert {item["contentSize"] for item in objects} == {"1234 B"}
    assert all(item["contentUrl"] == item["@id"] and item["encodingFormat"] and item["name"] for item in objects)


@pytest.mark.parametrize("files", [1, 3])
def test_every_field_has_a_source_that_exists(files: int) -> None:
    found = croissant(manifest(files=files))
    ids = {item["@id"] for item in found["distribution"]}
    for name, field in fields(found).items():
        source = field["source"]
        assert (source.get("fileObject") or source["fileSet"])["@id"] in ids
        assert source["extract"] == {"column": name}
        assert field["@id"] == f"rows/{name}"
    assert ("fileSet" in fields(found)["count"]["source"]) == (files > 1)


def test_fields_carry_type_unit_and_meaning() -> None:
    found = fields(croissant(manifest(), semantic_ids={"air_temperature": "urn:forgia:concept:air_temperature:4"}))
    assert [field["dataType"] for field in found.values()] == [
        "sc:Float",
        "sc:Integer",
        "sc:Text",
        "sc:Boolean",
        "sc:Date",
    ]
    assert found["air_temperature"]["unitText"] == "K"
    assert found["air_temperature"]["equivalentProperty"] == "urn:forgia:concept:air_temperature:4"
    assert found["product_grade"]["equivalentProperty"] == "urn:forgia:concept:product_grade:1"
    assert not {"equivalentProperty", "unitText"} & set(found["count"])
