"""What is done: records, teachers, training, recipes and the command line of tutelage."""
