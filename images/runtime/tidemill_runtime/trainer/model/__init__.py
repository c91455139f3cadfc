"""What a fitted estimator is, takes and gives, and how good it is on a holdout."""
