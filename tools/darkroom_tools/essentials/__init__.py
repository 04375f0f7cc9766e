"""Essentials.

Size, crop, orientation, format and weight of a picture.
"""
