"""What a card says of a language model: what it reads, how it is opened, where it is not to be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forgia_jobs.text import language

if TYPE_CHECKING:
    from forgia_jobs.telling.card_facts import Facts

COLUMNS = ("part", "blocks", "documents", "tokens a block")
"""Of the table of parts."""
OPEN_WHOLE = """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("RELEASE")
tokenizer = AutoTokenizer.from_pretrained("RELEASE")"""
OPEN_ADAPTERS = """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("BASE", use_safetensors=True)
model = PeftModel.from_pretrained(base, "RELEASE")
tokenizer = AutoTokenizer.from_pretrained("RELEASE")"""
ASK = """
text = tokenizer.decode([BEGIN]) + PROMPT
asked = tokenizer(text, return_tensors="pt", add_special_tokens=False)
said = model.generate(**asked, max_new_tokens=64, do_sample=False)
print(tokenizer.decode(said[0, asked["input_ids"].shape[1]:], skip_special_tokens=True))"""


def inputs(facts: Facts) -> str:
    """How the model is opened and asked."""
    from forgia_jobs.samples.tokens import prompt_of  # what reads text is no part of every installation

    known = facts.data.spec.samples
    has_adapters = bool(facts.request.weights and facts.request.params.get("rank"))
    code = (OPEN_ADAPTERS if has_adapters else OPEN_WHOLE) + "\n" + ASK
    prompt = repr(prompt_of("What is the tightening torque?"))
    code = code.replace("BEGIN", str(known["begin"])).replace("PROMPT", prompt)
    where = "RELEASE is the folder that `forgia model pull` writes"
    if has_adapters:
        (known_by,) = facts.request.weights.values()
        where += f", BASE the folder whose files `forgia` knew as `{known_by}`"
    return "\n\n".join(
        [
            "## What it takes and gives",
            f"It reads up to {known['context']:,} tokens of a vocabulary of {known['vocabulary']:,} and gives the "
            "chance of each next one. A question is put as it was in training; a passage that answers it stands before "
            f"it, parted by an empty line. Made with {language.versions()}.",
            f"```python\n{code}\n```",
            f"{where}. Set `HF_HUB_OFFLINE=1`, so that nothing is looked for on a network.",
        ]
    )


def limits(facts: Facts) -> str:
    """What it must not be used for."""
    del facts
    return "\n".join(
        [
            "## Limits",
            "",
            "It says what is likely to be written, not what is true: a wrong number comes in the same voice as a right "
            "one. Whoever tightens, opens or switches on anything reads the manual itself.",
            "",
            "Perplexity compares models of one tokenizer only. What stood in the documents, names and secrets "
            "included, can be said again by the model: whoever may use it must be allowed to read them.",
        ]
    )
