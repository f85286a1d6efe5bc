"""Running a plan: stage 1, disclosure control, stage 2."""
