"""Testing: the pytest plugin, fixtures, doubles, contract suites and the simulated world of an AOS.

Imports any room, and none imports it. Nothing is in this room yet.
"""
