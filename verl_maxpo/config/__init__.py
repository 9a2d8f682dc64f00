"""Hydra configurations, found as ``pkg://verl_maxpo.config``."""
