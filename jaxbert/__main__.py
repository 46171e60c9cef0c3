"""python -m jaxbert: the same as the command `jaxbert`."""

from jaxbert.cli.main import main

if __name__ == "__main__":
    main()
