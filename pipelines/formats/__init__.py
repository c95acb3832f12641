"""Conversations in and out, in the formats that people have. Imports no Ray, torch or vLLM."""

from typing import Literal

ImportFormat = Literal["alpaca", "sharegpt", "messages", "self-instruct", "parquet", "hf"]
ExportFormat = Literal["alpaca", "sharegpt", "messages", "parquet", "hf"]
