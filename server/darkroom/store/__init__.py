"""What is kept: tables, queue, blobs."""
