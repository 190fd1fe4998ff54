"""From text to tokens and back: a tokenizer that came with a network's weights, or one that is learnt from the text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forgia import store
from forgia.errors import UserError

try:
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers
except ModuleNotFoundError as missing:
    raise UserError(f"text cannot be read: {missing}", hint="pip install 'forgia[llm]'") from missing

END = "<|endoftext|>"
"""Ends every text, and begins it where the tokenizer has no other token for that."""
FILE = "tokenizer.json"
BYTES = 256
AT_ONCE = 2048
"""Texts encoded at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """Bytes to numbers; words that mean something to a network, such as the end of a text, are plain text here."""

    inner: tokenizers.Tokenizer
    begin: int
    end: int
    vocabulary: int
    """Numbers that the network has a row for."""

    def encode(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """The tokens of each text, nothing added before or after."""
        found: list[npt.NDArray[np.int32]] = []
        for start in range(0, len(texts), AT_ONCE):
            encoded = self.inner.encode_batch(list(texts[start : start + AT_ONCE]), add_special_tokens=False)
            found += [np.asarray(item.ids, dtype=np.int32) for item in encoded]
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some tokens, without those that only mark its ends."""
        return str(self.inner.decode(list(ids), skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        """``tokenizer.json``, and what transformers wants beside it."""
        self.inner.encode_special_tokens = False  # whoever opens it decides that
        (folder / FILE).write_text(self.inner.to_str(pretty=True), encoding="utf-8")
        self.inner.encode_special_tokens = True
        end = self.inner.id_to_token(self.end)
        about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "pad_token": end}
        store.write_json(folder / "tokenizer_config.json", about)


def learn(texts: Iterable[str], *, vocabulary: int) -> Tokenizer:
    """A byte-pair tokenizer of these texts; the same texts give the same tokenizer.

    Source: byte-level BPE as Radford et al., Language Models are Unsupervised Multitask Learners (2019), section 2.2.
    Raises: UserError — no room for every byte and the end of a text.
    """
    if vocabulary <= BYTES:
        raise UserError(f"a vocabulary of {vocabulary}: {BYTES + 1} are needed for every byte and the end of a text")
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    end = int(inner.token_to_id(END) or 0)  # it is the first entry
    return Tokenizer(inner=_plain(inner), begin=end, end=end, vocabulary=inner.get_vocab_size())


def of_base(folder: Path) -> Tokenizer:
    """The tokenizer of a folder of weights. Raises: UserError — it does not go with the weights beside it."""
    config = _object(folder / "config.json")
    try:
        inner = tokenizers.Tokenizer.from_file(str(folder / FILE))
    except Exception as error:
        raise UserError(f"{folder / FILE} is no tokenizer: {error}") from error
    end = _first(config.get("eos_token_id"))
    if end is None:
        raise UserError(f"{folder / 'config.json'}: no eos_token_id, so no text would end")
    begin = _first(config.get("bos_token_id"))
    size, rows = inner.get_vocab_size(with_added_tokens=True), int(config.get("vocab_size", 0))
    if size > rows:
        raise UserError(f"{folder}: the tokenizer has {size:,} tokens, the network {rows:,} rows for them")
    return Tokenizer(inner=_plain(inner), begin=end if begin is None else begin, end=end, vocabulary=rows)


def _plain(inner: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """A text that spells a special token must not end in the middle of itself."""
    inner.encode_special_tokens = True
    inner.no_truncation()
    inner.no_padding()
    return inner


def _first(value: Any) -> int | None:
    found = value[0] if isinstance(value, list) and value else value
    return int(found) if isinstance(found, int) else None


def _object(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object")
    return value
