"""Wire forms in, jobs on, answers out."""
