"""Utilities.

Facts about pictures and differences between them.
"""
