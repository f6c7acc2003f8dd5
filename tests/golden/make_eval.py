"""Makes ``eval-char.safetensors``, ``eval-word.safetensors`` and ``eval.txt``.

    python -m tests.golden.make_eval

Run it from the repository's root after a change of what ``charrnn eval`` prints. The models are
tiny and untrained: their weights are drawn, so that every machine makes the same files.
``eval.txt`` has the commands below, each with its output. Figures that are shown with few digits
are the same on every machine: the script refuses those that are close to where rounding turns.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np

from charrnn.checkpoint import Checkpoint, save
from charrnn.config import ModelConfig
from charrnn.params import initial_values
from charrnn.text import CharVocabulary, Vocabulary
from charrnn.text.tokens import WORDS
from charrnn.text.words import WordVocabulary
from tests.support.shell import charrnn

FOLDER = Path(__file__).parent
FILE = FOLDER / "eval.txt"

#: Of a text and of hypotheses; neither model knows all of their symbols.
INPUTS = {
    "eval-text.txt": "The cat goes.\n\nA naïve ☃, I'm",
    "eval-nbest.tsv": "1\tthe cat goes\n2\tthe car goes\n3\tthe cat's going, then\n",
}
COMMANDS = [
    f"charrnn eval -m eval-{level}.safetensors {rest}"
    for level, other in (("char", "word"), ("word", "char"))
    for rest in (
        "eval-text.txt",
        "eval-text.txt eval-nbest.tsv",
        "--lanes 2 eval-text.txt",
        "--score-only eval-text.txt",
        "--json eval-text.txt",
        "--per line eval-text.txt",
        "--per line --reset line --sort surprisal --top 2 eval-text.txt",
        "--per token --alternatives 2 eval-text.txt",
        "--nbest --sort score eval-nbest.tsv",
        f"--json --compare eval-{other}.safetensors eval-text.txt eval-nbest.tsv",
        "--dynamic eval-text.txt eval-nbest.tsv",
    )
]


def answer(command: str) -> str:
    """What a command prints: on stdout, then on stderr."""
    found = charrnn(*shlex.split(command)[1:], cwd=FOLDER)
    assert found.code == 0, found.err
    return found.out + found.err


#: Digits behind the point in the table.
DIGITS = {"nats_per_token": 4, "bits_per_character": 4, "perplexity": 2, "perplexity_known": 2}


def check_rounding(command: str) -> None:
    """Fails where another machine might round a figure of the table differently."""
    found = json.loads(answer(f"{command} --json").splitlines()[0])
    files = [*found["files"], found["total"]]
    for row in [score for f in files for score in (f, *f.get("adapted", {}).values())]:
        for name, digits in DIGITS.items():
            assert abs(row[name] * 10**digits % 1 - 0.5) > 0.02, f"{command}: {name} {row[name]}"


def main() -> None:
    """Write the files."""
    words = ["\n", ".", ", ", "the", "The", "then", "cat", "car", "goes", "going", "I'm", "a", "A"]
    vocabularies: dict[str, Vocabulary] = {
        "char": CharVocabulary("\n .,'AITacegnorst"),
        "word": WordVocabulary(words, WORDS),
    }
    for level, vocabulary in vocabularies.items():
        config = ModelConfig(
            len(vocabulary), level, cell="gru", layers=2, hidden_size=8, embed_size=6
        )
        weights = initial_values(config, "uniform", np.random.default_rng(0))
        for name, value in weights.items():
            value *= 3 if "bias" in name else 4  # so that probabilities differ
        save(Checkpoint(config, vocabulary, weights), FOLDER / f"eval-{level}.safetensors")
    for name, text in INPUTS.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    for command in COMMANDS:
        if "--" not in command.replace("--lanes", "").replace("--dynamic", ""):
            check_rounding(command)
    shown = [f"$ {command}\n{answer(command)}" for command in COMMANDS]
    FILE.write_text("".join(shown), encoding="utf-8")


if __name__ == "__main__":
    main()
