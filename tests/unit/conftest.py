"""Settings that all unit tests share."""

from __future__ import annotations

import hypothesis

# a machine that does other work as well must not fail a test for taking its time
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")
