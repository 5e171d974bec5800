"""Simulation: the deterministic loop, schedules, exploration, the simulated network and faults.

Imports the standard library only and knows nothing of agents. Nothing is in this room yet.
"""
