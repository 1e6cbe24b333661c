"""What scores are worth, in NumPy alone: metrics of samples and of lists, and the bootstrap over seeds and users."""
