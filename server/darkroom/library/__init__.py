"""Pictures with their versions and recipes."""
