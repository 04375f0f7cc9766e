"""Generative.

Pictures that an image engine makes from words, at the address that the server is set up with.
"""
