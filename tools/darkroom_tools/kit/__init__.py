"""Helpers that several tools share; no tools."""
