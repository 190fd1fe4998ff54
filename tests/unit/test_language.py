"""Language models: documents stay apart, adapters alone are learnt and kept, nothing of a base's folder is run."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia_jobs.task import load_task
from forgia_jobs.text import language
from forgia_jobs.text.token_blocks import NEXT, NOT_LEARNT, POSITIONS, TOKENS, Passage, pack

CONTEXT, VOCABULARY = 24, 40


@pytest.fixture(scope="module")
def spec() -> FeatureSpec:
    samples = {"kind": "tokens", "context": CONTEXT, "vocabulary": VOCABULARY, "begin": 0, "end": 0}
    return FeatureSpec(numeric=(), categorical=(), target="text", output="tokens", samples=samples)


@pytest.fixture(scope="module")
def network(spec: FeatureSpec) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what transformers imports
        torch.manual_seed(0)
        return language.small(spec, language.Shape(width=16, layers=2, heads=2)).eval()


@pytest.fixture
def base(network: nn.Module, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    language.write(folder, network, merge=False)
    return folder


def passage(size: int, seed: int) -> Passage:
    drawn = np.random.default_rng(seed).integers(1, VOCABULARY, size)
    return Passage(tokens=np.asarray([0, *drawn], dtype=np.int32), group=seed)


def batch(passages: list[Passage]) -> dict[str, Tensor]:
    blocks, _ = pack([passages], CONTEXT, apart=[False])
    layers = torch.from_numpy(blocks.layers.astype(np.int64))
    return {"tokens": layers[TOKENS], "positions": layers[POSITIONS], "next": layers[NEXT]}


def surprise(model: nn.Module, passages: list[Passage], *, apart: bool = True) -> float:
    with torch.no_grad():
        return float(language.surprise(model, batch(passages), apart=apart).sum())


def adapted(base: Path, spec: FeatureSpec) -> nn.Module:
    torch.manual_seed(1)
    return language.adapted(language.of_base(base, spec, numbers="float32"), rank=2, alpha=4.0, dropout=0.0)


def test_documents_of_one_block_are_foretold_as_if_alone(network: nn.Module) -> None:
    documents = [passage(size, seed) for seed, size in enumerate((9, 7, 6))]
    assert batch(documents)["tokens"].shape == (1, CONTEXT)
    alone = sum(surprise(network, [one]) for one in documents)
    assert surprise(network, documents) == pytest.approx(alone, rel=1e-5)
    assert surprise(network, documents, apart=False) != pytest.approx(alone, rel=1e-5)


def test_a_network_that_does_not_part_documents_is_refused(network: nn.Module) -> None:
    language.check_apart(network)

    class Blind(nn.Module):
        def forward(self, input_ids: Tensor, position_ids: Tensor, **_: Any) -> Any:
            return network(input_ids=input_ids, position_ids=torch.arange(6).unsqueeze(0), use_cache=False)

    with pytest.raises(UserError, match="Blind does not part documents"):
        language.check_apart(Blind())


def test_only_adapters_are_learnt_kept_and_published(base: Path, spec: FeatureSpec, tmp_path: Path) -> None:
    model = adapted(base, spec)
    learnt = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(model.state_dict()) == learnt
    assert all("lora_" in name for name in learnt)
    language.surprise(model, batch([passage(20, 3)]), apart=True).sum().backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in model.parameters())
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        language.write(place, model, merge=False)
    names = [sorted(path.name for path in place.iterdir()) for place in places]
    assert names[0] == names[1] == ["adapter_config.json", "adapter_model.safetensors"]
    assert all((places[0] / name).read_bytes() == (places[1] / name).read_bytes() for name in names[0])
    assert str(base) not in (places[0] / "adapter_config.json").read_text()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_adapters_and_what_is_merged_open_again_and_say_the_same(base: Path, spec: FeatureSpec, tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    model, document = adapted(base, spec), [passage(20, 3)]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    expected = surprise(model, document)
    fresh = adapted(base, spec)
    assert surprise(fresh, document) != pytest.approx(expected)
    fresh.load_state_dict(model.state_dict())
    assert surprise(fresh, document) == pytest.approx(expected)
    language.write(tmp_path / "release", model, merge=True)
    loaded = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "release")
    assert surprise(loaded, document) == pytest.approx(expected, rel=1e-5)
    merged = language.of_base(tmp_path / "release" / language.MERGED, spec, numbers="float32")
    assert surprise(merged, document) == pytest.approx(expected, rel=1e-5)
    shutil.copytree(base, tmp_path / "release", dirs_exist_ok=True)
    with pytest.raises(UserError, match="holds adapters beside the weights"):  # they would be put on unasked
        language.of_base(tmp_path / "release", spec, numbers="float32")


def test_a_state_that_lacks_an_adapter_is_refused(base: Path, spec: FeatureSpec) -> None:
    model = adapted(base, spec)
    state = model.state_dict()
    state.pop(next(iter(state)))
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(state)


def change(path: Path, said: Mapping[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **said}))


def test_a_base_of_a_shorter_context_or_another_kind_is_refused(base: Path, spec: FeatureSpec) -> None:
    change(base / "config.json", {"max_position_embeddings": CONTEXT - 1})
    with pytest.raises(UserError, match=f"a context of {CONTEXT} tokens"):
        language.of_base(base, spec, numbers="float32")
    change(base / "config.json", {"model_type": "unheard-of"})
    with pytest.raises(UserError, match="cannot read these weights"):
        language.of_base(base, spec, numbers="float32")


def test_code_in_the_folder_of_a_base_is_not_run(base: Path, spec: FeatureSpec, tmp_path: Path) -> None:
    (base / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Own: pass\nOwnConfig = Own\n")
    kinds = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    change(base / "config.json", {"auto_map": kinds, "model_type": "own"})
    with pytest.raises(UserError, match="cannot read these weights"):
        language.of_base(base, spec, numbers="float32")
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_the_folder_of_a_base_is_not_read(base: Path, spec: FeatureSpec) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot read these weights"):
        language.of_base(base, spec, numbers="float32")


def test_an_answer_is_the_likeliest_token_after_another(network: nn.Module) -> None:
    prompts, room = [passage(size, seed).tokens for seed, size in enumerate((6, 11, 3))], [5, 2, 8]
    found = language.continued(network, prompts, room=room, end=0)
    for prompt, most, said in zip(prompts, room, found, strict=True):
        tokens = prompt.tolist()
        expected: list[int] = []
        with torch.no_grad():
            while len(expected) < most:
                best = int(network(input_ids=torch.tensor([tokens])).logits[0, -1].argmax())
                if best == 0:
                    break
                tokens.append(best)
                expected.append(best)
        assert said == expected


def test_the_loss_of_a_batch_is_that_of_its_parts_however_much_each_lets_learn(
    spec: FeatureSpec, repository: Path
) -> None:
    task = load_task(repository / "recipes" / "document-assistant", "task:DocumentAssistant")
    params = {"base": "", "rank": 0, "apart": True, "merge": False, "width": 16, "layers": 1, "heads": 2}
    model = task.model(replace(spec, target_mean=12.5), params).eval()
    found = batch([passage(size, seed) for seed, size in enumerate((24, 17, 20, 22))])
    weighed = {**found, "weight": torch.ones(4)}
    parts = [{name: column[rows] for name, column in weighed.items()} for rows in (slice(0, 1), slice(1, 4))]
    with torch.no_grad():
        whole, first, rest = (float(task.loss(model, part)) for part in (weighed, *parts))
    assert whole == pytest.approx((first + 3 * rest) / 4, rel=1e-5)


def test_surprise_counts_learnt_tokens_alone(network: nn.Module) -> None:
    one = passage(10, 4)
    whole = batch([one])
    asked = batch([Passage(tokens=one.tokens, asked=5)])
    assert torch.equal(whole["tokens"], asked["tokens"])
    logits = network(input_ids=whole["tokens"], position_ids=whole["positions"]).logits.detach().log_softmax(-1)
    for given in (whole, asked):
        is_learnt = given["next"] != NOT_LEARNT
        said = logits.gather(2, given["next"].clamp_min(0).unsqueeze(2)).squeeze(2)
        found = language.surprise(network, given, apart=True).detach()
        assert float(found.sum()) == pytest.approx(-float(said[is_learnt].sum()), rel=1e-5)
