"""The five REST dialects: each turns its wire form into jobs and objects, and these back."""
