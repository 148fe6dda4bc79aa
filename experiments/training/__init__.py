"""One run: model, loss and optimizer, step by step, with its evaluation."""
