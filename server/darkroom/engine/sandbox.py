"""Confines the calling process: a pixel worker decodes hostile files, so it gets nothing it does not need.

Three layers, each as far as the machine has it: resource limits, Landlock (which files, no TCP, no signals out), and a
seccomp filter (no new processes, sockets, mounts, kernel services). Landlock and seccomp bind the calling thread and
its later children only, so `confine` must run before any native library has started threads of its own.
"""

import contextlib
import ctypes
import errno
import os
import resource
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from darkroom.engine.limits import Limits

__all__ = ["Confinement", "Level", "confine", "limit_cpu", "readable_paths"]

Level = Literal["full", "partial", "none"]

PR_SET_NO_NEW_PRIVS = 38
SYSTEM_PATHS = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"),
    *("/etc/fonts", "/usr/share/fontconfig", "/usr/share/fonts", "/usr/local/share/fonts", "/var/cache/fontconfig"),
    *("/etc/localtime", "/usr/share/zoneinfo", "/dev/null", "/dev/zero", "/dev/urandom"),
)

DENIED_CALLS = (
    # other processes and new programs
    *("execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise"),
    *("kcmp", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"),
    # sockets other than the one inherited
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    # files by other ways, and the modes, owners and names of files that a hard link shares with the library
    *("open_by_handle_at", "name_to_handle_at", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown"),
    *("lchown", "fchownat", "utime", "utimes", "futimesat", "utimensat", "link", "linkat", "symlink", "symlinkat"),
    *("mknod", "mknodat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
    # namespaces, mounts, identity
    *("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsmount"),
    *("fsconfig", "fspick", "mount_setattr", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid"),
    *("setgroups", "capset", "personality"),
    # kernel services that have no business here and a long record of holes
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl"),
    *("add_key", "request_key", "memfd_secret", "fanotify_init", "inotify_init", "inotify_init1", "modify_ldt"),
    *("shmget", "shmat", "shmctl", "msgget", "semget", "mq_open", "mq_unlink", "vmsplice", "syslog", "quotactl"),
    *("swapon", "swapoff", "reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("acct", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "sethostname", "setdomainname"),
    *("iopl", "ioperm", "lookup_dcookie", "nfsservctl"),
)
CLONE_NEW_NAMESPACES = (0x00000080, 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
CLONE_THREAD = 0x00010000
TERMINAL_INJECTIONS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX


@dataclass(frozen=True, slots=True)
class Confinement:
    """What could be enforced.

    Attributes:
        level: `full` with Landlock and seccomp on every thread, `partial` with one of them, `none` with neither.
        missing: For people, what this machine lacks.
    """

    level: Level
    missing: tuple[str, ...] = ()


def confine(*, read: Sequence[Path], write: Sequence[Path], limits: Limits) -> Confinement:
    """Give up everything but reading `read` and writing `write`, for good.

    Call it after the imports and before the first native operation: threads that run already stay free, and then the
    level is at most `partial`.
    """
    _limit_resources(limits)
    if sys.platform != "linux":
        return Confinement("none", ("Landlock and seccomp exist on Linux only",))
    alone = len(list(Path("/proc/self/task").iterdir())) == 1
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    missing = [reason for reason in (_landlock(read, write), _seccomp()) if reason]
    if len(missing) == 2:
        return Confinement("none", tuple(missing))
    if not alone:
        missing.append("threads ran before the sandbox was entered")
    return Confinement("partial" if missing else "full", tuple(missing))


def _limit_resources(limits: Limits) -> None:
    wanted = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.written_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS does not know RLIMIT_AS
            resource.setrlimit(kind, (value, value))


def limit_cpu(seconds: float) -> None:
    """Let the kernel end this process after so many more seconds of wall clock on all cores.

    A backstop: the pool's own clock is shorter, and this one counts only if the pool hangs.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    budget = int(usage.ru_utime + usage.ru_stime + (seconds + 5) * (os.cpu_count() or 1)) + 1
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (budget, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def readable_paths() -> list[Path]:
    """What a worker reads: the interpreter, the packages that are loaded or can be, system libraries and fonts."""
    paths = {Path(sys.prefix), Path(sys.base_prefix), *map(Path, SYSTEM_PATHS)}
    paths |= {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found = sorted(path.resolve() for path in paths if path.exists() and path != Path("/"))
    roots = tuple(f"{path}{os.sep}" for path in found)
    elsewhere = set()
    for name, module in list(sys.modules.items()):
        if "." not in name:
            elsewhere |= {Path(place).resolve() for place in _places(module) if not place.startswith(roots)}
    return found + sorted(path for path in elsewhere if path.exists())


def _places(module: object) -> Iterable[str]:
    packages = getattr(module, "__path__", None)
    if packages is not None:
        return list(packages)
    file = getattr(module, "__file__", None)
    return [file] if file else []


def _landlock(read: Sequence[Path], write: Sequence[Path]) -> str | None:
    """Restrict the file system; the reason if the kernel cannot."""
    from landlockpy import AccessFS, Ruleset, Scope, supported

    if not supported():
        return "Landlock: the kernel has none, or it is not enabled"
    look = AccessFS.READ_FILE | AccessFS.READ_DIR
    change = look | AccessFS.WRITE_FILE | AccessFS.TRUNCATE | AccessFS.MAKE_REG | AccessFS.REMOVE_FILE
    change |= AccessFS.MAKE_DIR | AccessFS.REMOVE_DIR
    with Ruleset(scoped=Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL) as rules:
        for path in read:
            rules.allow_path(path, look if path.is_dir() else AccessFS.READ_FILE)
        for path in write:
            rules.allow_path(path, change)
        rules.restrict()
    return None


def _seccomp() -> str | None:
    """Deny the system calls of `DENIED_CALLS`; the reason if the machine cannot."""
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError):
        return "seccomp: libseccomp is not installed"
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refuse = pyseccomp.ERRNO(errno.EPERM)
    arg, equal, unequal = pyseccomp.Arg, pyseccomp.MASKED_EQ, pyseccomp.NE

    def deny(call: str, *conditions: object, action: int = refuse) -> None:
        with contextlib.suppress(OSError):  # not every architecture has every call
            rules.add_rule(action, call, *conditions)

    for call in DENIED_CALLS:
        deny(call)
    for flag in CLONE_NEW_NAMESPACES:
        deny("clone", arg(0, equal, flag, flag))
    deny("clone", arg(0, equal, CLONE_THREAD, 0))
    deny("clone3", action=pyseccomp.ERRNO(errno.ENOSYS))  # its flags are out of a filter's sight; libc falls back
    for call in ("kill", "tgkill"):
        deny(call, arg(0, unequal, os.getpid()))
    deny("prlimit64", arg(0, unequal, 0))
    for request in TERMINAL_INJECTIONS:
        deny("ioctl", arg(1, equal, 0xFFFFFFFF, request))
    try:
        rules.load()
    except OSError:
        return "seccomp: the kernel refused the filter"
    return None
