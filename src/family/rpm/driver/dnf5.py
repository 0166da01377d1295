"""dnf 5, through its Python interface: the module libdnf5 of 5.2.7 or newer."""
import os
import sys

import libdnf5
from libdnf5.base import GoalProblem_EXCLUDED, GoalProblem_NO_PROBLEM, GoalProblem_NOT_FOUND, GoalProblem_ONLY_SRC

from keys import Refused, import_keys

# What stands before it where dnf logs what a scriptlet says.
SCRIPTLET = b" [scriptlet] "
# The repository of package files.
FILES = "@commandline"
REASONS = {
    libdnf5.transaction.TransactionItemReason_DEPENDENCY: "dependency",
    libdnf5.transaction.TransactionItemReason_WEAK_DEPENDENCY: "dependency",
}
# What a request fails with that nothing fits.
UNFIT = (GoalProblem_NOT_FOUND, GoalProblem_EXCLUDED, GoalProblem_ONLY_SRC)
# rpm's tags of scriptlets, by their names here. Those of files have none.
SCRIPTLETS = {
    "PRE_INSTALL": "PREIN",
    "POST_INSTALL": "POSTIN",
    "PRE_UNINSTALL": "PREUN",
    "POST_UNINSTALL": "POSTUN",
    "PRE_TRANSACTION": "PRETRANS",
    "POST_TRANSACTION": "POSTTRANS",
    "TRIGGER_PRE_INSTALL": "TRIGGERPREIN",
    "TRIGGER_INSTALL": "TRIGGERIN",
    "SYSUSERS": "SYSUSERS",
}


class Unknown(Exception):
    """Requests that nothing fits."""

    def __init__(self, specs):
        super().__init__()
        self.specs = specs


def put(config, name, value):
    """Sets an option. With this priority paths are of the machine, and not below the installation root."""
    getattr(config, "get_%s_option" % name)().set(libdnf5.conf.Option.Priority_COMMANDLINE, value)


def make_base(job):
    """dnf with the configuration of the job. Files of the machine are not read: load_config() is never called."""
    base = libdnf5.base.Base()
    config = base.get_config()
    put(config, "installroot", job["root"])
    for name in ("cachedir", "system_cachedir", "logdir", "persistdir"):
        folder = os.path.join(job["work"], name)
        os.makedirs(folder, exist_ok=True)
        put(config, name, folder)
    # What dnf remembers is always below the installation root, so the way to the folder leads out of it again.
    state = "/" + os.path.relpath(os.path.join(job["work"], "state"), job["root"])
    for name in ("system_state_dir", "transaction_history_dir"):
        put(config, name, state)
    for name in ("reposdir", "varsdir", "protected_packages"):
        put(config, name, [])
    put(config, "plugins", False)
    put(config, "ignorearch", job["foreign"])
    if job["module_platform_id"]:
        put(config, "module_platform_id", job["module_platform_id"])
    for name in ("best", "obsoletes", "assumeyes"):
        put(config, name, True)
    for name in ("skip_broken", "skip_unavailable", "skip_if_unavailable", "keepcache", "zchunk"):
        put(config, name, False)
    put(config, "localpkg_gpgcheck", job["gpgcheck"])
    put(config, "install_weak_deps", job["weak"])
    put(config, "protect_running_kernel", False)
    put(config, "tsflags", job["tsflags"])
    put(config, "optional_metadata_types", ["comps", "filelists"])
    variables = base.get_vars()
    variables.set("arch", job["arch"])
    variables.set("releasever", job["releasever"])
    base.setup()
    return base


def add_repositories(base, job):
    sack = base.get_repo_sack()
    for given in job["repositories"]:
        with open(os.path.join(given["folder"], "repodata", "repomd.xml"), encoding="utf-8") as file:
            if 'type="modules"' in file.read():
                text = "the repository '%s' has modules, and dnf 5 does not tell which of them it enables; use --tools tree"
                raise Refused(text % given["id"])
        config = sack.create_repo(given["id"]).get_config()
        put(config, "baseurl", ["file://" + given["folder"]])
        put(config, "skip_if_unavailable", False)
        if given["priority"] is not None:
            put(config, "priority", given["priority"])
    sack.load_repos(libdnf5.repo.Repo.Type_AVAILABLE)


def add_files(base, job):
    """The package files, in the order in which rpm is to be given them."""
    base.get_repo_sack().add_cmdline_packages([f["path"] for f in job["files"]])
    query = libdnf5.rpm.PackageQuery(base)
    query.filter_repo_id([FILES])
    return sorted(query, key=lambda package: package.get_nevra())


def exclude(base, specs):
    """Leaves out what these are the names of. Gives those that are the names of nothing."""
    settings = libdnf5.base.ResolveSpecSettings()
    for of in ("provides", "filenames", "binaries"):
        getattr(settings, "set_with_" + of)(False)
    unknown = []
    for spec in specs:
        query = libdnf5.rpm.PackageQuery(base)
        if not query.resolve_pkg_spec(spec, settings, False)[0]:
            unknown.append(spec)
        base.get_rpm_package_sack().add_user_excludes(query)
    return unknown


def hold(base, held):
    """Leaves of every held package only the held version, where a repository has that. Gives the names."""
    kept = []
    for name, evr in held.items():
        query = libdnf5.rpm.PackageQuery(base)
        query.filter_name([name])
        same = libdnf5.rpm.PackageQuery(query)
        same.filter_evr([evr])
        if not same.empty():
            query.difference(same)
            base.get_rpm_package_sack().add_user_excludes(query)
            kept.append(name)
    return kept


def solve(job, held):
    base = make_base(job)
    add_repositories(base, job)
    unknown = exclude(base, job["exclude"])
    kept = hold(base, held)
    # Neither is about the files.
    files = add_files(base, job)
    settings = libdnf5.base.GoalJobSettings()
    # A name is not that of a command, as it is not for dnf 4.
    settings.set_with_binaries(False)
    settings.set_report_hint(False)
    goal = libdnf5.base.Goal(base)
    for spec in job["include"]:
        goal.add_install(spec, settings)
    for package in files:
        goal.add_rpm_install(package)
    return base, goal.resolve(), kept, unknown


def unfit(job, transaction):
    """The requests that nothing fits."""
    found = {event.get_spec() for event in transaction.get_resolve_logs() if event.get_problem() in UNFIT}
    return [spec for spec in job["include"] if spec in found or spec.lstrip("@^") in found]


def problems(transaction):
    return "; ".join(transaction.get_resolve_logs_as_strings())


def without(held, names):
    return {name: evr for name, evr in held.items() if name not in names}


def resolve(job):
    held = job["held"]
    while True:
        # The base must live as long as what it made.
        base, transaction, kept, unknown = solve(job, held)
        if transaction.get_problems() == GoalProblem_NO_PROBLEM:
            break
        specs = unfit(job, transaction)
        if specs and not held:
            raise Unknown(specs)
        if specs:
            # A version is asked for, and another one is held.
            held = without(held, {name for name in held if any(s.startswith(name) for s in specs)} or set(held))
        elif kept:
            # The held packages that the problem is about; all of them where it names none.
            text = problems(transaction)
            held = without(held, {name for name in kept if name in text} or set(kept))
        else:
            raise Refused(problems(transaction))
    inbound = [
        item
        for item in transaction.get_transaction_packages()
        if libdnf5.transaction.transaction_item_action_is_inbound(item.get_action())
    ]
    return {
        "packages": [chosen(item.get_package(), item.get_reason()) for item in inbound],
        "unknown": unknown,
        "modules": [],
        # Such as a member of a group that no repository has.
        "warnings": list(transaction.get_resolve_logs_as_strings()),
    }


def chosen(package, reason):
    from_file = package.get_repo_id() == FILES
    checksum = package.get_checksum()
    return {
        "name": package.get_name(),
        "epoch": int(package.get_epoch() or 0),
        "version": package.get_version(),
        "release": package.get_release(),
        "arch": package.get_arch(),
        "repository": "" if from_file else package.get_repo_id(),
        "location": package.get_package_path() if from_file else package.get_location(),
        "base": "" if from_file else package.get_baseurl(),
        "size": package.get_download_size(),
        "algorithm": checksum.get_type_str(),
        "digest": checksum.get_checksum(),
        "reason": REASONS.get(reason, "wanted"),
    }


class Display(libdnf5.rpm.TransactionCallbacks):
    """Collects what scriptlets say, and which of them fail."""

    def __init__(self, transaction, file):
        super().__init__()
        self.transaction = transaction
        self.file = file
        self.said = []
        self.failures = []
        self.installed = set()

    def install_stop(self, item, amount, total):
        self.installed.add(item.get_package().get_nevra())

    def script_start(self, item, nevra, kind):
        # For whoever has to say what was running when the time was over, and what it had said.
        name = "%s-%s-%s.%s" % (nevra.get_name(), nevra.get_version(), nevra.get_release(), nevra.get_arch())
        length = os.fstat(self.file).st_size
        print("after %d bytes running a scriptlet of %s" % (length, name), file=sys.stderr, flush=True)

    def script_stop(self, item, nevra, kind, code):
        output = "\n".join([self.transaction.get_last_script_output(), *self.transaction.get_rpm_messages()])
        self.said.append(output)
        if code != 0:
            names = [name for name in SCRIPTLETS if getattr(self, "ScriptType_" + name, None) == kind]
            tag = SCRIPTLETS[names[0]] if names else "<unknown>"
            message = "Error in %s scriptlet in rpm package %s" % (tag, nevra.get_name())
            self.failures.append({"message": message, "output": output})

    def unpack_error(self, item):
        # It came to its end before.
        self.installed.discard(item.get_package().get_nevra())
        message = "Error unpacking rpm package " + item.get_package().get_name()
        self.failures.append({"message": message, "output": "\n".join(self.transaction.get_rpm_messages())})


def keep_what_is_said(base, job):
    """Has a process write to a file what scriptlets say, out of all that dnf logs: to be read from outside, if they are
    killed. dnf itself ends where its log cannot be written, as on a full disk. Gives the file."""
    folder = os.path.join(job["work"], "said")
    os.mkdir(folder)
    file = os.open(os.path.join(folder, "scriptlets"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        for line in open(reading, "rb"):
            _, mark, text = line.partition(SCRIPTLET)
            try:
                os.write(file, text if mark else b"")
            except OSError:
                # It is for an error that there may not be.
                pass
        os._exit(0)
    os.close(reading)
    put(base.get_config(), "logdir", "/proc/self/fd")
    base.get_logger().add_logger(libdnf5.logger.create_file_logger(base, str(writing)))
    os.close(writing)
    return file


def install(job):
    base = make_base(job)
    base.get_repo_sack().load_repos(libdnf5.repo.Repo.Type_SYSTEM)
    files = add_files(base, job)
    goal = libdnf5.base.Goal(base)
    for package in files:
        goal.add_rpm_install(package)
    transaction = goal.resolve()
    if transaction.get_problems() != GoalProblem_NO_PROBLEM:
        raise Refused(problems(transaction))
    items = transaction.get_transaction_packages()
    given = {package.get_nevra() for package in files}
    odd = given ^ {item.get_package().get_nevra() for item in items}
    if odd:
        text = ", ".join(sorted(odd))
        raise Refused("dnf would not install exactly the packages of the lock, but differ in: " + text)
    import_keys(job)
    # Scriptlets get root's home, as on a running system. Up to here it was that of the macros.
    os.environ["HOME"] = "/root"
    display = Display(transaction, keep_what_is_said(base, job))
    transaction.set_callbacks(libdnf5.rpm.TransactionCallbacksUniquePtr(display))
    try:
        code = transaction.run()
    except ERRORS:
        # Where the disk is full the notes of dnf fail, too, after what matters.
        if not display.failures:
            raise
        code = transaction.TransactionRunResult_ERROR_RPM_RUN
    failed = sorted(given - display.installed)
    said = [*transaction.get_transaction_problems(), *transaction.get_gpg_signature_problems()]
    # A scriptlet that failed is told of as such.
    if code != transaction.TransactionRunResult_SUCCESS and (said or not display.failures):
        raise Refused("; ".join(said) or transaction.transaction_result_to_string(code))
    return {"failures": display.failures, "failed": failed, "said": display.said}


# What dnf 5 fails with for reasons that it knows.
ERRORS = (Refused, Unknown, libdnf5.exception.Error, RuntimeError, OSError)


def refusal(job, error):
    if not isinstance(error, Unknown):
        return {"error": str(error)}
    parts = []
    for spec in error.specs:
        what = "group or module" if spec.startswith("@") else "package"
        parts.append("no repository has the %s '%s'" % (what, spec))
    return {"error": "; ".join(parts), "usage": True}
