/* Preloaded into the program by the tests: calls of C code (libgit2) on files below some directories fail on demand,
 * or are told to a file in their order. What the program does without libc is not seen, and not meant.
 *
 * SHIM_BELOW  directories with colons between them
 * SHIM_NTH    which of the calls that can fail so, from 1; SHIM_ONWARD: that one and all after it; 0: none, they are
 *             told to SHIM_FIRED
 * SHIM_ERRNO  the error: 28 ENOSPC at what writes, 5 EIO at all, 24 EMFILE at what opens
 * SHIM_FIRED  a file that gets a line for each call that was made to fail
 * SHIM_TRACE  a file that gets a line for each call
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 4096
#define LONGEST 1024

enum kind { OPENS, MAKES, WRITES };

static char paths[MOST][LONGEST];
static long reached;

static int below(const char *path)
{
    const char *list = getenv("SHIM_BELOW");
    while (path && list && *list) {
        size_t length = strcspn(list, ":");
        if (strncmp(path, list, length) == 0)
            return 1;
        list += length + (list[length] == ':');
    }
    return 0;
}

static int add(const char *variable, const char *line, size_t length)
{
    const char *file = getenv(variable);
    if (file) {
        /* Not through what is replaced below. */
        int fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) {
            long ignored = syscall(SYS_write, fd, line, length);
            (void)ignored;
            syscall(SYS_close, fd);
        }
    }
    return file != NULL;
}

static void tell(const char *call, const char *path, const char *other)
{
    char line[3 * LONGEST];
    int length = snprintf(line, sizeof line, "c.%s %s%s%s\n", call, path, *other ? " " : "", other);
    add("SHIM_TRACE", line, (size_t)length < sizeof line ? (size_t)length : sizeof line);
}

/* True when this call is to fail; errno is set then. */
static int fails(const char *call, const char *path, enum kind kind)
{
    const char *nth = getenv("SHIM_NTH"), *error = getenv("SHIM_ERRNO");
    if (!nth || !error || !below(path))
        return 0;
    int number = atoi(error);
    if ((number == ENOSPC && kind == OPENS) || (number == EMFILE && kind == WRITES))
        return 0;
    if (number == EMFILE && strcmp(call, "open") != 0)
        return 0;
    long now = __atomic_add_fetch(&reached, 1, __ATOMIC_SEQ_CST), wanted = atol(nth);
    if (wanted && now != wanted && !(getenv("SHIM_ONWARD") && now > wanted))
        return 0;
    char line[2 * LONGEST];
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    add("SHIM_FIRED", line, (size_t)length < sizeof line ? (size_t)length : sizeof line);
    if (wanted)
        errno = number;
    return wanted != 0;
}

static const char *path_of(int fd) { return fd >= 0 && fd < MOST && paths[fd][0] ? paths[fd] : NULL; }

static int remember(int fd, const char *path)
{
    if (fd >= 0 && fd < MOST) {
        paths[fd][0] = 0;
        if (below(path))
            snprintf(paths[fd], LONGEST, "%s", path);
    }
    return fd;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) \
        real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        REAL(int, #name, const char *, int, ...); \
        if (fails("open", path, flags & O_CREAT ? MAKES : OPENS)) \
            return -1; \
        return remember(real(path, flags, mode), path); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int directory, const char *path, int flags, ...) \
    { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        REAL(int, #name, int, const char *, int, ...); \
        if (fails("open", path, flags & O_CREAT ? MAKES : OPENS)) \
            return -1; \
        return remember(real(directory, path, flags, mode), path); \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd)
{
    REAL(int, "close", int);
    if (fd >= 0 && fd < MOST)
        paths[fd][0] = 0;
    return real(fd);
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    if (path_of(fd) && fails("write", path_of(fd), WRITES))
        return -1;
    return real(fd, bytes, count);
}

#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *bytes, size_t count, offset_type offset) \
    { \
        REAL(ssize_t, #name, int, const void *, size_t, offset_type); \
        if (path_of(fd) && fails("pwrite", path_of(fd), WRITES)) \
            return -1; \
        return real(fd, bytes, count, offset); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SYNC(name) \
    int name(int fd) \
    { \
        REAL(int, #name, int); \
        if (path_of(fd)) { \
            if (fails(#name, path_of(fd), WRITES)) \
                return -1; \
            tell("sync", path_of(fd), ""); \
        } \
        return real(fd); \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TWO(name) \
    int name(const char *from, const char *to) \
    { \
        REAL(int, #name, const char *, const char *); \
        if (below(to)) { \
            if (fails(#name, to, MAKES)) \
                return -1; \
            tell(#name, from, to); \
        } \
        return real(from, to); \
    }
TWO(rename)
TWO(link)

int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t);
    if (below(path)) {
        if (fails("mkdir", path, MAKES))
            return -1;
        tell("mkdir", path, "");
    }
    return real(path, mode);
}
