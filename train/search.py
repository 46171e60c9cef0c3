"""The same as `jaxbert search`, from a clone; --help has the flags."""

from jaxbert.cli.main import main

if __name__ == "__main__":
    main("search")
