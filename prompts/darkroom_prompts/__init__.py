"""Prompts for real jobs, as MCP prompts."""
