"""python -m jaxbert.launch; what it does is in runtime.launcher."""

import sys

from jaxbert.runtime.launcher import main

if __name__ == "__main__":
    sys.exit(main())
