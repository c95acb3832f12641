"""Which application holds which models: vLLM's engines, or an encoder-decoder of ours.

Knows that an encoder-decoder, which is none for vLLM, has an application of its own. Starts nothing.
"""

from collections.abc import Sequence
from typing import Any

from cluster.session import Session
from pipelines.core.chat import ChatTokenizer
from serving.door import Door
from serving.served import Served
from serving.site import Site


def holding(models: Sequence[Served], session: Session, door: Door, site: Site | None = None) -> Any:
    """An application for Serve to run, with these models behind this door, and a site.

    An encoder-decoder reads no chats, which is all that the page writes, so no site is beside it.
    """
    if any(ChatTokenizer(str(model.folder)).is_encoder_decoder for model in models):
        from serving import encoder_decoder

        assert len(models) == 1, f"an encoder-decoder is served alone, not as one of {[m.name for m in models]}"
        (model,) = models
        return encoder_decoder.application(model.name, model.folder, model.engine, session.of(model.role), door)
    from serving.front import openai_app

    return openai_app(models, session, door, site)
