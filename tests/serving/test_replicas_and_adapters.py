"""A tiny model whose engine starts with the first request, with an adapter beside it, and whose replica is killed."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import actors
import openai
import psutil
import pytest
import torch

from cluster import adapters
from cluster.engines import Replicas
from cluster.session import session
from pipelines.core.config import Engine
from serving.endpoints import Endpoints, held_port
from serving.served import Served

pytestmark = pytest.mark.engine

PROMPT = "Describe the bread near the river."
ADAPTED = "tiny/loud"


@pytest.fixture(scope="module")
def adapter(tiny_served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter that changes what the tiny model says."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(2)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_served), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base_url(tiny_served: Path, adapter: Path) -> Iterator[str]:
    with session() as live, held_port(None) as port:
        endpoints = Endpoints(live, port)
        engine = Engine(dtype="float32", max_model_len=512, max_num_seqs=4, enforce_eager=True)
        held = (adapters.beside(ADAPTED, adapter, tiny_served, "--adapter"),)
        yield endpoints.up([Served("tiny", tiny_served, "d", engine, Replicas(0, 1), held)], at_root=True)
        endpoints.close()


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=300) as client:
        yield client


def engines() -> list[Any]:
    """Replicas that hold an engine, as Serve sees them."""
    from ray import serve

    (application,) = serve.status().applications.values()
    return [
        state
        for name, deployment in application.deployments.items()
        if name != "Ingress"
        for state, count in deployment.replica_states.items()
        for _ in range(count)
    ]


def test_the_first_request_starts_the_engine_and_is_answered(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", ADAPTED]
    assert engines() == []
    answer = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=4, temperature=0)
    assert answer.usage is not None
    assert engines() == ["RUNNING"]


def test_model_and_adapter_say_what_they_say_here(client: openai.OpenAI, tiny_served: Path, adapter: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny_served).eval()
    expected = {"tiny": likelihoods(plain, tiny_served)}
    expected[ADAPTED] = likelihoods(PeftModel.from_pretrained(plain, adapter).eval(), tiny_served)
    for name, wanted in expected.items():
        told = client.completions.create(model=name, prompt=PROMPT, max_tokens=1, echo=True, logprobs=0, temperature=0)
        assert told.model == name
        assert told.choices[0].logprobs is not None
        found = told.choices[0].logprobs.token_logprobs
        assert found is not None
        assert found[1 : len(wanted) + 1] == pytest.approx(wanted, abs=2e-3)
    assert expected["tiny"] != pytest.approx(expected[ADAPTED], abs=0.1)


@torch.inference_mode()
def likelihoods(model: Any, folder: Path) -> list[float]:
    """Log-likelihood of each of the prompt's tokens but the first, in fp32."""
    from transformers import AutoTokenizer

    ids = torch.tensor([AutoTokenizer.from_pretrained(folder).encode(PROMPT)])
    logprobs = model(ids).logits[0, :-1].float().log_softmax(-1)
    return logprobs.gather(-1, ids[0, 1:, None])[:, 0].tolist()


@pytest.mark.parametrize("victim", ["replica", "engine"])
def test_an_engine_that_is_killed_loses_no_request(client: openai.OpenAI, victim: str) -> None:
    """Those without a stream are answered by the next one; a stream that had begun ends with an error."""
    asked: dict[str, Any] = {"model": "tiny", "prompt": PROMPT, "temperature": 0}
    whole: list[str] = []

    def ask() -> None:
        answer = client.completions.create(**asked, max_tokens=400, extra_body={"ignore_eos": True})
        whole.append(answer.choices[0].text)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    stream = client.completions.create(**asked, max_tokens=400, stream=True, extra_body={"ignore_eos": True})
    pieces = iter(stream)
    next(pieces)
    (replica,) = actors.pids("EngineServer")
    os.kill(replica if victim == "replica" else engine_of(replica), signal.SIGKILL)
    with pytest.raises(openai.APIError, match="died while it wrote"):
        list(pieces)
    for thread in asking:
        thread.join(timeout=240)
    assert len(whole) == 3
    assert len(set(whole)) == 1


def engine_of(replica: int) -> int:
    """vLLM's process beside it."""
    (pid,) = [child.pid for child in psutil.Process(replica).children() if "EngineCore" in child.name()]
    return pid
