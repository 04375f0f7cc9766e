"""The image tools of Darkroom, usable without the server."""
