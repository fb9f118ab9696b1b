/*
 * Counts operations on files below a folder, and at a given number ends the processes or lets a call fail.
 *
 * Preloaded into keyvault, and so into every git that it runs. The environment configures it:
 *
 *   FAILING_ROOT   the folder; operations elsewhere do not count
 *   FAILING_COUNT  a file of 8 bytes with the number of operations, shared by all processes
 *   FAILING_AT     the number of the operation to interrupt
 *   FAILING_HOW    kill: kill the process group; git: kill the process if it is a git, otherwise do nothing; INT:
 *                  interrupt the group, as Ctrl-C does, and continue the call; EIO: fail this call; ENOSPC: fill the
 *                  disk from then on
 *   FAILING_LOG    a log that allows to simulate a loss of power, in lines: "T inode size", a file was created or
 *                  truncated; "W inode size", it is written, with its size before; "S inode size", it was flushed
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile uint64_t *count;
static uint64_t at;
static char root[PATH_MAX];
static size_t root_length;
static int record = -1;
static enum { KILL, KILL_GIT, INTERRUPT, EIO_ONCE, FULL } how;

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* Read the environment. A process that is forked, and so not loaded again, calls this itself. */
__attribute__((constructor)) void failing_begin(void)
{
    const char *folder = getenv("FAILING_ROOT"), *shared = getenv("FAILING_COUNT");
    const char *number = getenv("FAILING_AT"), *manner = getenv("FAILING_HOW");
    if (!folder || !shared || !number || !manner)
        return;
    int fd = open(shared, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *page = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED || !realpath(folder, root))
        return;
    root_length = strlen(root);
    at = strtoull(number, NULL, 10);
    how = !strcmp(manner, "kill")  ? KILL
          : !strcmp(manner, "git") ? KILL_GIT
          : !strcmp(manner, "INT") ? INTERRUPT
          : !strcmp(manner, "EIO") ? EIO_ONCE
                                   : FULL;
    if (getenv("FAILING_LOG"))
        record = open(getenv("FAILING_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    count = page;
}

static int below_root(const char *path)
{
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* Whether a path, which may be relative to an open folder, is in our folder. */
static int ours(int folder, const char *path)
{
    char name[64], place[PATH_MAX];
    if (!count || !path)
        return 0;
    if (path[0] == '/')
        return below_root(path);
    if (folder == AT_FDCWD)
        return getcwd(place, sizeof place) && below_root(place);
    snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(name, place, sizeof place - 1);
    if (length < 0)
        return 0;
    place[length] = 0;
    return below_root(place);
}

static int our_file(int fd)
{
    struct stat status;
    return count && !fstat(fd, &status) && S_ISREG(status.st_mode) && ours(fd, "");
}

/* Log a change of a file's data, as a line in one piece, by a call that does not count. */
static int log_change(char what, int fd)
{
    char line[64];
    struct stat status;
    if (record >= 0 && !fstat(fd, &status)) {
        int length = snprintf(line, sizeof line, "%c %llu %lld\n", what, (unsigned long long)status.st_ino,
                              (long long)status.st_size);
        syscall(SYS_write, record, line, length);
    }
    return 1;
}

static int logged_if_empty(int fd)
{
    struct stat status;
    if (fd >= 0 && !fstat(fd, &status) && S_ISREG(status.st_mode) && !status.st_size)
        log_change('T', fd);
    return fd;
}

/* Whether an operation needs room on the disk. */
enum { NEEDS_NOTHING, NEEDS_ROOM };

/* Count an operation, and return whether it must fail. */
static int fails(int needs)
{
    uint64_t number = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
    if (number < at || (number > at && how != FULL))
        return 0;
    if (how == KILL) {
        kill(0, SIGKILL);
        pause();
    }
    if (how == KILL_GIT) {
        if (!strncmp(program_invocation_short_name, "git", 3)) {
            kill(getpid(), SIGKILL);
            pause();
        }
        return 0;
    }
    if (how == INTERRUPT) {
        kill(0, SIGINT);
        return 0;
    }
    if (how == FULL && needs != NEEDS_ROOM)
        return 0;
    errno = how == FULL ? ENOSPC : EIO;
    return 1;
}

#define OPEN(name)                                                                                                   \
    int name(const char *path, int flags, ...)                                                                       \
    {                                                                                                                \
        REAL(name);                                                                                                  \
        va_list rest;                                                                                                \
        va_start(rest, flags);                                                                                       \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                      \
        va_end(rest);                                                                                                \
        if (!(flags & (O_CREAT | O_TRUNC)) || !ours(AT_FDCWD, path))                                                 \
            return real(path, flags, mode);                                                                          \
        if (fails(NEEDS_ROOM))                                                                                       \
            return -1;                                                                                               \
        return logged_if_empty(real(path, flags, mode));                                                             \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                 \
    int name(int folder, const char *path, int flags, ...)                                                           \
    {                                                                                                                \
        REAL(name);                                                                                                  \
        va_list rest;                                                                                                \
        va_start(rest, flags);                                                                                       \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                      \
        va_end(rest);                                                                                                \
        if (!(flags & (O_CREAT | O_TRUNC)) || !ours(folder, path))                                                   \
            return real(folder, path, flags, mode);                                                                  \
        if (fails(NEEDS_ROOM))                                                                                       \
            return -1;                                                                                               \
        return logged_if_empty(real(folder, path, flags, mode));                                                     \
    }
OPENAT(openat)
OPENAT(openat64)

#define WRAP(type, name, declared, given, counted, needs)                                                            \
    type name declared                                                                                               \
    {                                                                                                                \
        REAL(name);                                                                                                  \
        if ((counted) && fails(needs))                                                                               \
            return -1;                                                                                               \
        return real given;                                                                                           \
    }

/* Log a write before it happens: the process may be killed in the middle of it. */
#define WRITES(type, name, declared, given, fd)                                                                      \
    WRAP(type, name, declared, given, our_file(fd) && log_change('W', fd), NEEDS_ROOM)
#define FLUSHES(name)                                                                                                \
    int name(int fd)                                                                                                 \
    {                                                                                                                \
        REAL(name);                                                                                                  \
        int counted = our_file(fd);                                                                                  \
        if (counted && fails(NEEDS_NOTHING))                                                                         \
            return -1;                                                                                               \
        int result = real(fd);                                                                                       \
        if (counted && !result)                                                                                      \
            log_change('S', fd);                                                                                     \
        return result;                                                                                               \
    }

WRITES(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), fd)
WRITES(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t place), (fd, data, size, place), fd)
WRITES(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t place), (fd, data, size, place), fd)
WRITES(ssize_t, writev, (int fd, const struct iovec *parts, int number), (fd, parts, number), fd)
WRITES(ssize_t, sendfile, (int to, int from, off_t *place, size_t size), (to, from, place, size), to)
WRITES(ssize_t, sendfile64, (int to, int from, off64_t *place, size_t size), (to, from, place, size), to)
WRITES(ssize_t, copy_file_range, (int from, off64_t *start, int to, off64_t *place, size_t size, unsigned flags),
       (from, start, to, place, size, flags), to)
WRITES(int, ftruncate, (int fd, off_t size), (fd, size), fd)
WRITES(int, ftruncate64, (int fd, off64_t size), (fd, size), fd)
FLUSHES(fsync)
FLUSHES(fdatasync)

/* Flushes every file: logged as a flush without an inode. */
int syncfs(int fd)
{
    REAL(syncfs);
    int counted = our_file(fd);
    if (counted && fails(NEEDS_NOTHING))
        return -1;
    int result = real(fd);
    if (counted && !result && record >= 0)
        syscall(SYS_write, record, "A 0 0\n", 6);
    return result;
}

WRAP(int, rename, (const char *old, const char *new), (old, new), ours(AT_FDCWD, new), NEEDS_NOTHING)
WRAP(int, renameat, (int from, const char *old, int to, const char *new), (from, old, to, new), ours(to, new),
     NEEDS_NOTHING)
WRAP(int, renameat2, (int from, const char *old, int to, const char *new, unsigned flags), (from, old, to, new, flags),
     ours(to, new), NEEDS_NOTHING)
WRAP(int, link, (const char *old, const char *new), (old, new), ours(AT_FDCWD, new), NEEDS_ROOM)
WRAP(int, linkat, (int from, const char *old, int to, const char *new, int flags), (from, old, to, new, flags),
     ours(to, new), NEEDS_ROOM)
WRAP(int, symlink, (const char *target, const char *path), (target, path), ours(AT_FDCWD, path), NEEDS_ROOM)
WRAP(int, unlink, (const char *path), (path), ours(AT_FDCWD, path), NEEDS_NOTHING)
WRAP(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), ours(folder, path), NEEDS_NOTHING)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), ours(AT_FDCWD, path), NEEDS_ROOM)
WRAP(int, mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), ours(folder, path), NEEDS_ROOM)
WRAP(int, rmdir, (const char *path), (path), ours(AT_FDCWD, path), NEEDS_NOTHING)
WRAP(int, chmod, (const char *path, mode_t mode), (path, mode), ours(AT_FDCWD, path), NEEDS_NOTHING)
