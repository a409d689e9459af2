/* Shifts the wall clock of one process by the seconds that a file holds (eight bytes, native order), read at each use.
 * The monotonic clock stays. Preloaded; see clock.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* A wait for a moment of the wall clock looks again after so long whether the clock was put. */
#define SLICE_NS 200000000L
#define SECOND_NS 1000000000L

static const volatile int64_t *shift;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("LOGWISE_CLOCK_SHIFT");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED)
        shift = page;
    close(file);
}

static int64_t seconds(void)
{
    return shift ? *shift : 0;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, out);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        out->tv_sec += seconds();
    return failed;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now))
        return -1;
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now))
        return (time_t)-1;
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *out, int base)
{
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, out) ? base : 0;
}

/* The kernel's clock is not shifted: a moment of the shifted one is translated, for one slice at a time. Says whether
 * the moment itself comes within the slice. */
static int translate(const struct timespec *wanted, struct timespec *slice)
{
    struct timespec moment = *wanted, now;
    moment.tv_sec -= seconds();
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    now.tv_nsec += SLICE_NS;
    if (now.tv_nsec >= SECOND_NS) {
        now.tv_nsec -= SECOND_NS;
        now.tv_sec++;
    }
    int within = moment.tv_sec < now.tv_sec || (moment.tv_sec == now.tv_sec && moment.tv_nsec <= now.tv_nsec);
    *slice = within ? moment : now;
    return within;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict wanted)
{
    static int (*wait)(cnd_t *, mtx_t *, const struct timespec *);
    struct timespec slice;
    if (!wait)
        wait = (int (*)(cnd_t *, mtx_t *, const struct timespec *))dlsym(RTLD_NEXT, "cnd_timedwait");
    int within = translate(wanted, &slice);
    int said = wait(condition, mutex, &slice);
    /* Waking for no reason is allowed, and callers look again. */
    return said == thrd_timedout && !within ? thrd_success : said;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict wanted)
{
    static int (*wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec slice;
    if (!wait)
        wait = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))
            dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    int within = translate(wanted, &slice);
    int said = wait(condition, mutex, &slice);
    return said == ETIMEDOUT && !within ? 0 : said;
}
