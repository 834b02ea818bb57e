"""What a user would pick instead, and the product beside it in a harness of its own."""
