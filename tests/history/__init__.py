"""Histories of claims on real kernels: a plan of faults, its execution, and the rules for its record.

`plan` makes the steps from a seed, `pool` executes them on two hosts with kernels of their own and records a
history, `check` judges a recorded history.
"""
