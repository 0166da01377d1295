"""Makes users and groups of lines of sysusers.d(5), in the files of a root filesystem, as systemd-sysusers(8) does.

rpm has a program do this for what packages provide, rpm-sysusers(7), before it unpacks them: since 4.19, and which program
that is its host decides. Here it is always this one, so that the ids and lines are the same everywhere; for an older rpm
it is a module. As a program it is run as `sysusers.py [--replace PATH] --root ROOT -`, with the lines on standard input.
Whose file they are (`--replace`) has no meaning where nobody can have another one.
"""
import os
import re
import shlex
import sys
import tempfile
import time

# The ids that system accounts get, from the last one down: SYS_UID_MIN and SYS_UID_MAX of login.defs(5) in Fedora and EL.
IDS = range(999, 200, -1)
# The files, with the mode of one that is not there yet. Nobody may read the last two.
MODES = {"passwd": 0o644, "group": 0o644, "shadow": 0, "gshadow": 0}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}")
NOLOGIN = "/usr/sbin/nologin"
# No password fits it.
LOCKED = "!*"
SECONDS_A_DAY = 86400


class Wrong(Exception):
    """A line that cannot be followed, in words."""


class Accounts:
    """The account files of a root filesystem."""

    def __init__(self, root):
        self.root = root
        self.rows = {name: self.read(name) for name in MODES}
        self.changed = set()

    def path(self, name):
        return os.path.join(self.root, "etc", name)

    def read(self, name):
        try:
            with open(self.path(name), encoding="utf-8", errors="surrogateescape") as file:
                return [line.split(":") for line in file.read().splitlines()]
        except FileNotFoundError:
            return []

    def write(self):
        os.makedirs(os.path.join(self.root, "etc"), exist_ok=True)
        for name in sorted(self.changed):
            text = "".join(":".join(row) + "\n" for row in self.rows[name])
            try:
                status = os.stat(self.path(name), follow_symlinks=False)
                mode, owner = status.st_mode & 0o7777, (status.st_uid, status.st_gid)
            except FileNotFoundError:
                mode, owner = MODES[name], (0, 0)
            with tempfile.NamedTemporaryFile(
                "w", dir=os.path.join(self.root, "etc"), encoding="utf-8", errors="surrogateescape", delete=False
            ) as file:
                file.write(text)
                os.fchown(file.fileno(), *owner)
                os.fchmod(file.fileno(), mode)
            os.rename(file.name, self.path(name))

    def id_of(self, name, file):
        """The id of a user (passwd) or group (group), if there is one."""
        found = [row for row in self.rows[file] if row[0] == name and len(row) > 2 and row[2].isdigit()]
        return int(found[0][2]) if found else None

    def owner_of(self, number, file):
        """Who has an id."""
        found = [row[0] for row in self.rows[file] if len(row) > 2 and row[2] == str(number)]
        return found[0] if found else None

    def is_free(self, number, name):
        """Whether a user or group of this name may have the id: both have the same one where that can be."""
        return all(self.owner_of(number, file) in (None, name) for file in ("passwd", "group"))

    def choose(self, name):
        """The first id that is free."""
        for number in IDS:
            if self.is_free(number, name):
                return number
        raise Wrong("there is no free id for %s" % name)

    def add(self, name, *row):
        rows = self.rows[name]
        # Lines of NIS stay the last.
        nis = [i for i, known in enumerate(rows) if known[0].startswith(("+", "-"))]
        rows.insert(nis[0] if nis else len(rows), [str(value) for value in row])
        self.changed.add(name)

    def add_group(self, name, wanted=None):
        number = self.id_of(name, "group")
        if number is None:
            is_free = wanted is not None and self.owner_of(wanted, "group") is None
            number = wanted if is_free else self.choose(name)
            self.add("group", name, "x", number, "")
            self.add("gshadow", name, LOCKED, "", "")
        return number

    def add_user(self, name, wanted=None, group=None, gecos="", home="", shell="", expired=False):
        if self.id_of(name, "passwd") is not None:
            return
        if group is None:
            gid = self.add_group(name, wanted)
        elif group.isdigit():
            # Without such a group systemd-sysusers leaves the user out; it may be in a package that comes later.
            gid = int(group)
        else:
            gid = self.add_group(group)
        # Of two ids that are given together the group's need not be that of no user.
        if group is not None and wanted is not None and self.owner_of(wanted, "passwd") is None:
            number = wanted
        else:
            free = [number for number in (wanted, gid) if number is not None and self.is_free(number, name)]
            number = free[0] if free else self.choose(name)
        shell = shell or ("/bin/sh" if number == 0 else NOLOGIN)
        self.add("passwd", name, "x", number, gid, gecos, home or "/", shell)
        day = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()) // SECONDS_A_DAY
        self.add("shadow", name, LOCKED, day, "", "", "", "", "1" if expired else "", "")

    def add_member(self, name, group):
        for file in ("group", "gshadow"):
            for row in self.rows[file]:
                members = row[3].split(",") if len(row) > 3 and row[3] else []
                if row[0] == group and len(row) > 3 and name not in members:
                    row[3] = ",".join(members + [name])
                    self.changed.add(file)


def ids(accounts, text):
    """User id and group of the third field of a line."""
    if not text:
        return None, None
    if text.startswith("/"):
        # Of a file below the root, if it is there.
        try:
            status = os.stat(accounts.root + text, follow_symlinks=False)
        except OSError:
            return None, None
        return status.st_uid, str(status.st_gid)
    user, _, group = text.partition(":")
    if not user.isdigit() and user not in ("", "-"):
        raise Wrong("%r is no id" % text)
    if group and not group.isdigit():
        check_name(group)
    return int(user) if user.isdigit() else None, group or None


def check_name(name):
    if not NAME.fullmatch(name):
        raise Wrong("%r is no name of an account" % name)
    return name


def parse(line):
    try:
        fields = shlex.split(line)
    except ValueError as error:
        raise Wrong("the line %r: %s" % (line, error)) from error
    # A dash stands for nothing.
    fields = ["" if field == "-" else field for field in fields]
    if any(":" in field or not field.isprintable() for field in fields[3:]):
        raise Wrong("the line %r has a colon or a control character in a field" % line)
    return fields + [""] * (6 - len(fields))


def make(root, lines):
    """Does what the lines say, groups before users before members, as systemd-sysusers does. What is there stays, and
    other kinds of lines mean nothing to rpm."""
    accounts = Accounts(root)
    lines = [line.strip() for line in lines]
    items = [parse(line) for line in lines if line and not line.startswith("#")]
    members = [(user, group) for kind, user, group, *_ in items if kind == "m"]
    for kind, name, number, *_ in items:
        if kind == "g":
            wanted, group = ids(accounts, number)
            accounts.add_group(check_name(name), int(group) if number.startswith("/") and group else wanted)
    for _, group in members:
        accounts.add_group(check_name(group))
    for kind, name, number, *rest in items:
        if kind in ("u", "u!"):
            accounts.add_user(check_name(name), *ids(accounts, number), *rest[:3], expired=kind == "u!")
    for user, group in members:
        accounts.add_user(check_name(user))
        accounts.add_member(user, group)
    accounts.write()


def main(arguments):
    root = arguments[arguments.index("--root") + 1] if "--root" in arguments[:-1] else ""
    if not root or arguments[-1:] != ["-"]:
        raise Wrong("it is to be run with --root ROOT -")
    make(root, sys.stdin.read().splitlines())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Wrong, OSError) as failure:
        sys.exit("making users and groups: %s" % failure)
