/*
 * Keeps what programs are given, write and pass on, so that it can be searched afterwards.
 *
 * Preloaded into keyvault, and so into all that it runs. The environment variable RECORDING names a folder, in which
 * each record is a file whose name begins with KIND-PID-PARENT:
 *
 *   arguments, environment, limits   of a process, when it starts
 *   file                             a path, NUL, and what lay there: kept when a descriptor that could write is closed,
 *                                    and before a file is removed, replaced or cut
 *   stream                           what is written to one pipe or socket; the number of its descriptor follows
 *
 * Its own files are handled by system calls, so that it does not record itself.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX - 100];
static size_t folder_length;

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static void put(int record, const char *data, size_t size)
{
    while (size) {
        ssize_t done = syscall(SYS_write, record, data, size);
        if (done <= 0)
            return;
        data += done;
        size -= (size_t)done;
    }
}

/* Keep what a path leads to. Files of the record folder itself, and all that is no regular file, are left out. */
static void keep(const char *kind, int place, const char *path)
{
    char name[PATH_MAX], link[64], data[65536];
    struct stat status;
    int error = errno, proc = kind[0] != 'f';
    int source = (int)syscall(SYS_openat, place, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (source < 0) {
        errno = error;
        return;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", source);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length > 0 && !fstat(source, &status) && S_ISREG(status.st_mode) && (proc || status.st_size) &&
        strncmp(name, folder, folder_length)) {
        char record[PATH_MAX];
        snprintf(record, sizeof record, "%s/%s-%d-%d-XXXXXX", folder, kind, getpid(), getppid());
        int target = mkstemp(record);
        if (!proc)
            put(target, name, (size_t)length), put(target, "", 1);
        ssize_t size;
        while ((size = syscall(SYS_read, source, data, sizeof data)) > 0)
            put(target, data, (size_t)size);
        syscall(SYS_close, target);
    }
    syscall(SYS_close, source);
    errno = error;
}

__attribute__((constructor)) static void begin(void)
{
    const char *given = getenv("RECORDING");
    if (!given || strlen(given) >= sizeof folder)
        return;
    strcpy(folder, given);
    folder_length = strlen(folder);
    keep("arguments", AT_FDCWD, "/proc/self/cmdline");
    keep("environment", AT_FDCWD, "/proc/self/environ");
    keep("limits", AT_FDCWD, "/proc/self/limits");
}

static void keep_path(int place, const char *path)
{
    if (folder_length && path)
        keep("file", place, path);
}

static void keep_written(int fd)
{
    char link[64];
    int error = errno, flags = folder_length ? fcntl(fd, F_GETFL) : -1;
    errno = error;
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    keep_path(AT_FDCWD, link);
}

static void keep_stream(int fd, const void *data, ssize_t size)
{
    char record[PATH_MAX];
    struct stat status;
    int error = errno;
    if (folder_length && size > 0 && !fstat(fd, &status) && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode))) {
        snprintf(record, sizeof record, "%s/stream-%d-%d-%d", folder, getpid(), getppid(), fd);
        int target = (int)syscall(SYS_openat, AT_FDCWD, record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        put(target, data, (size_t)size);
        syscall(SYS_close, target);
    }
    errno = error;
}

/* Before the call, something is kept. */
#define WRAP(type, name, declared, given, before)                                                                    \
    type name declared                                                                                               \
    {                                                                                                                \
        REAL(name);                                                                                                  \
        before;                                                                                                      \
        return real given;                                                                                           \
    }

WRAP(int, close, (int fd), (fd), keep_written(fd))
WRAP(int, fclose, (FILE *file), (file), (fflush(file), keep_written(fileno(file))))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size), keep_written(fd))
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size), keep_written(fd))
WRAP(int, unlink, (const char *path), (path), keep_path(AT_FDCWD, path))
WRAP(int, unlinkat, (int place, const char *path, int flags), (place, path, flags), keep_path(place, path))
WRAP(int, remove, (const char *path), (path), keep_path(AT_FDCWD, path))
WRAP(int, rename, (const char *old, const char *new), (old, new), keep_path(AT_FDCWD, new))
WRAP(int, renameat, (int from, const char *old, int to, const char *new), (from, old, to, new), keep_path(to, new))

/* After the call, what was passed on is kept: it may be less than was given. */
#define PASS(name, declared, given, data)                                                                            \
    ssize_t name declared                                                                                            \
    {                                                                                                                \
        REAL(name);                                                                                                  \
        ssize_t size = real given;                                                                                   \
        keep_stream(fd, data, size);                                                                                 \
        return size;                                                                                                 \
    }

PASS(write, (int fd, const void *data, size_t count), (fd, data, count), data)
PASS(send, (int fd, const void *data, size_t count, int flags), (fd, data, count, flags), data)

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev);
    ssize_t size = real(fd, parts, count), rest = size;
    for (int i = 0; i < count && rest > 0; i++) {
        ssize_t part = rest < (ssize_t)parts[i].iov_len ? rest : (ssize_t)parts[i].iov_len;
        keep_stream(fd, parts[i].iov_base, part);
        rest -= part;
    }
    return size;
}
