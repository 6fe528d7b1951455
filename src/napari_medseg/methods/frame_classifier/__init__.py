"""What a frame of a movie shows."""
