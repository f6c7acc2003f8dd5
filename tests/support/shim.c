/* Counts the calls that change what is in a folder; fails the one of some number, or kills there.
 *
 * For LD_PRELOAD; see warm.py. Nothing happens until `fault_arm`. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { SHORT = -1, KILL_BEFORE = -2, KILL_AFTER = -3, COUNT = 0 };

static char folder[PATH_MAX];
static int number, what, calls;

/* The call of this number, from 0, meets `fault`: one of the above, or an errno. */
void fault_arm(const char *where, int at, int fault)
{
    calls = 0, number = at, what = fault;
    snprintf(folder, sizeof folder, "%s", where);
}

int fault_calls(void)
{
    return calls;
}

static int below(const char *path)
{
    size_t length = strlen(folder);
    return length && !strncmp(path, folder, length) && (!path[length] || path[length] == '/');
}

static int linked(const char *link, const char *rest)
{
    char path[PATH_MAX];
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    snprintf(path + length, sizeof path - length, "/%s", rest);
    return below(path);
}

static int named(int at, const char *path)
{
    char link[64];
    if (!*folder || *path == '/')
        return below(path);
    if (at == AT_FDCWD)
        return linked("/proc/self/cwd", path);
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    return linked(link, path);
}

static int opened(int file)
{
    return *folder && named(file, "");
}

static int now(int fault)
{
    return calls == number && what == fault;
}

/* What comes before the real call; whether it is to fail. */
static int before(void)
{
    if (now(KILL_BEFORE))
        kill(getpid(), SIGKILL);
    return calls == number && what > 0;
}

static void after(void)
{
    int error = errno;
    if (now(KILL_AFTER))
        kill(getpid(), SIGKILL);
    calls++;
    errno = error;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Body of a function that stands for `name`, if `counts`. */
#define WRAP(counts, name, ...)                                  \
    if (!(counts))                                               \
        return REAL(name)(__VA_ARGS__);                          \
    int fails = before(), result = -1;                           \
    if (fails)                                                   \
        errno = what;                                            \
    else                                                         \
        result = REAL(name)(__VA_ARGS__);                        \
    after();                                                     \
    return result

#define MODE(last)                                               \
    va_list rest;                                                \
    va_start(rest, last);                                        \
    mode_t mode = va_arg(rest, mode_t);                          \
    va_end(rest)

int open(const char *path, int flags, ...)
{
    MODE(flags);
    WRAP(named(AT_FDCWD, path), open, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE(flags);
    WRAP(named(AT_FDCWD, path), open64, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    MODE(flags);
    WRAP(named(at, path), openat, at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...)
{
    MODE(flags);
    WRAP(named(at, path), openat64, at, path, flags, mode);
}

int fsync(int file)
{
    WRAP(opened(file), fsync, file);
}

int fdatasync(int file)
{
    WRAP(opened(file), fdatasync, file);
}

int ftruncate64(int file, off64_t length)
{
    WRAP(opened(file), ftruncate64, file, length);
}

int rename(const char *from, const char *to)
{
    WRAP(named(AT_FDCWD, to), rename, from, to);
}

int renameat(int at, const char *from, int there, const char *to)
{
    WRAP(named(there, to), renameat, at, from, there, to);
}

int unlink(const char *path)
{
    WRAP(named(AT_FDCWD, path), unlink, path);
}

int unlinkat(int at, const char *path, int flags)
{
    WRAP(named(at, path), unlinkat, at, path, flags);
}

ssize_t write(int file, const void *data, size_t size)
{
    if (!opened(file))
        return REAL(write)(file, data, size);
    ssize_t result = -1;
    if (before())
        errno = what;
    else
        result = REAL(write)(file, data, now(SHORT) && size > 1 ? size / 2 : size);
    after();
    return result;
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset)
{
    WRAP(opened(file), pwrite64, file, data, size, offset);
}

int close(int file)
{
    if (!opened(file))
        return REAL(close)(file);
    int fails = before(), result = REAL(close)(file); /* it is closed whatever is said */
    if (fails)
        errno = what, result = -1;
    after();
    return result;
}
