"""Running a block: stage 1, disclosure control, stage 2."""
