"""Language models of transformers: small ones from nothing, or a base read from a folder; learnt whole, or by adapters.

Adapters are those of LoRA: Hu, Shen, Wallis et al.: LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022,
https://arxiv.org/abs/2106.09685, as peft keeps them. Nothing is ever fetched: transformers is told that it is offline.
"""

from __future__ import annotations

import functools
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from forgia import store
from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia_jobs.text.token_blocks import NOT_LEARNT

NUMBERS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Types in which the weights of a base can be kept."""
ADAPTERS = "adapter_config.json"
MERGED = "merged"
PROMPTS_AT_ONCE = 16
WIDER = 8
"""The inner width of a block is a multiple of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A network made from nothing."""

    width: int
    layers: int
    heads: int


def offline() -> Any:
    """transformers, which takes seconds to import and must not look for anything on a network.

    Raises: UserError — it is not installed.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise UserError(f"no language model can be made: {error}", hint="pip install 'forgia[llm]'") from error
    talk: Any = transformers.logging
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    return transformers


def small(spec: FeatureSpec, shape: Shape) -> nn.Module:
    """Random weights in the form of Llama.

    Source: Touvron et al.: LLaMA: Open and Efficient Foundation Language Models (2023), section 2.2: the inner width is
    two thirds of four times the width.
    Raises: UserError — the width cannot be shared out among the heads.
    """
    if shape.width % (2 * shape.heads):
        raise UserError(f"width {shape.width}: {shape.heads} heads need a multiple of {2 * shape.heads}")
    known = spec.samples
    config = offline().LlamaConfig(
        vocab_size=known["vocabulary"],
        hidden_size=shape.width,
        intermediate_size=-(-8 * shape.width // (3 * WIDER)) * WIDER,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=known["context"],
        bos_token_id=known["begin"],
        eos_token_id=known["end"],
        pad_token_id=None,
        use_cache=False,
    )
    return _module(offline().AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"))


def of_base(place: Path, spec: FeatureSpec, *, numbers: str) -> nn.Module:
    """The network of a folder; its code is transformers' own, whatever the folder says, and its tensors no pickle.

    Raises: UserError — of a kind that transformers does not know, made for a shorter context, or with adapters beside.
    """
    if (place / ADAPTERS).exists():
        raise UserError(f"{place}: holds adapters beside the weights", hint="merge them into the weights first")
    try:
        found = offline().AutoModelForCausalLM.from_pretrained(
            place,
            dtype=NUMBERS[numbers],
            attn_implementation="sdpa",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{place}: transformers cannot read these weights: {first}") from error
    longest, context = getattr(found.config, "max_position_embeddings", None), spec.samples["context"]
    if longest is not None and context > longest:
        raise UserError(f"a context of {context} tokens, but {place} was made for {longest} at most")
    return _module(found)


def adapted(model: nn.Module, *, rank: int, alpha: float, dropout: float) -> nn.Module:
    """The network with adapters on the linear maps of its blocks; only these are learnt, kept and published."""
    try:
        import peft
    except ModuleNotFoundError as error:
        raise UserError(f"no adapters can be made: {error}", hint="pip install 'forgia[llm]', or rank=0") from error
    make: Any = peft.LoraConfig
    settings = make(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft 0.21.2 asks transformers 5.23 by an older name
        wrapped = _module(peft.get_peft_model(cast(Any, model), settings))
    keep_learnt(wrapped)
    return wrapped


def keep_learnt(model: nn.Module) -> None:
    """Leave what is not learnt out of the network's state: it is read again from where it came."""
    fixed = {name for name, parameter in model.named_parameters(remove_duplicate=False) if not parameter.requires_grad}

    def drop(_module: nn.Module, state: dict[str, Any], prefix: str, _about: Any) -> None:
        for name in fixed:
            state.pop(prefix + name, None)

    def forgive(_module: nn.Module, found: Any) -> None:
        found.missing_keys[:] = [name for name in found.missing_keys if name not in fixed]

    hooked: Any = model
    hooked.register_state_dict_post_hook(drop)
    hooked.register_load_state_dict_post_hook(forgive)


def check_apart(model: nn.Module) -> None:
    """Raises: UserError — in this network, documents that share a block would see each other."""
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    with torch.no_grad():
        one, other = (
            model(input_ids=torch.tensor([[first, 1, 2, 3, 4, 5]]), position_ids=positions, use_cache=False).logits
            for first in (6, 7)
        )
    if not torch.equal(one[:, 3:], other[:, 3:]):
        text = f"{type(model).__name__} does not part documents that share a block"
        raise UserError(text, hint="set apart=false: a token then sees the documents before it in its block, too")


def surprise(model: nn.Module, inputs: Mapping[str, Tensor], *, apart: bool) -> Tensor:
    """The sum over a block of the negative logarithms of the probabilities that its tokens were given.

    Shapes: ``tokens``, ``positions`` and ``next`` (batch, context) to (batch,).
    """
    positions = inputs["positions"] if apart else None
    logits = model(input_ids=inputs["tokens"], position_ids=positions, use_cache=False).logits
    ahead = inputs["next"]
    flat = functional.cross_entropy(
        logits.flatten(0, 1).float(), ahead.flatten(), ignore_index=NOT_LEARNT, reduction="none"
    )
    return flat.view_as(ahead).sum(1)


def continued(
    model: nn.Module, prompts: Sequence[npt.NDArray[np.int32]], *, room: Sequence[int], end: int
) -> list[list[int]]:
    """The likeliest next token after another, up to the end of the text or of the room."""
    found: list[list[int]] = []
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        stop = start + PROMPTS_AT_ONCE
        made = _generated(model, prompts[start:stop], most=max(room[start:stop]), end=end)
        found += [_up_to(end, answer[:most]) for answer, most in zip(made, room[start:stop], strict=True)]
    return found


def _generated(model: nn.Module, prompts: Sequence[npt.NDArray[np.int32]], *, most: int, end: int) -> list[list[int]]:
    """What follows prompts of different lengths, which are filled up on the left and masked there."""
    longest = max(map(len, prompts))
    device = next(model.parameters()).device
    tokens = np.full((len(prompts), longest), end, dtype=np.int64)
    mask = np.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :], mask[row, longest - len(prompt) :] = prompt, 1
    wanted = offline().GenerationConfig(
        max_new_tokens=most, do_sample=False, eos_token_id=end, pad_token_id=end, use_cache=True
    )
    with torch.no_grad():
        made = model.generate(  # type: ignore[operator]
            input_ids=torch.from_numpy(tokens).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            generation_config=wanted,
        )
    rows: list[list[int]] = made[:, longest:].tolist()
    return rows


def _up_to(end: int, ids: list[int]) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids


def write(folder: Path, model: nn.Module, *, merge: bool) -> None:
    """A folder that transformers or peft opens: the whole network, or its adapters.

    Args: merge — write the whole network with the adapters in it, too, in a folder below.
    """
    peft_config = getattr(model, "peft_config", None)
    if peft_config is None:
        model.save_pretrained(folder)  # type: ignore[operator]
        return
    model.save_pretrained(folder, save_embedding_layers=False)  # type: ignore[operator]
    (folder / "README.md").unlink(missing_ok=True)  # the card is written by whoever knows the data
    said = json.loads((folder / ADAPTERS).read_bytes())
    # The base's place on this machine says nothing elsewhere, and a set has no order: equal runs give equal bytes.
    said |= {"base_model_name_or_path": None, "target_modules": sorted(said["target_modules"])}
    store.write_json(folder / ADAPTERS, said)
    if merge:  # in a folder of its own: beside adapters, transformers would put those on top of it once more
        model.merge_and_unload().save_pretrained(folder / MERGED)  # type: ignore[operator]


@functools.cache
def versions() -> str:
    """The libraries, for the card."""
    return f"transformers {offline().__version__}"


def _module(found: Any) -> nn.Module:
    module: nn.Module = found
    return module
