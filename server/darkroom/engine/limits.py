"""Limits of inputs, outputs and work; the defaults follow from what attack files were measured to cost."""

from dataclasses import dataclass

__all__ = ["Limits"]

MEGA = 1_000_000
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits that a pixel worker and its pool enforce.

    Attributes:
        file_bytes: Largest input file.
        pixels: Width × height × frames of an input.
        side: Longest side of an input.
        decoded_bytes: Width × height × bands × bytes a band × frames of an input.
        bands: Bands of an input.
        frames: Frames or pages read from one input.
        metadata_bytes: Inflated text and profile chunks of one file.
        text_chunks: Text chunks of one file.
        jpeg_scans: Scans of one JPEG.
        output_pixels: Width × height × frames of a result.
        output_side: Longest side of a result.
        inspect_seconds: Wall clock for reading a header.
        tool_seconds: Wall clock for a plan without a model on one input.
        model_seconds: Wall clock for a plan that may run a model on one input.
        further_input_seconds: What each further input of a plan adds.
        memory_bytes: Address space of a pixel worker.
        written_bytes: Largest file that a worker may write.
        open_files: File descriptors of a worker.
        jobs_per_worker: A worker is replaced after so many plans.
        grown_bytes: A worker is replaced when its resident memory grew by so much.
        pipeline_steps: Steps of one pipeline.
    """

    file_bytes: int = 100 * MIB
    pixels: int = 100 * MEGA
    side: int = 32_768
    decoded_bytes: int = 800 * MEGA
    bands: int = 5
    frames: int = 500
    metadata_bytes: int = 16 * MIB
    text_chunks: int = 1_000
    jpeg_scans: int = 100
    output_pixels: int = 100 * MEGA
    output_side: int = 16_384
    inspect_seconds: float = 10.0
    tool_seconds: float = 30.0
    model_seconds: float = 300.0
    further_input_seconds: float = 3.0
    memory_bytes: int = 3 * 1024 * MIB
    written_bytes: int = 1024 * MIB
    open_files: int = 128
    jobs_per_worker: int = 500
    grown_bytes: int = 300 * MIB
    pipeline_steps: int = 20
