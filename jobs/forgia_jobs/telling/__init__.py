"""What a release says of itself: card, pictures, exports."""
