"""What becomes of answers, and of attention, where questions are longer than in training."""
