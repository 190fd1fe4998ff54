"""What runs at the user's terminal."""
