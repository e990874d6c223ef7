"""``python -m iii_trio``, which is the console script ``iii-trio``."""

from iii_trio.app import main

if __name__ == "__main__":
    main()
