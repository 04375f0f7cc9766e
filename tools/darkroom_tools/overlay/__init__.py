"""Watermark & Overlay.

Text and pictures on top of a picture.
"""
