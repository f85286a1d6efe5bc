"""Disclosure control on the cells of stage 1: the one fixed order of its steps.

judge each cell by itself, judge groups for unanimity, compare with what was released
before, recombine pieces, decide which keys may be printed. Nothing of a cell reaches
stage 2 before all of it is done.
"""
