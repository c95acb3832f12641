"""What is served: teacher and student endpoints, and the evaluation that talks to them."""
