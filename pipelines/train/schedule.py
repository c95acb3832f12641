"""The learning rate of each step: warm-up, then one of several ways down (or up).

Knows settings and step numbers.
"""

import math

from pipelines.core.config import Train


def learning_rate(config: Train, step: int, steps: int) -> float:
    """The rate of step number `step` of `steps`, counted from 0; the last step has `final_learning_rate` of the peak.

    Warm-up is linear. Then, with p the share of the other steps that are done: linear and cosine fall all the way;
    wsd (warm-up, stable, decay; arXiv 2404.06395) stays at the peak and falls linearly in the last `decay` of the
    steps; constant stays. A ramp has no other warm-up: it rises linearly to the peak in all of the steps.
    """
    if config.schedule == "ramp":
        return config.learning_rate * (step + 1) / steps
    warm = max(1, round(config.warmup * steps))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    p = (step - warm + 1) / max(1, steps - warm)
    final = config.final_learning_rate
    match config.schedule:
        case "constant":
            share = 1.0
        case "linear":
            share = 1 - (1 - final) * p
        case "cosine":
            share = final + (1 - final) * (1 + math.cos(math.pi * p)) / 2
        case "wsd":
            falling = max(1, round(config.decay * steps))
            left = steps - 1 - step  # steps after this one
            share = final + (1 - final) * min(1.0, left / falling)
    return config.learning_rate * share
