"""What engines' exceptions say, in one line."""


def first_line(error: Exception) -> str:
    """The first line that an exception says, but for where it was raised."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = [line.strip() for line in lines if not line.startswith("Exception from ")]  # OpenVINO's
    return said[0] if said else type(error).__name__
