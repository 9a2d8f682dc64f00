"""What verl's trainer calls: the options under ``algorithm.maxpo``, the estimator, sessions, metrics and hooks."""

#: ``algorithm.adv_estimator``.
ESTIMATOR_NAME = "maxpo"
