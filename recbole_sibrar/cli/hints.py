"""What a command says at its end: what could be done next."""


def tell_next(*commands: str) -> None:
    """Print commands that go on from here, one a line, as they can be pasted."""
    print("next:")
    for command in commands:
        print(f"  {command}")
