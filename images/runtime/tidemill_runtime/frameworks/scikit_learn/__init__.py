"""scikit-learn: estimators, skops archives, and models served natively."""
