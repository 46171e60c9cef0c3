"""python -m jaxbert.launch: the same as `jaxbert launch`."""

import sys

from jaxbert.cli.main import launch

if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
