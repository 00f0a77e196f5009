import sys

from recbole_sibrar.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
