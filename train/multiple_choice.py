"""The same as `jaxbert train multiple_choice`, from a clone; --help has the flags."""

from jaxbert.cli.main import main

if __name__ == "__main__":
    main("train", "multiple_choice")
