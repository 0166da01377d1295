"""Asks dnf to resolve or to install, through its Python interface.

Run as `python3 main.py INTERFACE JOB ANSWER`: the name of the module beside this one that knows the interface, and two
JSON files. The interface is used rather than the command, since it gives the exact transaction, tells the output of
scriptlets from other output, and reads no configuration but what is set here. What fails for a reason that dnf knows is
in the answer, under "error"; the exit code is then still 0.
"""
import importlib
import json
import os
import sys

# The isolated mode of Python leaves it out.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def main():
    interface = importlib.import_module(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        job = json.load(file)
    try:
        answer = {"resolve": interface.resolve, "install": interface.install}[job["action"]](job)
    except interface.ERRORS as error:
        answer = interface.refusal(job, error)
    # Over what is there: on a disk that became full there is no room for a file that is made anew.
    with open(sys.argv[3], "r+", encoding="utf-8") as file:
        json.dump(answer, file)
        file.truncate()


main()
