"""Adjustments.

Light, colour and sharpness.
"""
