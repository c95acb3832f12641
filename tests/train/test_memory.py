"""A step's memory does not grow with tokens times vocabulary: measured as the peak of a process of its own."""

import os
import subprocess
import sys

import pytest

# A student and a teacher with a wide vocabulary and nothing else; prints by how many MiB the peak grows in one step.
_STEP = """
import sys
from pathlib import Path
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from pipelines.core.config import Train
from pipelines.core.records import TrainExample
from pipelines.train import head
from pipelines.train.batches import collate
from pipelines.train.learner import Learner
from pipelines.train.references import Companions

tokens, at_once = int(sys.argv[1]), int(sys.argv[2])
head.LOGITS_AT_ONCE = at_once
torch.set_num_threads(1)
shape = LlamaConfig(
    vocab_size=65536, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
    max_position_embeddings=2048, tie_word_embeddings=True,
)
student, teacher = LlamaForCausalLM(shape), LlamaForCausalLM(shape)
config = Train(losses={"answer": 1.0, "kd": 1.0}, kd={"source": "online"})
learner, companions = Learner(student, config), Companions(config, teacher.requires_grad_(False), None, None)

def step(tokens):
    batch = collate([TrainExample("e", "", "", "answer", (1,) * (tokens + 1), (0.0,) + (1.0,) * tokens)], {})
    sum(learner.sums(batch, companions.read(batch)).values()).backward()

def peak():  # not getrusage's, which a process takes over from the one that started it
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

step(8)  # gradients and kernels are there afterwards
before = peak()
step(tokens)
print(peak() - before)
"""
_MIB = 2**20
WHOLE = 512 * 65536 * 4 / _MIB  # fp32 log-probabilities of 512 tokens: 128 MiB


def _growth(tokens: int, logits_at_once: int) -> float:
    """MiB. Large blocks go back to the system when they are freed, as those of real sizes do by themselves."""
    done = subprocess.run(
        [sys.executable, "-c", _STEP, str(tokens), str(logits_at_once)],
        capture_output=True, text=True, check=True, env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(_MIB)},
    )  # fmt: skip
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told in other ways elsewhere")
def test_the_peak_is_bounded_by_the_chunk_and_not_by_the_pack() -> None:
    chunk = 16  # MiB in fp32
    all_at_once, few, many = (_growth(512, 2**40), *(_growth(n, chunk * _MIB // 4) for n in (512, 1024)))
    # The student's and the teacher's log-probabilities and what the KL makes of them: about five of one size.
    assert all_at_once > 4 * WHOLE
    assert few < 7 * chunk < WHOLE
    assert many < 7 * chunk  # twice the tokens
