"""Metadata of picture files: read as facts, and changed inside the file without touching a pixel."""
