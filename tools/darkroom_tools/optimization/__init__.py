"""Optimization.

Smaller files, clean metadata, and sets of files for the web, for print and for archives.
"""
