"""Layout & Composition.

Several pictures in one, one picture in several, and frames around them.
"""
