"""Resilience: decisions about retries (and later breakers and limits) as pure state on a clock."""

from aos.resilience.retry import RetryPolicy

__all__ = ["RetryPolicy"]
