"""What all models share, whatever family: frames of rows, predictions, formulas of metrics, rules and errors."""
