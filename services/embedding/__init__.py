"""Text to vector by a frozen encoder, and vector to augmented vector by a model version's adaptor."""
