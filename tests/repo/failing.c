/*
 * Counts what programs do to files below one folder, and at one number ends them all or lets a call fail.
 *
 * Preloaded into keyvault, and so into every git that it runs. The environment says:
 *
 *   FAILING_ROOT   the folder; what is done elsewhere is not counted
 *   FAILING_COUNT  a file of 8 bytes that holds the number of operations, shared by all processes
 *   FAILING_AT     the number at which it happens
 *   FAILING_HOW    kill: the process group is killed; EIO: that one call fails; ENOSPC: the disk is full from there on
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
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static volatile uint64_t *count;
static uint64_t at;
static char root[PATH_MAX];
static size_t root_length;
static enum { KILL, EIO_ONCE, FULL } how;

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void)
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
    how = !strcmp(manner, "kill") ? KILL : !strcmp(manner, "EIO") ? EIO_ONCE : FULL;
    count = page;
}

static int below_root(const char *path)
{
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* Whether a path, which may be relative to a folder that is open, means something in our folder. */
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

/* What an operation needs. That a file cannot be removed is nothing that a program could get over by itself. */
enum { NEVER_FAILS, NEEDS_NOTHING, NEEDS_ROOM };

/* Count one operation, and return whether it is to fail. */
static int fails(int needs)
{
    uint64_t number = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
    if (number < at || (number > at && how != FULL))
        return 0;
    if (how == KILL) {
        kill(0, SIGKILL);
        pause();
    }
    if (needs == NEVER_FAILS || (how == FULL && needs != NEEDS_ROOM))
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
        if (flags & (O_CREAT | O_TRUNC) && ours(AT_FDCWD, path) && fails(NEEDS_ROOM))                                         \
            return -1;                                                                                               \
        return real(path, flags, mode);                                                                              \
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
        if (flags & (O_CREAT | O_TRUNC) && ours(folder, path) && fails(NEEDS_ROOM))                                           \
            return -1;                                                                                               \
        return real(folder, path, flags, mode);                                                                      \
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

WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), our_file(fd), NEEDS_ROOM)
WRAP(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t place), (fd, data, size, place), our_file(fd), NEEDS_ROOM)
WRAP(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t place), (fd, data, size, place), our_file(fd), NEEDS_ROOM)
WRAP(int, ftruncate, (int fd, off_t size), (fd, size), our_file(fd), NEEDS_NOTHING)
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size), our_file(fd), NEEDS_NOTHING)
WRAP(int, fsync, (int fd), (fd), our_file(fd), NEEDS_NOTHING)
WRAP(int, fdatasync, (int fd), (fd), our_file(fd), NEEDS_NOTHING)
WRAP(int, rename, (const char *old, const char *new), (old, new), ours(AT_FDCWD, new), NEEDS_NOTHING)
WRAP(int, renameat, (int from, const char *old, int to, const char *new), (from, old, to, new), ours(to, new), NEEDS_NOTHING)
WRAP(int, link, (const char *old, const char *new), (old, new), ours(AT_FDCWD, new), NEEDS_ROOM)
WRAP(int, linkat, (int from, const char *old, int to, const char *new, int flags), (from, old, to, new, flags),
     ours(to, new), NEEDS_ROOM)
WRAP(int, symlink, (const char *target, const char *path), (target, path), ours(AT_FDCWD, path), NEEDS_ROOM)
WRAP(int, unlink, (const char *path), (path), ours(AT_FDCWD, path), NEVER_FAILS)
WRAP(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), ours(folder, path), NEVER_FAILS)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), ours(AT_FDCWD, path), NEEDS_ROOM)
WRAP(int, mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), ours(folder, path), NEEDS_ROOM)
WRAP(int, rmdir, (const char *path), (path), ours(AT_FDCWD, path), NEVER_FAILS)
WRAP(int, chmod, (const char *path, mode_t mode), (path, mode), ours(AT_FDCWD, path), NEEDS_NOTHING)
