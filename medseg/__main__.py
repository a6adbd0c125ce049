"""How does ``python -m medseg`` start?  As ``medseg`` does."""

from medseg.cli import main

if __name__ == "__main__":
    main()
