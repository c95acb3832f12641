"""How much one example helps one student: local data influence (arXiv 2410.14208), on the student's own last state."""
