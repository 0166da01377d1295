"""The keys that packages are signed with, in the RPM database of the installation root, through rpm's own program."""
import os
import subprocess

# Where the macros of the job are.
HOME = os.environ["HOME"]


class Refused(Exception):
    """Something that dnf or rpm cannot do, in words."""


def import_keys(job):
    if not job["keys"]:
        return
    command = ["rpmkeys", "--root", job["root"], "--import"] + job["keys"]
    environment = dict(os.environ, HOME=HOME)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        # Later ones refuse keys with a signature by SHA-1, as those of older distributions are.
        raise Refused("this rpm does not take a key of the recipe; build with --tools tree, whose rpm may: " + said)
