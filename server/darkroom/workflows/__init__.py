"""Saved pipelines that compile to tools."""
