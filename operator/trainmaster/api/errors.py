"""The base of every error that Trainmaster raises on purpose."""


class TrainmasterError(Exception):
    """Something went wrong that a person can understand: the message carries the values and the way out."""
