"""What all models share, whatever family: frames of rows, predictions, rules and errors."""
