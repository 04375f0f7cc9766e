"""AI Tools.

Operations that understand the picture: with a model where one is installed, else with a named classic method.
"""
