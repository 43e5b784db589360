"""Histories of the claim on real kernels: a plan of faults, what carries it out, and what must be true of it.

`plan` makes the steps from a seed, `pool` takes them on two hosts with kernels of their own and records a
history, `check` judges a recorded history.
"""
