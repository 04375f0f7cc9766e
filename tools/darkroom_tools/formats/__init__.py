"""Format & Conversion.

Drawings, documents and animations: into pictures, out of pictures, and changed as they are.
"""
