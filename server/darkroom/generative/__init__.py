"""Image engines: whoever speaks the OpenAI Images API at a configured address makes pictures for us."""
