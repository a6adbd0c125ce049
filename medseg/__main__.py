"""``python -m medseg`` starts as ``medseg`` does."""

from medseg.cli import main

if __name__ == "__main__":
    main()
