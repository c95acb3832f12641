"""Models on benchmarks of lm-evaluation-harness: the tasks, what an endpoint must show first, and the figures."""
