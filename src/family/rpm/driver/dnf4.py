"""dnf 4, through its own Python interface: the modules dnf and hawkey."""
import ctypes
import logging
import os
import sys
import tempfile

import dnf
import dnf.callback
import dnf.conf
import dnf.exceptions
import dnf.module.module_base
import dnf.repo
import dnf.subject
import dnf.transaction
import dnf.yum.rpmtrans
import hawkey
import libdnf.module
import libdnf.transaction
import rpm

import sysusers
from keys import Refused, import_keys

# What environments are asked for with, as in kickstart files; dnf 4 itself takes their names for those of groups.
ENVIRONMENT = "@^"
# Bytes on the disk that are set aside for what scriptlets and rpm say.
ROOM = 256 << 10
# fallocate(2): the file is no longer for it.
FALLOC_FL_KEEP_SIZE = 1
# Beginnings of what dnf logs of a request that failed and its error says anyway.
KNOWN = ("No match for argument", "Unable to resolve argument", "Module or Group")
REASONS = {
    libdnf.transaction.TransactionItemReason_DEPENDENCY: "dependency",
    libdnf.transaction.TransactionItemReason_WEAK_DEPENDENCY: "dependency",
}


class Log(logging.Handler):
    """Keeps what dnf logs: of requests that fail the reasons, which their error does not have, and warnings."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.reasons = []
        self.warnings = []

    def clear(self):
        self.reasons.clear()
        self.warnings.clear()

    def emit(self, record):
        text = record.getMessage()
        if record.levelno < logging.ERROR:
            self.warnings.append(text)
        elif not text.startswith(KNOWN):
            self.reasons.append(text)


LOG = Log()


def make_base(job):
    """dnf with the configuration of the job. Files of the machine are not read: conf.read() is never called."""
    conf = dnf.conf.Conf()
    conf.substitutions["releasever"] = job["releasever"]
    conf.installroot = job["root"]
    for name in ("cachedir", "logdir", "persistdir"):
        folder = os.path.join(job["work"], name)
        os.makedirs(folder, exist_ok=True)
        setattr(conf, name, folder)
    conf.reposdir = []
    conf.varsdir = []
    conf.pluginpath = []
    conf.pluginconfpath = []
    conf.plugins = False
    conf.arch = job["arch"]
    conf.ignorearch = job["foreign"]
    if job["module_platform_id"]:
        conf.module_platform_id = job["module_platform_id"]
    conf.best = True
    conf.obsoletes = True
    conf.install_weak_deps = job["weak"]
    conf.gpgcheck = True
    conf.localpkg_gpgcheck = job["gpgcheck"]
    conf.skip_if_unavailable = False
    conf.assumeyes = True
    conf.keepcache = False
    conf.zchunk = False
    conf.deltarpm = False
    conf.history_record = False
    conf.protected_packages = []
    conf.tsflags = job["tsflags"]
    conf.excludepkgs = job["exclude"]
    return dnf.Base(conf)


def add_repositories(base, job):
    for given in job["repositories"]:
        repo = dnf.repo.Repo(given["id"], base.conf)
        repo.baseurl = ["file://" + given["folder"]]
        repo.skip_if_unavailable = False
        repo.load_metadata_other = False
        if given["priority"] is not None:
            repo.priority = given["priority"]
        repo.enable()
        base.repos.add(repo)


def hold(base, held):
    """Leaves of every held package only the held version, where a repository has that. Gives the names."""
    kept = []
    for name, evr in held.items():
        query = base.sack.query().filterm(name=name, reponame__neq=hawkey.CMDLINE_REPO_NAME)
        same = query.filter(evr=evr)
        if same:
            base.sack.add_excludes(query.difference(same))
            kept.append(name)
    return kept


def in_the_way(base, kept):
    """The held packages that a problem is about; all of them where it names none."""
    goal = base._goal
    named = set()
    for listing in (goal.problem_conflicts, goal.problem_broken_dependency):
        try:
            named.update(p.name for p in listing(available=True))
        except Exception:  # not every release of libdnf can tell
            pass
    text = str(goal.problem_rules())
    found = {name for name in kept if name in named or name in text}
    return found or set(kept)


def solve(job, held):
    LOG.clear()
    base = make_base(job)
    add_repositories(base, job)
    base.fill_sack(load_system_repo=False)
    files = base.add_remote_rpms([f["path"] for f in job["files"]])
    kept = hold(base, held)
    unknown = [s for s in job["exclude"] if not known(base, s)]
    environments = [s for s in job["include"] if s.startswith(ENVIRONMENT)]
    mark(base, [s for s in job["include"] if s not in environments])
    # Those of streams that are no default are visible by now.
    kept += hold(base, without(held, kept))
    for spec in environments:
        environment = base.comps.environment_by_pattern(spec[len(ENVIRONMENT):])
        if environment is None:
            raise dnf.exceptions.MarkingErrors(no_match_group_specs=[spec])
        base.environment_install(environment.id, base.conf.group_package_types)
    for package in files:
        base.package_install(package)
    return base, kept, unknown


def mark(base, specs):
    """Asks for everything but environments. As for `dnf install` groups and modules come first: a name is then that of
    a package in the streams that are asked for."""
    is_group = [s.startswith("@") for s in specs]
    for wanted in True, False:
        try:
            base.install_specs([s for s, group in zip(specs, is_group) if group is wanted], exclude=[])
        except dnf.exceptions.MarkingErrors as error:
            # A stream that is asked for needs another one than a default stream: the default gives way.
            if not is_about_defaults(error):
                raise


def is_about_defaults(error):
    specs = (error.no_match_group_specs, error.error_group_specs, error.no_match_pkg_specs, error.error_pkg_specs)
    kind = libdnf.module.ModulePackageContainer.ModuleErrorType_ERROR_IN_DEFAULTS
    return not any(specs) and error.module_depsolv_errors[1] == kind


def known(base, spec):
    subject = dnf.subject.Subject(spec)
    query = base.sack.query(flags=hawkey.IGNORE_EXCLUDES)
    return bool(subject.get_best_query(base.sack, with_provides=False, with_filenames=False, query=query))


def without(held, names):
    return {name: evr for name, evr in held.items() if name not in names}


def resolve(job):
    held = job["held"]
    while True:
        try:
            base, kept, unknown = solve(job, held)
        except dnf.exceptions.MarkingErrors as error:
            if not held:
                raise
            # A version is asked for, and another one is held.
            specs = list(error.no_match_pkg_specs) + list(error.error_pkg_specs)
            free = {name for name in held if any(spec.startswith(name) for spec in specs)} or set(held)
            held = without(held, free)
            continue
        try:
            base.resolve()
            break
        except dnf.exceptions.DepsolveError:
            if not kept:
                raise
            held = without(held, in_the_way(base, kept))
            base.close()
    packages = []
    for item in base.transaction or []:
        if item.action in (libdnf.transaction.TransactionItemAction_OBSOLETED,):
            continue
        p = item.pkg
        algorithm, digest = p.returnIdSum() or ("", "")
        packages.append({
            "name": p.name,
            "epoch": p.epoch,
            "version": p.version,
            "release": p.release,
            "arch": p.arch,
            "repository": "" if p._from_cmdline else p.repoid,
            "location": p.location or "",
            "base": p.baseurl or "",
            "size": p.downloadsize,
            "algorithm": algorithm,
            "digest": digest,
            "reason": REASONS.get(item.reason, "wanted"),
        })
    return {"packages": packages, "unknown": unknown, "modules": modules(base), "warnings": LOG.warnings}


def modules(base):
    """The streams that the transaction enables, and the profiles that it installs."""
    container = base._moduleContainer
    profiles = dict(container.getInstalledProfiles())
    enabled = dict(container.getEnabledStreams())
    return [{"name": n, "stream": s, "profiles": list(profiles.get(n, ()))} for n, s in enabled.items()]


class Display(dnf.yum.rpmtrans.TransactionDisplay):
    """Collects what scriptlets say, and which of them fail."""

    def __init__(self):
        super().__init__()
        self.said = []
        self.last = ""
        self.length = 0
        self.failures = []

    def progress(self, package, action, ti_done, ti_total, ts_done, ts_total):
        if action == dnf.transaction.PKG_SCRIPTLET:
            # For whoever has to say what was running when the time was over, and what it had said.
            print("after %d bytes running a scriptlet of %s" % (self.length, package), file=sys.stderr, flush=True)

    def scriptout(self, msgs):
        if not msgs:
            return
        self.length += len(msgs)
        self.last = msgs.decode("utf-8", "replace")
        self.said.append(self.last)

    def error(self, message):
        self.failures.append({"message": str(message), "output": self.last})


class Transaction(dnf.yum.rpmtrans.RPMTransaction):
    """dnf has scriptlets and rpm write to a temporary file. That the disk is full, rpm can then tell all the same."""

    # What to make for each package file, where rpm does not by itself: before 4.19.
    sysusers = {}

    def _setupOutputLogging(self, *arguments, **named):
        super()._setupOutputLogging(*arguments, **named)
        zero, room = ctypes.c_int64(0), ctypes.c_int64(ROOM)
        # File systems need not be able to.
        ctypes.CDLL(None).fallocate64(self._writepipe.fileno(), FALLOC_FL_KEEP_SIZE, zero, room)

    def _instOpenFile(self, key):
        """Gives the file of a package: when rpm verifies all of them, and before anything else of each that it installs."""
        package = self._extract_cbkey(key)[0].pkg
        made = self.sysusers.get(package.localPkg(), ()) if self.trans_running else ()
        try:
            for lines in made:
                sysusers.make(self.base.conf.installroot, lines)
        except (sysusers.Wrong, OSError) as error:
            message = "Error in SYSUSERS scriptlet in rpm package " + package.name
            for display in self.displays:
                if isinstance(display, Display):
                    display.failures.append({"message": message, "output": str(error)})
            # There must be a file. In this one rpm finds no package, and goes on to the next.
            self.fd = open(os.devnull)
            return self.fd.fileno()
        return super()._instOpenFile(key)


def install(job):
    base = make_base(job)
    base.fill_sack(load_system_repo="auto", load_available_repos=False)
    packages = base.add_remote_rpms([f["path"] for f in job["files"]])
    # In this order rpm is given them, as dnf 5 gives them to it, and from that it finds its own.
    packages.sort(key=str)
    for package in packages:
        base.package_install(package)
    base.resolve()
    chosen = {(i.pkg.name, i.pkg.evr, i.pkg.arch) for i in base.transaction}
    given = {(p.name, p.evr, p.arch) for p in packages}
    if chosen != given:
        odd = ", ".join(sorted("-".join(nevra) for nevra in chosen ^ given))
        raise Refused("dnf would not install exactly the packages of the lock, but differ in: " + odd)
    import_keys(job)
    if job["gpgcheck"]:
        for package in packages:
            code, message = base.package_signature_check(package)
            if code != 0:
                raise Refused("%s: %s" % (package, message))
    # Scriptlets get root's home, as on a running system. Up to here it was that of the macros.
    os.environ["HOME"] = "/root"
    # What scriptlets say is then to be read from outside, if they are killed.
    tempfile.tempdir = os.path.join(job["work"], "said")
    os.mkdir(tempfile.tempdir)
    if not hasattr(rpm, "RPMTAG_SYSUSERS"):
        Transaction.sysusers = {f["path"]: f["sysusers"] for f in job["files"]}
    dnf.yum.rpmtrans.RPMTransaction = Transaction
    display = Display()
    base.do_transaction(display=display)
    failed = [str(i.pkg) for i in base.transaction if i.state != libdnf.transaction.TransactionItemState_DONE]
    # Without it the database keeps its write-ahead file.
    base.close()
    return {"failures": display.failures, "failed": failed, "said": display.said}


def describe(error):
    """One line for an error of dnf."""
    if isinstance(error, dnf.exceptions.MarkingErrors):
        parts = []
        for what, specs in (
            ("no repository has the package", error.no_match_pkg_specs),
            ("the package cannot be installed", error.error_pkg_specs),
            ("no repository has the group or module", error.no_match_group_specs),
            ("the group or module cannot be installed", error.error_group_specs),
        ):
            parts.extend("%s '%s'" % (what, spec) for spec in specs)
        if error.module_depsolv_errors:
            parts.append(dnf.module.module_base.format_modular_solver_errors(error.module_depsolv_errors[0]))
        return "; ".join(parts + LOG.reasons)
    return str(error)


def log_of_libdnf(job):
    """The last line of libdnf's own log: nowhere else it says why it cannot read metadata."""
    try:
        with open(os.path.join(job["work"], "logdir", "hawkey.log"), encoding="utf-8", errors="replace") as file:
            lines = [line for line in file.read().splitlines() if line]
    except OSError:
        return ""
    # Time, level, text.
    words = lines[-1].split(" ", 2) if lines else []
    return words[2] if len(words) == 3 and not words[2].startswith("===") else ""


# What dnf 4 fails with for reasons that it knows.
ERRORS = (Refused, dnf.exceptions.Error, hawkey.Exception, OSError)


def refusal(job, error):
    text = describe(error)
    if isinstance(error, dnf.exceptions.RepoError):
        text = ": ".join(filter(None, [text, log_of_libdnf(job)]))
    answer = {"error": text}
    if isinstance(error, dnf.exceptions.MarkingErrors):
        answer["usage"] = True
    return answer


# dnf says through its log why it left something out.
logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
logging.getLogger("dnf").addHandler(LOG)
