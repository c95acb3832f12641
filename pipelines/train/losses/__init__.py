"""Losses over weighted tokens: one number a token, in fp32 nats. Know no models, batches or ranks."""
