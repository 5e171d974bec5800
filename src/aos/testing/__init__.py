"""Testing: the pytest plugin, fixtures, doubles, contract suites and the simulated world of an AOS.

Imports any room, and none imports it. So far it holds the contract of stores, `aos.testing.contract`.
"""
