"""The only code that decodes, encodes, loads models, batches and reports progress."""
