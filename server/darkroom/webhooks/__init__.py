"""Tells other servers how jobs ended: signed after Standard Webhooks, tried again until they heard it."""
